"""The lock file: everything that the service needs, in versions that pyproject.toml allows, each with its hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)
MENDED = {  # the first version without a known hole: docs/dependencies.md
    "cryptography": "44.0.1", "h11": "0.16", "jinja2": "3.1.6", "onnx": "1.19", "opencv-python": "4.12",
    "requests": "2.32.4", "starlette": "0.49.1", "urllib3": "2.6.3",
}  # fmt: skip


def dependencies(repository: Path) -> list[Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    return [Requirement(each) for each in project["dependencies"]]


def pins(repository: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for match in PINNED.finditer((repository / "locks" / "service.txt").read_text()):
        found.setdefault(match["name"].lower(), set()).add(match["version"])
    return found


def test_every_dependency_is_locked_in_a_version_that_is_allowed(repository: Path) -> None:
    locked = pins(repository)
    for requirement in dependencies(repository):
        versions = locked.get(requirement.name.lower())
        assert versions, f"{requirement.name} is not locked: run `make lock`"
        assert all(version in requirement.specifier for version in versions), f"{requirement}: run `make lock`"


def test_every_package_of_the_lock_has_hashes(repository: Path) -> None:
    entries = re.split(r"\n(?=\S)", (repository / "locks" / "service.txt").read_text())
    packages = [entry for entry in entries if PINNED.match(entry)]
    assert len(packages) >= len(dependencies(repository))
    assert [entry.splitlines()[0] for entry in packages if "--hash=sha256:" not in entry] == []


def test_the_oldest_allowed_versions_have_no_known_hole(repository: Path) -> None:
    for requirement in dependencies(repository):
        mended = MENDED.get(requirement.name)
        if mended is not None:
            floor = next(each.version for each in requirement.specifier if each.operator == ">=")
            assert Version(floor) >= Version(mended), requirement.name
