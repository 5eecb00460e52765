"""What changes once a place is filled, and what only seems to."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch_models.objects.box_changes import filled, largest_change
from taintwatch_models.objects.decoders import Decoded

PLACE = (40, 40, 20, 20)
PERSON, CAR = 0, 2


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Decoded:
    """left, top, right, bottom, score, label."""
    values = np.array([row[:5] for row in rows], np.float32).reshape(-1, 5)
    return Decoded(values[:, :4], values[:, 4], np.array([row[5] for row in rows], np.int64))


NOTHING = boxes()


def test_a_person_who_appears_around_the_place_is_the_change() -> None:
    change = largest_change(NOTHING, boxes((30, 20, 70, 120, 0.8, PERSON)), PLACE)
    assert (change.kind, change.label) == ("appears", PERSON)
    assert change.size == pytest.approx(0.8)


def test_an_object_that_the_place_covers_vanishes_with_it_and_says_nothing() -> None:
    assert largest_change(boxes((41, 41, 59, 59, 0.9, PERSON)), NOTHING, PLACE).size == 0.0
    assert largest_change(boxes((30, 30, 60, 60, 0.9, PERSON)), NOTHING, PLACE).size == 0.0  # half of it is covered


def test_an_object_elsewhere_that_vanishes_is_a_change() -> None:
    change = largest_change(boxes((100, 100, 140, 160, 0.7, CAR)), NOTHING, PLACE)
    assert (change.kind, change.label) == ("vanishes", CAR)
    assert change.size == pytest.approx(0.7)


def test_a_score_that_rises_counts_by_how_much() -> None:
    change = largest_change(boxes((30, 20, 70, 120, 0.1, PERSON)), boxes((31, 21, 70, 120, 0.6, PERSON)), PLACE)
    assert change.kind == "appears"
    assert change.size == pytest.approx(0.5)


def test_a_class_that_changes_appears_as_what_it_is() -> None:
    change = largest_change(boxes((30, 20, 70, 120, 0.5, CAR)), boxes((30, 20, 70, 120, 0.9, PERSON)), PLACE)
    assert (change.kind, change.label) == ("appears", PERSON)


def test_what_stays_is_no_change() -> None:
    same = boxes((30, 20, 70, 120, 0.5, CAR), (100, 100, 140, 160, 0.7, PERSON))
    assert largest_change(same, same, PLACE).size == 0.0


def picture(value: int) -> NDArray[np.uint8]:
    image = np.full((100, 100, 3), value, np.uint8)
    image[40:60, 40:60] = 255
    return image


def test_a_place_is_filled_from_its_surroundings_and_the_rest_stays() -> None:
    image = picture(90)
    out = filled(image, PLACE, 0.2)
    assert np.abs(out.astype(int) - 90).max() <= 2
    assert image[50, 50, 0] == 255  # the picture itself is not touched
    rest = np.ones((100, 100), bool)
    rest[30:70, 30:70] = False
    assert (out[rest] == image[rest]).all()


def test_a_place_at_the_edge_of_the_picture_is_filled() -> None:
    image = picture(90)
    image[:20, :20] = 255
    assert np.abs(filled(image, (0, 0, 20, 20), 0.2)[:20, :20].astype(int) - 90).max() <= 2
