"""What is the same thing in the same place: light, noise and a small shake do not matter, something put there does."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch.review.appearance import Appearance, overlap

Picture = NDArray[np.uint8]
BOX = (120, 60, 96, 96)


def wall(seed: int = 0, size: tuple[int, int] = (240, 320)) -> Picture:
    """A textured wall with a poster in `BOX`."""
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(rng.integers(60, 190, (*size, 3)).astype(np.float32), (0, 0), 6)
    picture = (picture - picture.mean()) * 4 + 120
    poster = cv2.resize(rng.integers(0, 256, (6, 6, 3)).astype(np.float32), BOX[2:], interpolation=cv2.INTER_CUBIC)
    picture[BOX[1] : BOX[1] + BOX[3], BOX[0] : BOX[0] + BOX[2]] = poster
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def noisy(picture: Picture) -> Picture:
    noise = np.random.default_rng(1).normal(0, 6, picture.shape)
    return np.asarray(np.clip(picture + noise, 0, 255), np.uint8)


def compressed(picture: Picture) -> Picture:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1), np.uint8)


def lit(picture: Picture) -> Picture:
    return np.asarray(np.clip(picture * 0.8 + 15, 0, 255), np.uint8)


def shaken(picture: Picture) -> Picture:
    move = np.array([[1, 0, 2.5], [0, 1, -1.5]], np.float64)
    return np.asarray(cv2.warpAffine(picture, move, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8)


def stickered(picture: Picture) -> Picture:
    """A seventh of the place's side is pasted over."""
    changed = picture.copy()
    changed[80:94, 150:164] = (255, 0, 255)
    return changed


def passed(picture: Picture) -> Picture:
    """Somebody walks along the place's left edge."""
    changed = picture.copy()
    changed[40:200, 100 : BOX[0] + 10] = (20, 20, 160)
    return changed


def speckled(picture: Picture) -> Picture:
    """Strong fine noise, as hides an attack from whoever compares blurred pictures."""
    signs = np.random.default_rng(2).choice([-40.0, 40.0], picture.shape)
    return np.asarray(np.clip(picture + signs, 0, 255), np.uint8)


@pytest.mark.parametrize("changed", [noisy, compressed, lit, shaken, passed])
def test_the_same_thing_is_known_in_other_light_with_noise_and_after_a_small_shake(
    changed: Callable[[Picture], Picture],
) -> None:
    assert Appearance.of(wall(), (BOX,)).shows(changed(wall()), BOX)


@pytest.mark.parametrize("changed", [stickered, speckled, lambda picture: wall(7), lambda picture: picture[:, ::-1]])
def test_another_thing_in_its_place_is_not_excused(changed: Callable[[Picture], Picture]) -> None:
    assert not Appearance.of(wall(), (BOX,)).shows(changed(wall()), BOX)


def test_a_window_that_lies_a_little_further_is_compared_where_it_lies() -> None:
    known, beside = Appearance.of(wall(), (BOX,)), (140, 75, 96, 96)
    assert known.shows(wall(), beside)
    changed = wall()
    changed[140:165, 210:232] = 255  # outside the dismissed box, inside this window
    assert not known.shows(changed, beside)


def test_the_rest_of_the_frame_is_not_dismissed_with_it() -> None:
    assert not Appearance.of(wall(), (BOX,)).shows(wall(), (0, 150, 80, 80))


def test_a_frame_of_another_size_is_another_view() -> None:
    assert not Appearance.of(wall(), (BOX,)).shows(wall(size=(250, 320)), BOX)


def test_a_place_at_the_edge_and_a_flat_wall_are_compared_too() -> None:
    grey = np.full((240, 320, 3), 90, np.uint8)
    known = Appearance.of(grey, ((280, 200, 60, 60),))
    assert known.shows(noisy(grey), (280, 200, 60, 60))
    assert not known.shows(stickered(grey), (130, 60, 60, 60))


def test_little_is_held_of_a_large_frame() -> None:
    known = Appearance.of(np.zeros((2160, 3840, 3), np.uint8), ((1000, 400, 860, 860),))
    assert known.small.nbytes < 500_000


def test_overlap_is_the_share_of_the_smaller_box() -> None:
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(0.5)
    assert overlap((0, 0, 10, 10), (2, 2, 4, 4)) == 1.0
    assert overlap((0, 0, 10, 10), (10, 0, 4, 4)) == 0.0
