"""Asking systemd: about unit files before they are put in place, and about a service that is."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from taintwatch_models.errors import TaintwatchError

__all__ = ["run_systemctl", "service_state", "verify"]

PATIENCE_S = 60.0


def verify(files: Mapping[Path, str]) -> bool:
    """Let `systemd-analyze verify` read rendered files; False where there is no systemd-analyze.

    Raises `TaintwatchError` with what it found wrong.
    """
    if shutil.which("systemd-analyze") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="taintwatch-units-") as folder:
        units = []
        for path, text in files.items():
            if "systemd" not in path.parts:
                continue
            # A template is read as one of its instances.
            place = Path(folder, *(part.replace("@.", "@instance.") for part in path.parts[3:]))
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
            units += [str(place)] if place.suffix == ".service" else []
        done = _run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units)
    if done.returncode != 0 or done.stderr.strip():
        raise TaintwatchError(f"systemd does not accept the unit files: {' '.join(done.stderr.split())[:500]}")
    return True


def run_systemctl(*arguments: str) -> None:
    """Run systemctl. Raises `TaintwatchError` with what it says where it fails."""
    if shutil.which("systemctl") is None:
        raise TaintwatchError("there is no systemctl here; with --root another machine is prepared")
    done = _run("systemctl", *arguments)
    if done.returncode != 0:
        raise TaintwatchError(f"systemctl {' '.join(arguments)} failed: {' '.join(done.stderr.split())[:500]}")


def service_state(unit: str) -> dict[str, str]:
    """Return what systemd knows of a unit; empty where systemd does not run."""
    names = ("ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "StatusText")
    if shutil.which("systemctl") is None:
        return {}
    done = _run("systemctl", "show", unit, f"--property={','.join(names)}")
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {key: value for key, _, value in pairs if key in names} if done.returncode == 0 else {}


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
