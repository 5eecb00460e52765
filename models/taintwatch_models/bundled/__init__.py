"""The bundled default: a recogniser of 43 traffic signs, prepared and calibrated, and what finds signs in a street.

See docs/bundled-model.md and docs/street.md.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from taintwatch_models.errors import ModelError
from taintwatch_models.radar_file import RadarFile, read_radar

__all__ = ["BUNDLED_FINDER", "bundled_calibration_path", "bundled_path", "bundled_radar"]


BUNDLED_FINDER = "signs.finder.onnx"
"""What finds signs in a street; its TOML lies beside it. See docs/street.md."""


def bundled_path(name: str) -> Path:
    """Return the path of a bundled file. Raises `ModelError` where the installation lacks it."""
    path = Path(str(files(__package__) / name))
    if not path.is_file():
        raise ModelError(f"the bundled file {name} is missing from this installation; install taintwatch again")
    return path


def bundled_radar() -> RadarFile:
    """Read the bundled prepared model. Raises `ModelError`."""
    return read_radar(bundled_path("signs.radar.onnx"))


def bundled_calibration_path() -> Path:
    """Return the path of the bundled model's calibration. Raises `ModelError`."""
    return bundled_path("signs.calibration.json")
