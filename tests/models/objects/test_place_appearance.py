"""The appearance network is shown what is around a window, wherever the window lies."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.general import unpack
from taintwatch_models.objects.place_appearance import PlaceAppearance
from taintwatch_models.onnx_session import SessionSettings


@pytest.fixture(scope="module")
def ask() -> PlaceAppearance:
    return PlaceAppearance("bgr", SessionSettings(device="cpu", threads=1))


def test_a_printed_pattern_answers_more_than_what_was_there(ask: PlaceAppearance) -> None:
    general = islice(unpack(bundled_path("general.npz")), 12)
    rng = np.random.default_rng(5)
    lower = 0
    for picture in general:
        pixels = np.kron(picture, np.ones((2, 2, 1), np.uint8))[:400, :400]
        with_it = pixels.copy()
        with_it[180:220, 100:140] = np.kron(rng.integers(0, 256, (20, 20, 3)), np.ones((2, 2, 1))).astype(np.uint8)
        box = (100, 180, 40, 40)
        lower += ask(pixels, box) < ask(with_it, box)
    assert lower >= 11


def test_a_window_in_a_corner_is_looked_at_whole(ask: PlaceAppearance) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    for box in ((0, 0, 20, 20), (140, 100, 20, 20), (0, 0, 160, 120)):
        assert np.isfinite(ask(pixels, box))


def test_the_order_of_the_channels_is_the_detector_s(ask: PlaceAppearance) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    other = PlaceAppearance("rgb", SessionSettings(device="cpu", threads=1))
    box = (40, 40, 30, 30)
    assert other(np.ascontiguousarray(pixels[..., ::-1]), box) == pytest.approx(ask(pixels, box), abs=1e-4)
