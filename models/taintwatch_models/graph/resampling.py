"""Resizing and inpainting as matrix products with constant matrices: exact, batched, the same on every provider."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.graph.builder import GraphBuilder

__all__ = ["area_matrix", "bilinear_matrix", "inpaint", "resize", "shrink"]


@lru_cache(maxsize=256)  # frames ask for the same few again and again
def bilinear_matrix(target: int, source: int) -> NDArray[np.float32]:
    """Return the (target, source) matrix of bilinear resizing with half-pixel centres and clamped edges, read-only.

    Equal to OpenCV's INTER_LINEAR and to torch's `interpolate(mode="bilinear", align_corners=False)` when enlarging.
    """
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    low = np.floor(centres)
    weight = centres - low
    matrix = np.zeros((target, source), np.float64)
    rows = np.arange(target)
    np.add.at(matrix, (rows, np.clip(low, 0, source - 1).astype(int)), 1 - weight)
    np.add.at(matrix, (rows, np.clip(low + 1, 0, source - 1).astype(int)), weight)
    made = matrix.astype(np.float32)
    made.setflags(write=False)
    return made


def area_matrix(target: int, source: int) -> NDArray[np.float32]:
    """Return the (target, source) matrix of averages over areas. Equal to OpenCV's INTER_AREA when shrinking."""
    edges = np.arange(target + 1) * source / target
    pixels = np.arange(source)
    low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
    return np.asarray(np.maximum(high - low, 0.0) * target / source, np.float32)


def _halving_matrix(source: int) -> NDArray[np.float32]:
    """Return the (ceil(source / 2), source) matrix that averages pairs; an odd last one stands alone."""
    target = (source + 1) // 2
    matrix = np.zeros((target, source), np.float32)
    for row in range(target):
        columns = [column for column in (2 * row, 2 * row + 1) if column < source]
        matrix[row, columns] = 1.0 / len(columns)
    return matrix


def _separable(b: GraphBuilder, value: str, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> str:
    tall = b.add("MatMul", b.constant(rows), value)
    return b.add("MatMul", tall, b.constant(np.ascontiguousarray(columns.T)))


def resize(b: GraphBuilder, value: str, source: tuple[int, int], target: tuple[int, int]) -> str:
    """(..., h, w) to (..., H, W), bilinear."""
    if source == target:
        return value
    return _separable(b, value, bilinear_matrix(target[0], source[0]), bilinear_matrix(target[1], source[1]))


def shrink(b: GraphBuilder, value: str, source: tuple[int, int], target: tuple[int, int]) -> str:
    """(B, C, h, w) to (B, C, H, W) by averages over areas; bilinear where it is enlarged.

    Whole multiples are pooled first, which is cheap; of a side that is none, the last few pixels are left out then.
    """
    factor = min(old // new for old, new in zip(source, target, strict=True))
    if factor > 1:
        value = b.add("AveragePool", value, kernel_shape=[factor, factor], strides=[factor, factor])
        source = (source[0] // factor, source[1] // factor)
    if source == target:
        return value
    rows, columns = (
        area_matrix(new, old) if new < old else bilinear_matrix(new, old)
        for new, old in zip(target, source, strict=True)
    )
    return _columns(b, _rows(b, value, rows, source[1]), columns, target[0])


def _rows(b: GraphBuilder, value: str, matrix: NDArray[np.float32], width: int) -> str:
    """Apply a matrix to the rows of (B, C, h, width); where it is the same block again and again, to each part of them.

    Averages over areas from 112 to 96 rows take 6 from every 7: a sixteenth of the products.
    """
    block, count = _block(matrix)
    parts = value if count == 1 else b.add("Reshape", value, b.constant([0, 0, count, block.shape[1], width]))
    made = b.add("MatMul", b.constant(block), parts)
    return made if count == 1 else b.add("Reshape", made, b.constant([0, 0, len(matrix), width]))


def _columns(b: GraphBuilder, value: str, matrix: NDArray[np.float32], height: int) -> str:
    """The same along the columns of (B, C, height, w)."""
    block, count = _block(matrix)
    parts = value if count == 1 else b.add("Reshape", value, b.constant([0, 0, height, count, block.shape[1]]))
    made = b.add("MatMul", parts, b.constant(np.ascontiguousarray(block.T)))
    return made if count == 1 else b.add("Reshape", made, b.constant([0, 0, height, len(matrix)]))


def _block(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Return the block of which a matrix repeats the most along its diagonal, and how often; the whole, once."""
    for count in range(math.gcd(*matrix.shape), 1, -1):
        if matrix.shape[0] % count or matrix.shape[1] % count:
            continue
        block = matrix[: matrix.shape[0] // count, : matrix.shape[1] // count]
        if np.allclose(matrix, np.kron(np.eye(count, dtype=np.float32), block), atol=1e-6):
            return block, count
    return matrix, 1


def inpaint(b: GraphBuilder, image: str, hole: str, size: tuple[int, int]) -> str:
    """Fill `hole` (B, 1, H, W; bool) of `image` (B, 3, H, W) smoothly from around it; returns (B, 3, H, W).

    Pull-push (Gortler et al., The Lumigraph, 1996, section 3.4.2): averages of known pixels over ever larger squares,
    then the missing ones from the next coarser level. Chosen over OpenCV's Telea because it is batched and runs on
    the device.
    """
    known = b.cast(b.add("Not", hole))
    weighted = b.add("Concat", b.add("Mul", image, known), known, axis=1)  # (B, 4, H, W)
    levels, sizes = [weighted], [size]
    while max(sizes[-1]) > 1:
        height, width = sizes[-1]
        levels.append(_separable(b, levels[-1], _halving_matrix(height), _halving_matrix(width)))
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    estimate = ""
    for level, cells in reversed(list(zip(levels, sizes, strict=True))):
        colour, weight = b.add_many("Split", level, b.constant([3, 1]), outputs=2, axis=1)
        mean = b.add("Div", colour, b.add("Max", weight, b.constant(1e-6)))
        if not estimate:
            estimate = mean
        else:
            coarse = resize(b, estimate, ((cells[0] + 1) // 2, (cells[1] + 1) // 2), cells)
            step = b.add("Mul", b.add("Sub", mean, coarse), weight)
            estimate = b.add("Add", coarse, step)
    return estimate
