"""Denormals are flushed within a block, or a function, and no longer."""

import sys

import pytest
import torch

from taintwatch_calibration.torch_tuning import denormals_flushed


def a_denormal_counts() -> bool:
    return bool((torch.full((64,), sys.float_info.min, dtype=torch.float64) / 2 > 0).all())


def test_denormals_are_zero_within_the_block_and_count_again_after_it() -> None:
    with denormals_flushed():
        assert not a_denormal_counts()
    assert a_denormal_counts()


def test_they_count_again_after_an_error_too() -> None:
    @denormals_flushed()
    def fails() -> None:
        assert not a_denormal_counts()
        raise ValueError("wrong")

    for _ in range(2):
        with pytest.raises(ValueError, match="wrong"):
            fails()
        assert a_denormal_counts()
