"""A real systemd as process 1, in namespaces of its own on a copy-on-write view of this machine's files.

Needs root, overlayfs and systemd-nspawn (Debian: systemd-container). Nothing of the machine itself is changed: what is
written goes to a tmpfs that ends with the container, which has no network but loopback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

__all__ = ["MISSING", "NotBootedError", "run_under_systemd"]

MISSING = os.geteuid() != 0 or any(
    shutil.which(name) is None for name in ("systemd-nspawn", "systemctl", "unshare", "timeout")
)
LONGEST_S = 280
HERE, PYTHON, PACKAGES, CHECKOUT = "/opt/try", "/opt/python", "/opt/packages", "/opt/checkout"

MOUNT_AND_BOOT = """\
set -e
mount --make-rprivate /
mount -t tmpfs -o size=1g tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
shift
exec "$@"
"""
UNIT = f"""\
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash {HERE}/script.sh
TimeoutStartSec={LONGEST_S}
ExecStopPost=/bin/systemctl poweroff
"""
TARGET = """\
[Unit]
Requires=basic.target try.service
AllowIsolate=yes
"""
# A Python below a home folder, which services do not see, is shown to them elsewhere and must find its library there.
PROGRAM = f"""\
#!/bin/bash
export LD_LIBRARY_PATH={PYTHON}/lib
exec {PYTHON}/bin/python{sys.version_info.major}.{sys.version_info.minor} {HERE}/main.py "$@"
"""
MAIN = f"""\
import sys
sys.path[:0] = [*("{CHECKOUT}/" + part for part in ("daemon", "models", "calibration")), "{PACKAGES}"]
from taintwatch.cli.main import main
sys.exit(main())
"""


class NotBootedError(Exception):
    """Containers cannot be booted here."""


def run_under_systemd(folder: Path, script: str, repository: Path) -> str:
    """Boot, run a bash script as root, power off; return what it printed.

    The script finds `folder` at /opt/try and the program at /opt/try/taintwatch. Raises `NotBootedError`.
    """
    inside, scratch = folder / "inside", folder / "scratch"
    scratch.mkdir()
    inside.mkdir(exist_ok=True)
    (inside / "script.sh").write_text(f"exec > {HERE}/said 2>&1\n{script}")
    (inside / "try.service").write_text(UNIT)
    (inside / "try.target").write_text(TARGET)
    (inside / "taintwatch").write_text(PROGRAM)
    (inside / "taintwatch").chmod(0o755)
    (inside / "main.py").write_text(MAIN)
    subprocess.run(["chmod", "-R", "a+rX", str(inside)], check=True)
    packages = Path(click.__file__).parents[1]
    done = subprocess.run(
        [
            *("timeout", str(LONGEST_S), "unshare", "--mount", "bash", "-c", MOUNT_AND_BOOT, "boot", str(scratch)),
            *("systemd-nspawn", "-q", "-D", f"{scratch}/root", "--register=no", "--keep-unit", "--private-network"),
            *("-M", f"taintwatch-{os.getpid()}", f"--bind={inside}:{HERE}"),
            *(f"--bind-ro={sys.base_prefix}:{PYTHON}", f"--bind-ro={packages}:{PACKAGES}"),
            f"--bind-ro={repository}:{CHECKOUT}",
            *(f"--bind-ro={inside}/{name}:/etc/systemd/system/{name}" for name in ("try.service", "try.target")),
            *("--boot", "--", "--unit=try.target"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = inside / "said"
    if not said.is_file():
        raise NotBootedError(done.stdout[-2000:])
    return said.read_text()
