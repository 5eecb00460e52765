"""Look-alikes of patterns: scrambled pictures keep what they should, altered ones are of the same shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.appearance.look_alikes import altered, scrambled
from taintwatch_models.detection.textures import SIDE


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
