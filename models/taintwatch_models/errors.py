"""The one tree of errors. Each carries the exit status that the command line ends with.

A message is one clear sentence: what was wrong, where, and what to do. `main` prints it without a traceback.
"""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "BadFrame",
    "CalibrationError",
    "ConfigError",
    "DeviceError",
    "InferenceError",
    "ModelError",
    "PublishError",
    "SourceError",
    "TaintwatchError",
    "UsageError",
    "first_line",
]

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG: systemd does not restart on it (RestartPreventExitStatus=78)


class TaintwatchError(Exception):
    """Anything that Taintwatch says to its user in one sentence."""

    exit_status = EXIT_FAILURE


class UsageError(TaintwatchError):
    """The command line asks for something that cannot be done: a missing file, an empty folder, a bad value."""

    exit_status = EXIT_USAGE


class ConfigError(TaintwatchError):
    """The configuration is wrong, so that starting again cannot help."""

    exit_status = EXIT_CONFIG


class ModelError(ConfigError):
    """A model file cannot be read, has no usable head, or does not fit its declared preprocessing."""


class CalibrationError(ConfigError):
    """A calibration is unreadable, incomplete or belongs to another model."""


class DeviceError(ConfigError):
    """A required device or execution provider is not there."""


class PublishError(ConfigError):
    """The alert socket cannot be bound or configured."""


class SourceError(TaintwatchError):
    """A camera, stream or file cannot be opened or read. A running daemon counts it and retries; a file run ends."""

    exit_status = EXIT_USAGE


class AccessDenied(SourceError):  # noqa: N818 (what the camera says)
    """A camera refuses user or password. Asked again, but seldom: many lock an account after a few wrong attempts."""


class BadFrame(TaintwatchError):  # noqa: N818 (it names the frame, and is handled like one)
    """One picture cannot be used (empty, undecodable, wrong channels). Counted and skipped."""


class InferenceError(TaintwatchError):
    """A model gave no usable answer for this batch (NaN logits, a runtime failure)."""


def first_line(error: BaseException) -> str:
    """Return the first line of what another library's error says, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
