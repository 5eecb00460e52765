"""An attack on many pictures, block by block: what is done to a block is kept, so that a stopped run goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.torch_tuning import denormals_flushed

__all__ = ["BLOCK", "in_blocks", "weighted_means"]

BLOCK = 16
"""Pictures."""


def in_blocks(
    cache: Cache, name: str, identity: Sequence[object], count: int, attack: Callable[[slice], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what `attack` gives for each block of `count` pictures, from the cache where it is there."""
    key = hashlib.sha256(repr((name, *identity)).encode()).hexdigest()[:16]

    def attacked(rows: slice) -> dict[str, Any]:
        with denormals_flushed():
            return attack(rows)

    blocks = []
    for start in range(0, count, BLOCK):
        make = partial(attacked, slice(start, start + BLOCK))
        blocks.append(cache.document(f"{key}_{start}", (name, *identity), make))
    return blocks


def weighted_means(blocks: Sequence[dict[str, Any]], names: Iterable[str], digits: int) -> dict[str, float]:
    """Return the mean of each value over all pictures; a block has `attempts` of them."""
    total = sum(block["attempts"] for block in blocks)
    return {name: round(sum(block[name] * block["attempts"] for block in blocks) / total, digits) for name in names}
