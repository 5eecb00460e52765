"""Functions that tests send to worker processes: these import them by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from taintwatch_models.errors import UsageError

__all__ = ["die_always", "die_once", "refuse_odd", "square"]


def square(argument: int) -> dict[str, Any]:
    """A result that can be checked."""
    return {"squared": argument * argument}


def die_once(argument: tuple[str, int]) -> int:
    """Be killed, as by the kernel that is out of memory, the first time that item 2 is worked on."""
    folder, number = Path(argument[0]), argument[1]
    mark = folder / f"tried{number}"
    if number == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10


def die_always(argument: int) -> int:
    """Be killed whenever item 1 is worked on."""
    if argument == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return argument


def refuse_odd(argument: int) -> int:
    """Complain of an odd number, in one sentence."""
    if argument % 2:
        raise UsageError(f"{argument} is odd; give even numbers")
    return argument
