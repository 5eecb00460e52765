"""Harmless pictures that are as colourful and as busy as optimised patterns: what must not be taken for these.

Carpets, wallpaper, paintings, mosaics and screens without a signal are new to every network and no attack. They are
drawn here by rule. A few are among the frames that the threshold for alerts is chosen on, and the appearance network is
trained to leave them alone.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDE", "palette", "texture", "textures"]

SIDE = 64

Picture = NDArray[np.uint8]
Planes = NDArray[np.float64]


def texture(rng: np.random.Generator) -> Picture:
    """Draw one texture, (64, 64, 3)."""
    return _TEXTURES[rng.integers(len(_TEXTURES))](rng)


def textures(count: int, size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """Draw some textures, (count, *size, 3)."""
    height, width = size
    drawn = [cv2.resize(texture(rng), (width, height), interpolation=cv2.INTER_LINEAR) for _ in range(count)]
    return np.stack(drawn).astype(np.uint8)


def palette(rng: np.random.Generator, count: int) -> Picture:
    """Draw some colours, (count, 3): any, or of few hues, or strong ones."""
    hues = np.empty((1, count, 3), np.uint8)
    hues[0, :, 0] = (
        rng.integers(0, 180, count) if rng.random() < 0.6 else rng.integers(0, 180) + rng.integers(0, 20, count)
    )
    hues[0, :, 0] %= 180
    hues[0, :, 1] = rng.integers(0 if rng.random() < 0.5 else 150, 256, count)
    hues[0, :, 2] = rng.integers(0 if rng.random() < 0.5 else 120, 256, count)
    return np.asarray(cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0], np.uint8)


def _coloured(values: Planes, rng: np.random.Generator) -> Picture:
    """Values (64, 64, 3) of any range, with channels mixed at random and contrast chosen, as a picture."""
    mixed = values.reshape(-1, 3) @ rng.normal(size=(3, 3))
    mixed = (mixed - mixed.mean(axis=0)) / (mixed.std(axis=0) + 1e-6)
    shown = mixed * rng.uniform(20, 100) + rng.uniform(60, 200, 3)
    return np.asarray(np.clip(shown, 0, 255), np.uint8).reshape(SIDE, SIDE, 3)


def _spectral(rng: np.random.Generator, least: float = 0.0) -> Planes:
    """Noise whose amplitude falls as a power of the frequency, (64, 64, 3)."""
    rows, columns = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    stretch = rng.uniform(0.3, 1.0)
    frequency = np.hypot(rows * stretch, columns) if rng.random() < 0.5 else np.hypot(rows, columns * stretch)
    fall = np.maximum(frequency, 1 / SIDE) ** -rng.uniform(least, 2.2)
    drawn = np.fft.fft2(rng.normal(size=(SIDE, SIDE, 3)), axes=(0, 1)) * fall[..., None]
    return np.asarray(np.fft.ifft2(drawn, axes=(0, 1)).real)


def _noise(rng: np.random.Generator) -> Picture:
    return _coloured(_spectral(rng), rng)


def _regions(rng: np.random.Generator) -> Picture:
    """Noise cut into a few colours."""
    values = _spectral(rng, 1.0)[..., 0]
    count = int(rng.integers(2, 9))
    edges = np.quantile(values, np.linspace(0, 1, count + 1)[1:-1])
    return palette(rng, count)[np.digitize(values, edges)]


def _waves(rng: np.random.Generator) -> Picture:
    """Up to four gratings, bent by noise or not, in up to three colours."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    bend = _spectral(rng, 1.4)
    bend = bend / (np.abs(bend).max() + 1e-9) * rng.choice([0.0, 2.0, 6.0])
    planes = np.zeros((SIDE, SIDE, 3))
    for _ in range(int(rng.integers(1, 5))):
        angle, count = rng.uniform(0, np.pi), rng.uniform(2, 24)
        phase = 2 * np.pi * count * (rows * np.sin(angle) + columns * np.cos(angle)) + bend[..., 0]
        wave = np.sin(phase[..., None] + rng.uniform(0, 6, 3) * rng.integers(2))
        planes += rng.uniform(0.3, 1) * (np.sign(wave) if rng.random() < 0.3 else wave)
    return _coloured(planes, rng)


def _leaves(rng: np.random.Generator) -> Picture:
    """Discs, boxes or polygons of all sizes, one over the other (dead leaves: Lee, Mumford and Huang, 2001)."""
    sheet = np.full((SIDE, SIDE, 3), rng.integers(0, 256, 3), np.uint8)
    colours, shape = palette(rng, 40), int(rng.integers(4))
    least = rng.uniform(1, 4)
    for _ in range(int(rng.integers(40, 400))):
        size = float(np.clip(least / rng.uniform(0.02, 1.0), 1, SIDE / 3))
        centre, colour = rng.uniform(0, SIDE, 2), tuple(int(v) for v in colours[rng.integers(40)])
        if shape == 0 or (shape == 3 and rng.random() < 0.5):
            cv2.circle(sheet, (int(centre[0]), int(centre[1])), max(1, int(size / 2)), colour, -1)
        else:
            corners = centre + size * rng.uniform(-0.7, 0.7, (4 if shape == 1 else 5, 2))
            cv2.fillPoly(sheet, [np.round(corners).astype(np.int32)], colour)
    return sheet


def _strokes(rng: np.random.Generator) -> Picture:
    """Bent strokes of one width, as of a brush or a felt pen."""
    sheet = np.full((SIDE, SIDE, 3), rng.integers(0, 256, 3), np.uint8)
    colours = palette(rng, 12)
    for _ in range(int(rng.integers(10, 90))):
        points = rng.uniform(-5, SIDE + 5, 2) + np.cumsum(rng.normal(0, rng.uniform(1, 9), (8, 2)), axis=0)
        colour = tuple(int(v) for v in colours[rng.integers(12)])
        cv2.polylines(sheet, [np.round(points).astype(np.int32)], False, colour, int(rng.integers(1, 6)), cv2.LINE_AA)
    return sheet


def _grid(rng: np.random.Generator) -> Picture:
    """Squares of any colour, or a small tile that repeats."""
    count = int(rng.integers(3, 33))
    if rng.random() < 0.5:
        tile = palette(rng, count * count).reshape(count, count, 3)
        return np.asarray(cv2.resize(tile, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)
    part = max(6, SIDE // int(rng.integers(2, 7)))
    small = cv2.resize(_TEXTURES[rng.integers(len(_TEXTURES) - 1)](rng), (part, part), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.tile(small, (SIDE // part + 1, SIDE // part + 1, 1))[:SIDE, :SIDE])


_TEXTURES: tuple[Callable[[np.random.Generator], Picture], ...] = (
    _noise, _regions, _waves, _leaves, _strokes, _grid,
)  # fmt: skip
