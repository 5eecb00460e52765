"""Rendered general pictures: the bundled ones are what the command makes, and they look like pictures of a world."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.general_pictures import render_picture
from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.general import unpack


@pytest.fixture(scope="module")
def bundled() -> np.ndarray:
    return np.stack(list(unpack(bundled_path("general.npz"))))


def test_the_bundled_pictures_are_what_the_command_renders(bundled: np.ndarray) -> None:
    made = np.stack([render_picture(1, index) for index in range(3)])[..., ::-1].astype(float)
    apart = np.abs(made - bundled[:3]).mean(axis=(1, 2, 3))
    assert (apart < 6).all()  # JPEG, and fonts or random numbers of another version, but the same pictures


def test_a_picture_depends_on_its_seed_and_index_alone() -> None:
    assert (render_picture(5, 2, 64) == render_picture(5, 2, 64)).all()
    assert (render_picture(5, 2, 64) != render_picture(5, 3, 64)).any()
    assert (render_picture(5, 0, 64) != render_picture(6, 0, 64)).any()


def test_their_spectra_fall_as_natural_ones_do(bundled: np.ndarray) -> None:
    """Power falls with frequency to the power -1.5 to -3.5; natural photographs: about -2 (Field, 1987)."""
    slopes = []
    for picture in bundled[::4]:
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(float)
        power = np.abs(np.fft.fft2((grey - grey.mean()) * np.outer(np.hanning(224), np.hanning(224)))) ** 2
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(224), np.fft.fftfreq(224)))
        bands = [(power[(frequency > low) & (frequency <= 2 * low)]).mean() for low in (0.02, 0.04, 0.08, 0.16)]
        slopes.append(np.polyfit(np.log([0.02, 0.04, 0.08, 0.16]), np.log(np.array(bands) + 1e-6), 1)[0])
    assert -3.5 < np.median(slopes) < -1.5


def test_they_differ_in_brightness_and_colour(bundled: np.ndarray) -> None:
    means = bundled.mean(axis=(1, 2))
    assert means.mean(axis=1).std() > 25
    assert np.abs(means - means.mean(axis=1, keepdims=True)).mean() > 4
