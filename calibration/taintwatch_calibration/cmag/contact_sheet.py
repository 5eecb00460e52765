"""A picture to look at: inputs, and what each reconstructor makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["contact_sheet", "write_sheet"]

_NAMES = ("input", "FMR", "LR", "GR")
_MARGIN, _CELL = 44, 96


def contact_sheet(pictures: NDArray[np.float32], made: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """Return rows of input, FMR, LR and GR with a name before each: (height, width, 3) uint8, in the input's colours.

    `pictures` (N, colours, size, size) in [0, 1]; `made` holds `fmr`, `lr` and `reconstruction` of the same shape.
    """
    rows = (pictures, made["fmr"], made["lr"], made["reconstruction"])
    sheet = np.full((len(rows) * _CELL, _MARGIN + len(pictures) * _CELL, 3), 255, np.uint8)
    for row, (name, images) in enumerate(zip(_NAMES, rows, strict=True)):
        top = row * _CELL
        cv2.putText(sheet, name, (2, top + _CELL // 2 + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        for column, image in enumerate(images):
            values = np.clip(np.moveaxis(image, 0, -1) * 255 + 0.5, 0, 255).astype(np.uint8)
            cell = cv2.resize(values, (_CELL - 2, _CELL - 2), interpolation=cv2.INTER_NEAREST)
            left = _MARGIN + column * _CELL
            sheet[top : top + _CELL - 2, left : left + _CELL - 2] = cell.reshape(_CELL - 2, _CELL - 2, -1)
    return sheet


def write_sheet(sheet: NDArray[np.uint8], path: Path, order: str = "rgb") -> None:
    """Write a contact sheet as PNG; `order` is that of its channels. Raises `UsageError`."""
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(sheet[:, :, ::-1] if order == "rgb" else sheet))
    if not done:
        raise UsageError(f"{path}: the contact sheet cannot be encoded as PNG")
    try:
        write_atomically(path, encoded.tobytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from None
