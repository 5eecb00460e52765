"""What shares more with a pattern than a drawn texture does: its colours and spectrum, or a photograph in odd colours.

The network learns to leave these alone too, so that neither colours nor spectrum are what it goes by.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.textures import SIDE, palette

__all__ = ["altered", "scrambled"]

Picture = NDArray[np.uint8]
"""(64, 64, 3)."""


def scrambled(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a picture (64, 64, 3) with its spectrum and colours kept and its phases moved at random."""
    spectrum = np.fft.fft2(picture.astype(np.float64), axes=(0, 1))
    turn = np.angle(np.fft.fft2(rng.normal(size=(SIDE, SIDE))))
    found = np.fft.ifft2(spectrum * np.exp(1j * turn)[..., None], axes=(0, 1)).real
    mean, spread = picture.mean(axis=(0, 1)), picture.std(axis=(0, 1))
    found = (found - found.mean(axis=(0, 1))) / (found.std(axis=(0, 1)) + 1e-6) * spread + mean
    return np.asarray(np.clip(found, 0, 255), np.uint8)


def altered(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a photograph (64, 64, 3) with its colours exchanged, or mirrored into a tile, or in few colours."""
    kind = rng.integers(5)
    if kind == 0:
        shown = picture[:, :, rng.permutation(3)] ^ np.uint8(255 * rng.integers(2))
    elif kind == 1:
        hues = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        hues[..., 0] = (hues[..., 0].astype(np.int64) + rng.integers(180)) % 180
        hues[..., 1] = np.clip(hues[..., 1].astype(np.float64) * rng.uniform(1, 3), 0, 255)
        shown = cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)
    elif kind == 2:
        quarter = cv2.resize(picture, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
        half = np.hstack([quarter, quarter[:, ::-1]])
        shown = np.vstack([half, half[::-1]])
    elif kind == 3:
        steps = int(rng.integers(2, 5))
        levels = np.clip(picture.astype(np.int64) * steps // 256, 0, steps - 1)
        shown = palette(rng, steps**3)[(levels * np.array([1, steps, steps**2])).sum(axis=2)]
    else:
        table = np.clip(
            255 * np.abs(np.sin(np.linspace(0, rng.uniform(2, 9), 256)[:, None] + rng.uniform(0, 6, 3))), 0, 255
        )
        shown = np.stack([table[picture[..., c], c] for c in range(3)], axis=2)
    return np.ascontiguousarray(shown, np.uint8)
