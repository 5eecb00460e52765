"""Horizontal bands of an aligned face: where glasses, a hat's brim or a mask would lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BANDS", "BAND_SHARE", "band_rows", "fill_bands"]

BANDS = 8
BAND_SHARE = 0.25
"""Height of a band, as a share of the face's."""


def band_rows(height: int, bands: int = BANDS, share: float = BAND_SHARE) -> tuple[slice, ...]:
    """Return the rows of `bands` equally spaced, overlapping bands; the first touches the top, the last the bottom."""
    tall = max(1, round(height * share))
    starts = np.linspace(0, height - tall, bands).round().astype(int)
    return tuple(slice(int(start), int(start) + tall) for start in starts)


def fill_bands(inputs: NDArray[np.float32], fill: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each input with each band filled: (B, 3, H, W) and a fill (1 or B, 3, H, W) to (B, BANDS, 3, H, W)."""
    rows = band_rows(inputs.shape[2])
    filled = np.repeat(inputs[:, None], len(rows), axis=1)
    for index, band in enumerate(rows):
        filled[:, index, :, band] = np.broadcast_to(fill, inputs.shape)[:, :, band]
    return filled
