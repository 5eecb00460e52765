"""The appearance network is shown what is around a window, wherever the window lies."""

from __future__ import annotations

from itertools import islice
from typing import Literal

import numpy as np
import pytest

from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.general import unpack
from taintwatch_models.objects.place_appearance import PlaceAppearance, finer
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def ask() -> PlaceAppearance:
    return PlaceAppearance(inputs(400, 400), SessionSettings(device="cpu", threads=1))


def inputs(height: int, width: int, order: Literal["rgb", "bgr"] = "bgr") -> Preprocessing:
    return Preprocessing(size=(height, width), order=order, resize="pad")


def test_a_printed_pattern_answers_more_than_what_was_there(ask: PlaceAppearance) -> None:
    general = islice(unpack(bundled_path("general.npz")), 12)
    rng = np.random.default_rng(5)
    lower = 0
    for picture in general:
        pixels = np.kron(picture, np.ones((2, 2, 1), np.uint8))[:400, :400]
        with_it = pixels.copy()
        with_it[180:220, 100:140] = np.kron(rng.integers(0, 256, (20, 20, 3)), np.ones((2, 2, 1))).astype(np.uint8)
        box = (100, 180, 40, 40)
        lower += ask(pixels, [box]).answer < ask(with_it, [box]).answer
    assert lower >= 11


def test_a_window_in_a_corner_is_looked_at_whole(ask: PlaceAppearance) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    for box in ((0, 0, 20, 20), (380, 380, 20, 20), (0, 0, 400, 300)):
        assert np.isfinite(ask(pixels, [box]).answer)


def test_the_order_of_the_channels_is_the_detector_s(ask: PlaceAppearance) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    other = PlaceAppearance(inputs(400, 400, "rgb"), SessionSettings(device="cpu", threads=1))
    box = (40, 40, 30, 30)
    assert other(picture, [box]).answer == pytest.approx(ask(picture, [box]).answer, abs=1e-4)


def test_a_small_detector_s_input_is_not_all_that_is_looked_at() -> None:
    finer_inputs, gain = finer(inputs(144, 192))
    assert finer_inputs.size == (480, 640)
    assert gain == pytest.approx(640 / 192)
    assert finer(inputs(640, 640))[1] == finer(inputs(1280, 960))[1] == 1.0
    picture = np.full((480, 640, 3), 120, np.uint8)
    with_it = picture.copy()
    rng = np.random.default_rng(5)
    with_it[200:248, 300:348] = np.kron(rng.integers(0, 256, (24, 24, 3)), np.ones((2, 2, 1))).astype(np.uint8)
    box = (90, 60, 14, 14)  # of 192 x 144
    small = PlaceAppearance(inputs(144, 192), SessionSettings(device="cpu", threads=1))
    assert small(with_it, [box]).answer > small(picture, [box]).answer
    nearly_found = (81, 51, 32, 32)
    look = small(with_it, [(10, 10, 14, 14)], [(150, 20, 20, 20), nearly_found])
    assert look.box == (87, 57, 19, 19)  # the middle of what was nearly found
    assert look.answer > small(picture, [(10, 10, 14, 14)], [nearly_found]).answer
    assert small(picture, []) == (-np.inf, None)
