"""Busy prints that are no attack: codes, marbled paper, mosaics, rings, dots and knitwear, in strong colours.

Drawn by other rules than `detection.textures`, which the appearance network has learnt to leave alone.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["busy_prints"]

_SIDE = 128

Pictures = NDArray[np.uint8]


def busy_prints(count: int, photographs: Pictures, rng: np.random.Generator) -> Pictures:
    """Return `count` prints (count, 128, 128, 3), the kinds in turn. `photographs`: what is printed in dots."""
    made = []
    for index in range(count):
        kind = _KINDS[index % len(_KINDS)]
        made.append(_dots(photographs[rng.integers(len(photographs))], rng) if kind is None else kind(rng))
    return np.stack(made)


def _code(rng: np.random.Generator) -> Pictures:
    """A square code: black on white, or in two colours."""
    count = int(rng.integers(21, 41))
    black = rng.random((count, count)) < 0.5
    for top, left in ((0, 0), (0, count - 7), (count - 7, 0)):
        black[top : top + 7, left : left + 7] = True
        black[top + 1 : top + 6, left + 1 : left + 6] = False
        black[top + 2 : top + 5, left + 2 : left + 5] = True
    inks = np.array([(255, 255, 255), (0, 0, 0)] if rng.random() < 0.5 else _inks(2, rng), np.uint8)
    return np.asarray(cv2.resize(inks[black.astype(np.int64)], (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST))


def _marbled(rng: np.random.Generator) -> Pictures:
    """Veins: sines of a coordinate that some octaves of smooth noise push about."""
    push = np.zeros((_SIDE, _SIDE), np.float32)
    for octave in range(4):
        coarse = rng.normal(size=(4 * 2**octave, 4 * 2**octave)).astype(np.float32)
        push += 0.6**octave * cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    along = np.linspace(0, rng.uniform(8, 25), _SIDE)[None] + 4 * push
    return _spread(np.stack([np.sin(along + phase) for phase in rng.uniform(0, 6, 3)], axis=2))


def _mosaic(rng: np.random.Generator) -> Pictures:
    """Cells around random points (Voronoi), with or without joints."""
    points = rng.uniform(0, _SIDE, (int(rng.integers(20, 120)), 2))
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    square = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    sheet = np.asarray(_inks(len(points), rng)[square.argmin(axis=2)], np.uint8)
    if rng.random() < 0.5:
        near = np.partition(np.sqrt(square), 1, axis=2)
        sheet[near[..., 1] - near[..., 0] < 1.5] = 30
    return sheet


def _rings(rng: np.random.Generator) -> Pictures:
    """Rings around three points, one in each colour, that cross each other."""
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    planes = [
        np.sin(np.hypot(rows - y, columns - x) * rng.uniform(0.2, 1.2)) for y, x in rng.uniform(-20, _SIDE + 20, (3, 2))
    ]
    return _spread(np.stack(planes, axis=2))


def _knitted(rng: np.random.Generator) -> Pictures:
    """Stitches in rows, each of one of a few wools, in a figure that repeats."""
    count, tile = int(rng.integers(16, 33)), int(rng.integers(3, 9))
    figure = np.tile(rng.integers(0, 4, (tile, tile)), (count // tile + 1, count // tile + 1))[:count, :count]
    wool = cv2.resize(_inks(4, rng)[figure], (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST).astype(np.float32)
    rows, columns = np.mgrid[:_SIDE, :_SIDE] * (count / _SIDE)
    stitch = 0.75 + 0.25 * np.cos(2 * np.pi * (rows + 0.4 * np.abs(np.sin(np.pi * columns))))
    return np.asarray(np.clip(wool * stitch[..., None], 0, 255), np.uint8)


def _dots(photograph: Pictures, rng: np.random.Generator) -> Pictures:
    """A photograph in coarse dots of cyan, magenta and yellow, each screen at its own angle."""
    ink = 1 - cv2.resize(photograph, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rows, columns = np.mgrid[:_SIDE, :_SIDE] * (2 * np.pi / rng.uniform(3.5, 7))
    sheet = np.empty_like(ink)
    for channel, angle in enumerate(np.radians([15, 75, 0])):
        one, other = np.cos(angle), np.sin(angle)
        screen = np.cos(rows * one - columns * other) + np.cos(rows * other + columns * one)
        sheet[..., channel] = ink[..., channel] > 0.5 - screen / 4
    return np.asarray(255 * (1 - sheet), np.uint8)


def _inks(count: int, rng: np.random.Generator) -> Pictures:
    return rng.integers(0, 256, (count, 3)).astype(np.uint8)


def _spread(planes: NDArray[np.floating]) -> Pictures:
    low, high = planes.min(axis=(0, 1)), planes.max(axis=(0, 1))
    return np.asarray(255 * (planes - low) / np.maximum(high - low, 1e-6), np.uint8)


_KINDS = (_code, _marbled, _mosaic, _rings, _knitted, None)
