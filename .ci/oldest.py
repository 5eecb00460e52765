"""Print a pip constraints file: everything that Taintwatch runs with, in the oldest version that pyproject.toml allows.

The tools of the extras `audit`, `dev` and `docs` are left out: they check the project, nobody runs it with them.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?>=(?P<version>[\d.]+)(?P<rest>[^;]*)(?P<marker>;.*)?")


TOOLS = {"audit", "dev", "docs"}


def oldest(dependencies: list[str], extras: dict[str, list[str]]) -> list[str]:
    """Return `name~=version` for every `name>=version`."""
    wanted = [*dependencies, *(item for extra, items in extras.items() if extra not in TOOLS for item in items)]
    lines = {}
    for requirement in wanted:
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise SystemExit(f"pyproject.toml: {requirement!r} has no lower bound")
        lines[match["name"]] = f"{match['name']}~={precise(match['version'])}{match['marker'] or ''}"
    return sorted(lines.values())


def precise(version: str) -> str:
    """Return the version with at least three parts, so that `~=` allows patch releases and nothing newer."""
    return ".".join([*version.split("."), "0", "0"][: max(3, version.count(".") + 1)])


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    print("\n".join(oldest(project["dependencies"], project["optional-dependencies"])))  # noqa: T201
