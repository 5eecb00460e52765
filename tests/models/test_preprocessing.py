"""Frames are laid onto the input as declared, and regions find their way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taintwatch_models.errors import BadFrame, ModelError
from taintwatch_models.model_description import preprocessing_from, read_description
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.regions import region_of

SIZES = st.integers(8, 90)
RESIZES = st.sampled_from(["crop", "stretch", "pad"])


@given(SIZES, SIZES, SIZES, SIZES, RESIZES)
def test_any_frame_becomes_an_input_of_the_declared_size(h: int, w: int, H: int, W: int, resize: Any) -> None:
    preprocessing = Preprocessing((H, W), resize=resize)
    batch = preprocessing([np.full((h, w, 3), 7, np.uint8)])
    assert batch.shape == (1, 3, H, W)
    assert batch.dtype == np.float32


def test_values_and_channel_order_follow_the_declaration() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:] = (255, 51, 0)  # blue, green, red
    rgb = Preprocessing((4, 4), mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5))([image])
    np.testing.assert_allclose(rgb[0, :, 0, 0], [-1.0, -1.2, 1.0], atol=1e-6)
    bgr = Preprocessing((4, 4), order="bgr", scale=1.0)([image])
    np.testing.assert_allclose(bgr[0, :, 0, 0], [255, 51, 0])


def test_a_larger_frame_is_scaled_by_area_like_opencv() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)[:, :, ::-1]
    np.testing.assert_array_equal(Preprocessing((16, 16)).pixels(image), expected)


def test_crop_keeps_the_middle_and_pad_keeps_everything() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, :20] = 255  # the left third, which a centre crop throws away
    assert Preprocessing((10, 10), resize="crop").pixels(image).max() == 0
    padded = Preprocessing((30, 30), resize="pad", mean_colour=(10, 20, 30)).pixels(image)
    assert tuple(padded[0, 0]) == (10, 20, 30)
    assert padded[15, 2, 0] == 255


@given(SIZES, SIZES, SIZES, SIZES, RESIZES, st.data())
def test_a_spot_in_the_frame_is_found_again_from_the_input(
    h: int, w: int, H: int, W: int, resize: Any, data: st.DataObject
) -> None:
    preprocessing = Preprocessing((H, W), resize=resize)
    place = preprocessing.place(h, w)
    x, y = data.draw(st.floats(0, W)), data.draw(st.floats(0, H))
    frame_x, frame_y = place.to_frame(x, y)
    assert frame_x * place.scale_x + place.offset_x == pytest.approx(x, abs=1e-6)
    assert frame_y * place.scale_y + place.offset_y == pytest.approx(y, abs=1e-6)


def test_normalising_is_undone_by_pixels_of() -> None:
    preprocessing = Preprocessing((5, 6), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_allclose(preprocessing.pixels_of(preprocessing.normalise(pixels)), pixels, atol=1e-3)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 4), (4, 4, 4), (4, 4, 1)])
def test_a_frame_without_pixels_or_with_other_channels_is_a_bad_frame(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadFrame):
        Preprocessing((8, 8)).pixels(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "table [preprocessing] is missing"),
        ("[preprocessing]\n", "preprocessing.size is missing"),
        ("[preprocessing]\nsize = 224\n", "preprocessing.size must be 2 numbers above 0, not 224"),
        ("[preprocessing]\nsize = [2, 2]\nstd = [1, 0, 1]\n", "preprocessing.std must be 3 numbers above 0"),
        ("[preprocessing]\nsize = [2, 2]\norder = 'grb'\n", "must be one of rgb, bgr, not 'grb'"),
        ("[preprocessing]\nsize = [2, 2]\nscale = 0\n", "scale must be a number above 0"),
        ("[preprocessing]\nsize = [2, 2]\nmeen = [0, 0, 0]\n", "preprocessing.meen: unknown key"),
        ("size = [2, 2]\n[preprocessing]\nsize = [2, 2]\n", "unknown key 'size'"),
        ("labels = 'gone.json'\n[preprocessing]\nsize = [2, 2]\n", "gone.json: the labels cannot be read"),
        ("[preprocessing\n", "not a readable TOML file"),
        ("labels = '/etc/passwd'\n[preprocessing]\nsize = [2, 2]\n", "lies outside the model's folder"),
        ("labels = '../names.txt'\n[preprocessing]\nsize = [2, 2]\n", "lies outside the model's folder"),
        ("labels = 'linked.txt'\n[preprocessing]\nsize = [2, 2]\n", "lies outside the model's folder"),
        ("labels = 3\n[preprocessing]\nsize = [2, 2]\n", "labels must be a list of names"),
        ("[preprocessing]\nsize = [inf, 2]\n", "preprocessing.size must be 2 numbers above 0"),
        ("[preprocessing]\nsize = [100000, 2]\n", "a side has at most 2048 pixels"),
        ("[preprocessing]\nsize = [2, 2]\nscale = nan\n", "scale must be a number above 0"),
        ("x = " + "[" * 5000, "not a readable TOML file"),
    ],
)
def test_a_wrong_declaration_is_named_by_file_key_and_value(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(text)
    (tmp_path / "linked.txt").symlink_to("/etc/passwd")
    with pytest.raises(ModelError) as caught:
        read_description(path)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_full_declaration_is_read(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('["a", "b"]')
    path = tmp_path / "model.toml"
    path.write_text('labels = "names.json"\nbackground = "b"\n[preprocessing]\nsize = [3, 4]\nresize = "pad"\n')
    description = read_description(path)
    assert description.labels == ("a", "b")
    assert description.background == "b"
    assert description.preprocessing == Preprocessing((3, 4), resize="pad")


def test_a_declaration_survives_being_stored() -> None:
    declared = Preprocessing((3, 4), "stretch", "bgr", 1.0, (1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert preprocessing_from(declared.as_dict(), "here") == declared


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_a_mask_becomes_a_region_around_what_it_covers_in_the_frame(resize: Any) -> None:
    frame = np.zeros((120, 200, 3), np.uint8)
    frame[40:80, 90:130] = 255
    preprocessing = Preprocessing((60, 60), resize=resize)
    mask = preprocessing.pixels(frame)[:, :, 0] > 127
    region = region_of(mask, preprocessing.place(120, 200), (120, 200))
    assert region is not None
    x, y, width, height = region.box
    assert abs(x - 90) <= 4
    assert abs(y - 40) <= 4
    assert abs(x + width - 130) <= 4
    assert abs(y + height - 80) <= 4
    assert region.area_fraction == pytest.approx(40 * 40 / (120 * 200), rel=0.25)
    assert len(region.polygons) == 1


def test_an_empty_mask_is_no_region() -> None:
    assert region_of(np.zeros((8, 8), bool), Preprocessing((8, 8)).place(8, 8), (8, 8)) is None
