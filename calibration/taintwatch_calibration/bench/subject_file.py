"""A subject in a folder: `subject.toml`, its model, and its pictures in four parts in `pictures.npz`."""

from __future__ import annotations

import io
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from taintwatch_calibration.bench.split import PictureSplit
from taintwatch_calibration.bench.subjects import EYES, Subject, right
from taintwatch_calibration.craft.materials import find_label, load_classifier
from taintwatch_models.calibration_file import TightCalibration
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["PARTS", "SUBJECT_FILE", "read_subject", "write_description", "write_pictures"]

SUBJECT_FILE = "subject.toml"
PARTS = ("craft", "calibrate", "held_out", "test_images")
_KEYS = {"name", "model", "target", "about", "saliency_threshold", "fill", "swing_weight", "faces", "eyes"}


def read_subject(folder: Path) -> Subject:
    """Read a subject. Raises `UsageError` naming what is missing or wrong, `ModelError`.

    `subject.toml` has `name`, `model` (a file in the folder), `target` (a class), and at will `about`,
    `saliency_threshold`, `fill` (a picture in the folder, or a fill's name), `swing_weight`, `faces` (aligned faces:
    glasses are crafted) and `eyes`.
    """
    path = folder / SUBJECT_FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not a readable description of a subject ({error})") from None
    unknown, missing = set(table) - _KEYS, {"name", "model", "target"} - set(table)
    if unknown or missing:
        raise UsageError(f"{path}: {'unknown' if unknown else 'missing'} key '{min(unknown or missing)}'")
    radar = load_classifier(str(folder / table["model"]))
    defaults = TightCalibration()
    fill = str(table.get("fill", defaults.fill))
    tight = TightCalibration(
        saliency_threshold=float(table.get("saliency_threshold", defaults.saliency_threshold)),
        fill=str(folder / fill) if (folder / fill).is_file() else fill,
        swing_weight=float(table.get("swing_weight", defaults.swing_weight)),
    )
    parts = {}
    for name, (pixels, labels) in _pictures(folder / "pictures.npz").items():
        parts[name] = right(radar, pixels, labels)
    return Subject(
        str(table["name"]), radar, PictureSplit(**parts), find_label(str(table["target"]), radar.info.labels), tight,
        faces=bool(table.get("faces", False)), eyes=tuple(table.get("eyes", EYES)), about=str(table.get("about", "")),
    )  # fmt: skip


def write_pictures(folder: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Keep each part's pixels (N, height, width, 3) uint8 and labels (N,) int64, whole or not at all."""
    arrays = {f"{name}_pixels": pixels for name, (pixels, _) in parts.items()}
    arrays |= {f"{name}_labels": labels for name, (_, labels) in parts.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "pictures.npz", stream.getvalue())


def write_description(folder: Path, table: Mapping[str, str | float | bool]) -> None:
    """Write `subject.toml`."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    write_atomically(folder / SUBJECT_FILE, ("\n".join(lines) + "\n").encode())


def _pictures(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: (kept[f"{name}_pixels"], kept[f"{name}_labels"]) for name in PARTS}
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: does not hold pictures and labels of {', '.join(PARTS)} ({error})") from None
