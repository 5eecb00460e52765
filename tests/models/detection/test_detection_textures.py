"""Textures: busy, and never twice the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taintwatch_models.detection.textures import SIDE, textures


@given(st.integers(0, 2**32 - 1))
def test_every_seed_draws_pictures_of_the_size_that_was_asked_for(seed: int) -> None:
    drawn = textures(3, (48, 80), np.random.default_rng(seed))
    assert drawn.shape == (3, 48, 80, 3)
    assert drawn.dtype == np.uint8
    assert (drawn == textures(3, (48, 80), np.random.default_rng(seed))).all()


def test_most_textures_are_busy() -> None:
    drawn = textures(200, (SIDE, SIDE), np.random.default_rng(0)).astype(float)
    steps = np.abs(np.diff(drawn, axis=2)).mean(axis=(1, 2, 3))
    assert np.quantile(steps, 0.2) > 5
    assert len({each.tobytes() for each in drawn}) == 200
