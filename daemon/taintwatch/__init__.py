"""Watch a camera's classifier for printed attacks: the Python API, and below it the service and the command line.

`Detector` checks pictures, `watch` follows cameras. Both are imported when they are first used, so that
`import taintwatch` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taintwatch.camera_alerts import watch
    from taintwatch.detector import Detector, PictureVerdict
    from taintwatch.records import Alert

__all__ = ["Alert", "Detector", "PictureVerdict", "__version__", "watch"]

__version__ = "0.1.0"

_HOMES = {
    "Alert": "taintwatch.records",
    "Detector": "taintwatch.detector",
    "PictureVerdict": "taintwatch.detector",
    "watch": "taintwatch.camera_alerts",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'taintwatch' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
