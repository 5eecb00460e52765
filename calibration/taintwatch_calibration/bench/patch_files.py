"""A patch as a file of its own: PNG or NPY."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image

__all__ = ["encode_patch", "read_patch"]


def encode_patch(patch: NDArray[np.uint8]) -> bytes:
    """Return a PNG of (s, s, 3) RGB. Raises `UsageError` for another shape."""
    done, png = cv2.imencode(".png", np.ascontiguousarray(patch[:, :, ::-1]))
    if not done:
        raise UsageError(f"a patch of {patch.shape} cannot be written as PNG")
    return png.tobytes()


def read_patch(path: Path) -> NDArray[np.uint8]:
    """Read a patch, PNG (any picture) or NPY of (s, s, 3) or (3, s, s), uint8 or [0, 1]; RGB uint8.

    Raises `UsageError` where it is none.
    """
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: not a readable NPY file ({error})") from None
        if values.ndim == 3 and values.shape[0] == 3 and values.shape[2] != 3:
            values = values.transpose(1, 2, 0)
        if values.ndim != 3 or values.shape[2] != 3 or not values.size:
            raise UsageError(f"{path}: a patch is (side, side, 3), this is {values.shape}")
        scale = 1.0 if values.dtype == np.uint8 else 255.0
        return np.asarray(np.clip(np.rint(values * scale), 0, 255), np.uint8)
    try:
        return np.ascontiguousarray(read_image(path)[:, :, ::-1])
    except BadFrame as error:
        raise UsageError(str(error)) from None
