"""A wall clock that only the daemon sees, and that can be set."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

__all__ = ["SteppedClock"]


class SteppedClock:
    """The daemon's wall clock. Its monotonic clock goes on undisturbed, as on a machine whose time is set.

    It is a small library that is compiled on the spot and preloaded. (libfaketime would do, but makes
    `clock_nanosleep` on the monotonic clock fail, which is how Python sleeps.)
    """

    def __init__(self, folder: Path) -> None:
        """Raises `subprocess.CalledProcessError` where the compiler fails."""
        self._file = folder / "clock"
        self._library = folder / "step_clock.so"
        self._file.write_bytes(struct.pack("=q", 0))
        compiler = shutil.which("cc") or shutil.which("gcc")
        self.available = compiler is not None
        """Whether there is a C compiler (Debian: gcc and libc6-dev)."""
        if compiler is not None:
            source = Path(__file__).with_name("step_clock.c")
            subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(self._library), str(source)], check=True)

    def step(self, seconds: int) -> None:
        """Set the clock so many seconds away from the true time, at once."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    def environment(self) -> dict[str, str]:
        """Return what the daemon's environment must hold."""
        if not self.available:
            return {}
        return {"LD_PRELOAD": str(self._library), "STEP_CLOCK_FILE": str(self._file)}
