"""Textures: busy, never twice the same, and scrambled pictures that keep what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taintwatch_models.detection.textures import SIDE, altered, scrambled, textures


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


def test_a_scrambled_picture_keeps_its_colours_and_its_spectrum_but_not_its_shapes() -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    disc = np.hypot(rows - 40, columns - 24) < 12
    picture = np.where(disc[..., None], (200, 90, 60), (60, 120, 140)).astype(np.uint8)
    changed = scrambled(picture, np.random.default_rng(1))
    for moment in (np.mean, np.std):
        assert moment(changed, axis=(0, 1)) == pytest.approx(moment(picture, axis=(0, 1)), abs=8)

    def low_share(shown: np.ndarray) -> float:
        power = np.abs(np.fft.fft2(shown[..., 0] - shown[..., 0].mean())) ** 2
        near = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE))) < 0.06
        return float(power[near].sum() / power.sum())

    assert low_share(changed) == pytest.approx(low_share(picture), abs=0.1)
    assert abs(np.corrcoef(changed[..., 0].ravel(), picture[..., 0].ravel())[0, 1]) < 0.6


@given(st.integers(0, 2**32 - 1))
def test_an_altered_photograph_is_another_picture(seed: int) -> None:
    picture = np.random.default_rng(7).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    changed = altered(picture, np.random.default_rng(seed))
    assert changed.shape == picture.shape
    assert changed.dtype == np.uint8
