"""Batches of pictures as the robustness toolboxes have them, made into Taintwatch's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError

__all__ = ["pictures_of_batch"]


def pictures_of_batch(
    batch: NDArray[np.floating] | NDArray[np.uint8], *, channels_first: bool, bounds: tuple[float, float]
) -> list[NDArray[np.uint8]]:
    """Return (height, width, 3) uint8 RGB pictures of a batch within `bounds`: (B, 3, H, W), or (B, H, W, 3).

    Values are rounded to whole 255ths, as a picture on the disk has them. Raises `UsageError` for another shape.
    """
    pictures = np.moveaxis(batch, 1, -1) if channels_first and batch.ndim == 4 else batch
    if pictures.ndim != 4 or pictures.shape[-1] != 3:
        wanted = "(batch, 3, height, width)" if channels_first else "(batch, height, width, 3)"
        raise UsageError(f"the batch has the shape {batch.shape} where {wanted} is needed")
    low, high = bounds
    scaled = np.clip((pictures.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return [np.ascontiguousarray((picture * 255 + 0.5).astype(np.uint8)) for picture in scaled]
