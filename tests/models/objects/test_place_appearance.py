"""The appearance network looks at a whole picture, and says where a pattern lies in it."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.general import unpack
from taintwatch_models.objects.place_appearance import (
    LONGER_SIDE,
    PlaceAppearance,
    appearance_at,
    box_in_input,
    looked_size,
)
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Placement

PATTERN = (300, 200, 48, 48)


@pytest.fixture(scope="module")
def ask() -> PlaceAppearance:
    return PlaceAppearance(SessionSettings(device="cpu", threads=1))


def general(count: int) -> list[NDArray[np.uint8]]:
    """General pictures as a camera of 640 x 480 pixels would show them."""
    found = islice(unpack(bundled_path("general.npz")), count)
    return [np.ascontiguousarray(np.kron(picture, np.ones((3, 3, 1), np.uint8))[:480, :640]) for picture in found]


def with_pattern(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x, y, width, height = PATTERN
    shown = picture.copy()
    texels = np.random.default_rng(5).integers(0, 256, (height // 2, width // 2, 3))
    shown[y : y + height, x : x + width] = np.kron(texels, np.ones((2, 2, 1)))
    return shown


def test_a_printed_pattern_answers_more_than_what_was_there_and_is_found(ask: PlaceAppearance) -> None:
    pictures = general(12)
    looks = [ask(with_pattern(picture)) for picture in pictures]
    assert sum(ask(picture).answer < look.answer for picture, look in zip(pictures, looks, strict=True)) >= 11
    hit = [abs(x + width / 2 - 324) < 24 and abs(y + height / 2 - 224) < 24 for x, y, width, height in
           (look.box for look in looks)]  # fmt: skip
    assert sum(hit) >= 11


def test_a_large_picture_is_looked_at_as_small_as_another(ask: PlaceAppearance) -> None:
    picture = with_pattern(general(1)[0])
    large = np.ascontiguousarray(np.kron(picture, np.ones((2, 2, 1), np.uint8)))
    small, again = ask(picture), ask(large)
    assert again.answer == pytest.approx(small.answer, abs=0.1)
    assert again.box == pytest.approx([2 * value for value in small.box])


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (144, 192), (20, 2000)])
def test_pictures_of_any_shape_have_whole_cells(ask: PlaceAppearance, size: tuple[int, int]) -> None:
    rows, columns = looked_size(*size)
    assert (rows % 8, columns % 8, max(rows, columns)) == (0, 0, LONGER_SIDE)
    assert np.isfinite(ask(np.zeros((*size, 3), np.uint8)).answer)


def test_what_lies_together_is_one_pattern() -> None:
    answers = np.full((10, 12), -1.0, np.float32)
    answers[2:7, 3:8] = 4.0
    answers[0, 11] = 3.0  # alone, and not as sure
    answer, box = appearance_at(answers)
    assert answer == pytest.approx(4.0)
    assert box == (3, 2, 5, 5)
    assert appearance_at(-np.ones((6, 6), np.float32)) == (-1.0, (0, 0, 3, 3))


def test_a_place_in_the_picture_is_found_again_in_the_input() -> None:
    place = Placement(0.5, 0.5, 0.0, 10.0)
    assert box_in_input((100.0, 50.0, 40.0, 20.0), place, (416, 416)) == (50, 35, 20, 10)
    assert box_in_input((-50.0, 0.0, 20.0, 20.0), place, (416, 416)) == (0, 10, 1, 10)  # cut away: a pixel at the edge
