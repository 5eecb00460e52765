"""Is there a wheel of everything that Taintwatch needs, on another machine than this one?

    python -m benchmarks.wheels [--machine aarch64] [--python 3.11] [--json F]

The markers of pyproject.toml are evaluated for that machine (pip would ask this one), and what is left is downloaded
with `pip download --platform`, wheels alone, into a folder that is thrown away. Linux on ARM gets the ONNX Runtime
without a GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from benchmarks.scripts import run_main
from taintwatch_calibration.results import write_json
from taintwatch_models.errors import UsageError

__all__ = ["main", "platforms", "requirements"]

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_GLIBC = ("2_17", "2_24", "2_27", "2_28", "2_31", "2_34")


def requirements(machine: str, python: str) -> list[str]:
    """Return what Linux on this kind of machine needs, without markers."""
    environment = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": machine,
                   "python_version": python, "python_full_version": f"{python}.0", "extra": ""}  # fmt: skip
    found = []
    for text in tomllib.loads(_PROJECT.read_text())["project"]["dependencies"]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            requirement.marker = None
            found.append(str(requirement))
    return found


def platforms(machine: str) -> list[str]:
    """Return the tags of wheels that Debian 12 and what is newer can use there."""
    return [f"manylinux_{glibc}_{machine}" for glibc in _GLIBC] + [f"manylinux2014_{machine}"]


def download(machine: str, python: str, folder: Path) -> list[str]:
    """Download all wheels, those that others need included; return their names. Raises `UsageError`."""
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", str(folder),
             "--python-version", python]  # fmt: skip
    for tag in platforms(machine):
        words += ["--platform", tag]
    done = subprocess.run([*words, *requirements(machine, python)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UsageError(f"not every wheel is there for {machine}: {(said or ['pip failed'])[-1]}")
    return sorted(path.name for path in folder.iterdir())


def main(arguments: Sequence[str] | None = None) -> None:
    """Resolve, print the wheels and their size, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", default="aarch64")
    parser.add_argument("--python", default="3.11")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        wheels = download(options.machine, options.python, Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    document: dict[str, Any] = {
        "machine": options.machine, "python": options.python, "wheels": wheels, "megabytes": round(size / 1e6, 1)
    }  # fmt: skip
    print(f"{options.machine}, Python {options.python}: {len(wheels)} wheels, {document['megabytes']} MB")
    print("\n".join(wheels))
    if options.json is not None:
        write_json(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "wheels"))
