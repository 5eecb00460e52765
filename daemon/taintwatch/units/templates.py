"""From the unit files in `systemd/` to those for this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["DROP_INS", "MONITORING", "every_file", "render", "templates_folder"]

DROP_INS = {
    "curve": "the key of [publish.curve] is handed over by systemd",
    "gpu": "a model on an NVIDIA GPU",
    "ip-filter": "only this machine and local networks may be spoken with",
    "tokens": "the tokens of page and metrics come from files that only root can read",
    "onnx-only": "no writable memory is ever executed (ONNX Runtime on the CPU)",
}
"""What may be chosen besides, and what it is for."""
UNITS = ("taintwatch.service", "taintwatch@.service")
MONITORING = ("prometheus.yml", "taintwatch.rules.yml", "grafana.json")
"""What Prometheus and Grafana need, in `monitoring`."""
PROGRAM = "/usr/bin/taintwatch"
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - named, not used
UNIT_FOLDER = Path("etc/systemd/system")
SYSUSERS = Path("etc/sysusers.d/taintwatch.conf")


def templates_folder() -> Path:
    """Return where the unit files lie: in the installed package, or in the checkout. Raises `TaintwatchError`."""
    package = Path(__file__).resolve().parent
    for folder in (package / "systemd", package.parents[2] / "systemd"):
        if (folder / UNITS[0]).is_file():
            return folder
    raise TaintwatchError(f"the unit files are not in {package / 'systemd'}; install Taintwatch again")


def render(program: Path, drop_ins: Sequence[str], *, check_program: bool = True) -> dict[Path, str]:
    """Return what is to be installed: path without the leading slash -> text.

    `program`: the `taintwatch` that the service runs. Raises `UsageError` where it cannot be run from a service, or a
    drop-in is unknown.
    """
    unknown = next((name for name in drop_ins if name not in DROP_INS), None)
    if unknown is not None:
        raise UsageError(f"there is no drop-in {unknown!r}; there are {', '.join(DROP_INS)}")
    if {"gpu", "onnx-only"} <= set(drop_ins):
        raise UsageError("gpu and onnx-only exclude one another: CUDA executes memory that it has written")
    if check_program:
        _check_program(program)
    folder = templates_folder()
    files = {UNIT_FOLDER / name: (folder / name).read_text().replace(PROGRAM, str(program)) for name in UNITS}
    for name in drop_ins:
        for unit in UNITS:
            files[UNIT_FOLDER / f"{unit}.d" / f"{name}.conf"] = (folder / f"{name}.conf").read_text()
    files[SYSUSERS] = (folder / "sysusers.conf").read_text()
    return files


def every_file() -> tuple[Path, ...]:
    """Return every path that an installation may have, chosen drop-ins or not."""
    drop_ins = (UNIT_FOLDER / f"{unit}.d" / f"{name}.conf" for unit in UNITS for name in DROP_INS)
    return (*(UNIT_FOLDER / name for name in UNITS), *drop_ins, SYSUSERS)


def _check_program(program: Path) -> None:
    if not program.is_absolute() or not program.is_file():
        raise UsageError(f"the service would run {program}, which is not there; say --program /path/to/taintwatch")
    hidden = next((place for place in HIDDEN if program.resolve().is_relative_to(place)), None)
    if hidden is not None or any(program.is_relative_to(place) for place in HIDDEN):
        raise UsageError(
            f"{program} lies below {hidden or program.parts[1]}, which a service does not see; install Taintwatch "
            "elsewhere (python3 -m venv /opt/taintwatch) or say --program"
        )
    interpreter = _interpreter(program)
    if interpreter is not None and any(interpreter.is_relative_to(place) for place in HIDDEN):
        raise UsageError(
            f"{program} is run by {interpreter}, which a service does not see; install Taintwatch with the system's "
            "Python (/usr/bin/python3 -m venv /opt/taintwatch)"
        )
    if any(character in str(program) for character in " \t\"'\\%$;"):
        raise UsageError(f"{program} holds a character that means something in a unit file; install it elsewhere")


def _interpreter(program: Path) -> Path | None:
    """Return what the first line of a script says that runs it, links followed; None for another kind of program."""
    with program.open("rb") as file:
        line = file.readline(1000)
    return Path(os.fsdecode(line[2:].split()[0])).resolve() if line.startswith(b"#!") and line[2:].split() else None
