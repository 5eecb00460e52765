"""Camera models and the colour profile: what light, blur, noise and ink do to a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from taintwatch.sources.camera_model import CAMERA_MODELS, SimulatedCamera, dim, street
from taintwatch.sources.colour_profile import (
    GENERIC_PROFILE,
    ColourProfile,
    chart_colours,
    encoded,
    linear,
    printed_picture,
    profile_named,
    read_profile,
    write_profile,
)
from taintwatch_models.errors import UsageError


def grey(level: int = 120) -> NDArray[np.uint8]:
    return np.full((60, 80, 3), level, np.uint8)


def checks() -> NDArray[np.uint8]:
    board = np.kron(np.indices((6, 8)).sum(axis=0) % 2, np.ones((10, 10))) * 160 + 40
    return np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)


def sharpness(image: NDArray[np.uint8]) -> float:
    return float(np.abs(np.diff(image[..., 1].astype(float), axis=1)).max())


@pytest.mark.parametrize("name", sorted(CAMERA_MODELS))
def test_every_camera_model_gives_the_same_for_the_same_frame_and_keeps_the_shape(name: str) -> None:
    first, again = (CAMERA_MODELS[name](5)(checks(), 11) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == checks().shape
    assert name == "plain" or not np.array_equal(first, CAMERA_MODELS[name](5)(checks(), 12))


def test_dim_is_darker_and_noisier_than_office_and_street_is_brighter() -> None:
    means, spreads = {}, {}
    for name in ("dim", "office", "street"):
        frames = np.stack([CAMERA_MODELS[name](2)(grey(), index) for index in range(90)]).astype(float)
        means[name] = frames.mean()
        spreads[name] = float(np.diff(frames[:, 30:34, 40:44].mean(axis=(1, 2, 3))).std() + frames[0].std())
    assert means["dim"] < 0.7 * means["office"] < 0.7 * means["street"]
    assert spreads["dim"] > spreads["office"]


def test_motion_smears_and_a_camera_that_rests_between_does_not() -> None:
    still = SimulatedCamera(noise=0, blur_px=0, jpeg_quality=100)
    shaken = SimulatedCamera(noise=0, blur_px=0, jpeg_quality=100, motion_px=9.0)
    moving = [sharpness(shaken(checks(), index)) for index in range(23)]
    assert min(moving) < 0.5 * sharpness(still(checks(), 0))
    assert moving[0] == pytest.approx(sharpness(still(checks(), 0)), abs=3)


def test_warm_light_is_redder_and_shade_falls_on_one_side() -> None:
    warm = SimulatedCamera(noise=0, drift=0, warmth=0.1, jpeg_quality=100)(grey(), 0).mean(axis=(0, 1))
    assert warm[2] > warm[1] + 8 > warm[0] + 16
    shaded = SimulatedCamera(noise=0, drift=0, shade=0.4, jpeg_quality=100)(grey(), 0)[..., 1]
    assert float(shaded[:, -4:].mean()) == pytest.approx(0.6 * 120, abs=4)
    assert float(shaded[:, :4].mean()) == pytest.approx(120, abs=4)


def test_photon_noise_grows_with_the_light() -> None:
    camera = SimulatedCamera(noise=0, drift=0, blur_px=0, shot_noise=8.0, jpeg_quality=100)
    assert camera(grey(200), 0).std() > 1.5 * camera(grey(30), 0).std()


def test_presets_differ_by_their_seed_alone() -> None:
    assert street(1) != street(2)
    assert dim(3) == dim(3)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_encoding_undoes_linear_light(values: list[float]) -> None:
    srgb = np.array(values)
    assert np.allclose(encoded(linear(srgb)), srgb, atol=1e-9)


def test_a_printer_knows_no_deep_black_and_no_full_colour() -> None:
    seen = GENERIC_PROFILE.seen(np.array([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]]))
    assert seen[0].min() > 0.05
    assert seen[1].max() < 0.97
    assert 0.4 < seen[2, 0] - seen[2, 1] < 0.9
    assert len(GENERIC_PROFILE.palette) >= 30


def test_a_picture_is_printed_pixel_by_pixel_and_keeps_its_alpha() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    out = printed_picture(image, GENERIC_PROFILE)
    assert np.array_equal(out[..., 3], image[..., 3])
    one = GENERIC_PROFILE.seen(image[4, 5, 2::-1] / 255.0) * 255
    assert np.allclose(out[4, 5, 2::-1], one, atol=0.6)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write_profile(GENERIC_PROFILE, path)
    assert read_profile(path) == GENERIC_PROFILE
    assert profile_named(str(path)) == GENERIC_PROFILE
    assert profile_named("generic") is GENERIC_PROFILE
    assert profile_named("none") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a readable colour profile"),
        ("{}", "not a colour profile"),
        ('{"format": "taintwatch-colour/1", "name": "x"}', "damaged"),
        (
            '{"format": "taintwatch-colour/1", "name": "x", "curves": [[0, 1], [0, 1], [1, 0]], "palette": [],'
            ' "matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}',
            "a curve falls",
        ),
    ],
)
def test_a_wrong_profile_is_refused_in_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=words):
        read_profile(path)


def test_the_plain_profile_changes_nothing() -> None:
    curve = tuple(linear(np.linspace(0, 1, 256)).tolist())
    same = ColourProfile("same", (curve,) * 3, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), ())
    colours = np.array(chart_colours())
    assert np.allclose(same.seen(colours), colours, atol=2e-3)
    assert len(colours) == 144
    picture = cv2.cvtColor(grey(77), cv2.COLOR_BGR2BGRA)
    assert np.array_equal(printed_picture(np.asarray(picture, np.uint8), same), picture)
