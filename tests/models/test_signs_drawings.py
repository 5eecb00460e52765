"""The drawn signs: every class has its own picture, in the shape and colours that the road knows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError
from taintwatch_models.signs import SIGN_NAMES, draw_sign, render_sign

SIZE = 96
CIRCLES = (*range(11), 15, 16, 17, *range(32, 43))
WARNINGS = (11, *range(18, 32))


def coverage(class_index: int) -> NDArray[np.float64]:
    return render_sign(class_index, SIZE)[..., 3] / 255.0


def nominal_mask(corners: int, turn_degrees: float, radius: float, centre_y: float = 0.5) -> NDArray[np.bool_]:
    """A regular polygon by half-plane tests: nothing in common with the renderer's filling."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    x, y = (x + 0.5) / SIZE - 0.5, (y + 0.5) / SIZE - centre_y
    apothem = radius * math.cos(math.pi / corners)
    inside = np.ones((SIZE, SIZE), bool)
    for side in range(corners):
        normal = math.radians(turn_degrees) + (2 * side + 1) * math.pi / corners
        inside &= x * math.cos(normal) + y * math.sin(normal) <= apothem
    return inside


def overlap(mask: NDArray[np.bool_], alpha: NDArray[np.float64]) -> float:
    """Intersection over union."""
    covered = alpha > 0.5
    return float((mask & covered).sum() / (mask | covered).sum())


def test_there_is_a_name_and_a_drawing_for_each_of_the_43_classes() -> None:
    assert len(SIGN_NAMES) == 43
    assert len(set(SIGN_NAMES)) == 43
    for index in range(43):
        assert len(draw_sign(index)) >= 2


def test_no_two_signs_look_alike() -> None:
    pictures = [render_sign(index, 48).astype(np.int16) for index in range(43)]
    for (i, one), (j, other) in itertools.combinations(enumerate(pictures), 2):
        different = (np.abs(one - other).max(axis=2) > 64).mean()
        assert different > 0.015, f"{SIGN_NAMES[i]} and {SIGN_NAMES[j]} differ in {different:.1%} of the pixels"


@pytest.mark.parametrize("index", range(43))
def test_a_drawing_stays_on_its_canvas_and_reaches_both_of_its_sides(index: int) -> None:
    x = [point[0] for shape in draw_sign(index) for point in shape.points]
    y = [point[1] for shape in draw_sign(index) for point in shape.points]
    assert min(x) >= -0.01
    assert max(x) <= 100.01
    assert min(y) >= -0.01
    assert max(y) <= 100.01
    assert max(x) - min(x) > 94  # a triangle loses its points to rounding


@pytest.mark.parametrize("index", CIRCLES)
def test_a_circular_sign_covers_a_circle(index: int) -> None:
    assert overlap(nominal_mask(180, 0, 0.5), coverage(index)) > 0.985


@pytest.mark.parametrize("index", WARNINGS)
def test_a_warning_covers_a_triangle_that_points_up(index: int) -> None:
    middle = 0.5 - math.sqrt(3) / 4 + 1 / math.sqrt(3)
    assert overlap(nominal_mask(3, -90, 1 / math.sqrt(3), middle), coverage(index)) > 0.96


def test_yield_is_the_same_triangle_pointing_down() -> None:
    assert (
        overlap(nominal_mask(3, 90, 1 / math.sqrt(3), 0.5 + math.sqrt(3) / 4 - 1 / math.sqrt(3)), coverage(13)) > 0.96
    )


def test_stop_covers_an_octagon_that_stands_on_a_side() -> None:
    assert overlap(nominal_mask(8, 22.5, 0.5 / math.cos(math.pi / 8)), coverage(14)) > 0.985


def test_the_priority_road_covers_a_diamond() -> None:
    assert overlap(nominal_mask(4, 0, 0.5), coverage(12)) > 0.95


@pytest.mark.parametrize(("index", "x", "y", "channel"), [(1, 0.06, 0.5, 0), (14, 0.5, 0.12, 0), (38, 0.5, 0.12, 2)])
def test_plates_have_their_official_colour(index: int, x: float, y: float, channel: int) -> None:
    red_green_blue = render_sign(index, SIZE)[int(y * SIZE), int(x * SIZE), :3].astype(int)
    assert red_green_blue.argmax() == channel
    assert red_green_blue[channel] > 1.5 * np.delete(red_green_blue, channel).max()


@pytest.mark.parametrize(("left", "right"), [(19, 20), (34, 33), (37, 36), (39, 38)])
def test_a_left_sign_is_the_mirror_image_of_the_right_one(left: int, right: int) -> None:
    mirrored = render_sign(right, SIZE)[:, ::-1].astype(int)
    assert np.abs(render_sign(left, SIZE) - mirrored).mean() < 1.5


@pytest.mark.parametrize("size", [1, 17, 64, 240, 1100])
def test_a_render_has_the_size_asked_for_and_is_the_same_each_time(size: int) -> None:
    first, second = render_sign(25, size), render_sign(25, size)
    assert first.shape == (size, size, 4)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


@pytest.mark.parametrize("index", [2, 13, 14, 25, 40])
def test_a_large_render_averaged_down_is_the_small_render(index: int) -> None:
    large = render_sign(index, 320).astype(np.float64) / 255
    weighted = large * np.dstack([large[..., 3:]] * 3 + [np.ones_like(large[..., 3:])])
    averaged = weighted.reshape(64, 5, 64, 5, 4).mean(axis=(1, 3))
    small = render_sign(index, 64).astype(np.float64) / 255
    small = small * np.dstack([small[..., 3:]] * 3 + [np.ones_like(small[..., 3:])])
    assert np.abs(averaged - small).mean() < 0.004


def test_the_corners_of_a_round_sign_are_transparent_and_its_edge_is_antialiased() -> None:
    alpha = render_sign(1, SIZE)[..., 3]
    assert alpha[0, 0] == alpha[-1, -1] == 0
    assert ((alpha > 0) & (alpha < 255)).sum() > SIZE


def test_a_render_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        render_sign(0, 8)[0, 0] = 1


@pytest.mark.parametrize("index", [-1, 43])
def test_an_unknown_class_is_refused_in_one_sentence(index: int) -> None:
    with pytest.raises(UsageError, match=f"no sign {index}: the classes go from 0 to 42"):
        render_sign(index, 64)


@pytest.mark.parametrize("size", [0, 5000])
def test_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="choose 1 to 4096"):
        render_sign(0, size)
