"""Faces in pictures: found, aligned by the eyes, and regions brought back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taintwatch_models.errors import ModelError
from taintwatch_models.faces.align import ALIGNED_SIZE, TEMPLATE_EYES, alignment_of
from taintwatch_models.faces.finder import Face, HaarFaces, YunetFaces, box_of_eyes, make_finder
from taintwatch_models.records import Region
from tests.face_scene import drawn_person, photograph
from tests.tiny_model import write_model


@pytest.fixture(scope="module")
def find() -> HaarFaces:
    return HaarFaces()


@pytest.mark.parametrize("number", range(3))
def test_a_drawn_face_is_found_once_and_with_its_eyes(find: HaarFaces, number: int) -> None:
    (face,) = find(photograph(drawn_person(number), 1))
    assert face.eyes_found
    (left_x, left_y), (right_x, right_y) = face.eyes
    assert left_x < 120 < right_x
    assert 90 < left_y < 125
    assert 90 < right_y < 125


def test_nothing_is_found_where_there_is_no_face(find: HaarFaces) -> None:
    assert find(np.full((240, 240, 3), 90, np.uint8)) == ()


def test_of_two_faces_the_larger_one_comes_first(find: HaarFaces) -> None:
    wide = np.full((240, 480, 3), 120, np.uint8)
    one = photograph(drawn_person(0), 0, face=0.45, at=(0.25, 0.5), onto=wide)
    both = photograph(drawn_person(0), 1, face=0.62, at=(0.72, 0.5), onto=one)
    faces = find(both)
    assert len(faces) == 2
    assert faces[0].box[2] > faces[1].box[2]
    assert faces[0].box[0] > 240 > faces[1].box[0]


def test_a_large_picture_gives_places_in_its_own_pixels(find: HaarFaces) -> None:
    small = photograph(drawn_person(0), 1)
    large = np.asarray(np.kron(small, np.ones((6, 6, 1), np.uint8)))  # 1440 pixels: searched smaller
    (face,) = find(large)
    assert face.box[2] == pytest.approx(6 * find(small)[0].box[2], rel=0.15)


def test_the_box_of_a_pair_of_eyes_holds_them_where_faces_do() -> None:
    x, y, width, height = box_of_eyes((100, 80), (140, 80))
    assert x + width / 2 == pytest.approx(120, abs=2)
    assert width == height
    assert y < 80 < y + height / 2


def test_alignment_brings_the_eyes_onto_the_template_and_back() -> None:
    face = Face((0, 0, 100, 100), ((200.0, 120.0), (260.0, 140.0)), True)
    alignment = alignment_of(face)
    for eye, wanted in zip(face.eyes, TEMPLATE_EYES, strict=True):
        assert alignment.to_aligned(*eye) == pytest.approx(wanted)
        assert alignment.to_picture(*wanted) == pytest.approx(eye)


def test_a_face_that_is_turned_in_the_picture_stands_upright_when_aligned(find: HaarFaces) -> None:
    picture = photograph(drawn_person(0), 1)
    upright = alignment_of(find(picture)[0]).warp(picture).astype(float)
    turned = np.ascontiguousarray(np.rot90(picture))
    (lx, ly), (rx, ry) = find(picture)[0].eyes
    face = Face((0, 0, 1, 1), ((ly, 239 - lx), (ry, 239 - rx)), True)  # the same eyes after the turn
    assert np.abs(alignment_of(face).warp(turned) - upright).mean() < 6


def test_a_region_of_the_aligned_face_is_told_in_the_pictures_pixels() -> None:
    alignment = alignment_of(Face((0, 0, 1, 1), ((200.0, 120.0), (240.0, 120.0)), True))
    eyes = tuple((round(x), round(y)) for x, y in TEMPLATE_EYES)
    region = Region((0, 0, 1, 1), ((eyes[0], eyes[1], (56, 80)),), 0.1)
    told = alignment.region_to_picture(region, 480, 640)
    assert told.polygons[0][0] == pytest.approx((200, 120), abs=1)
    assert told.polygons[0][1] == pytest.approx((240, 120), abs=1)
    assert told.area_fraction == pytest.approx(0.1 * (ALIGNED_SIZE / alignment.scale) ** 2 / (480 * 640), rel=0.01)


def test_a_missing_yunet_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such face detector file; leave it out"):
        make_finder(str(tmp_path / "yunet.onnx"))


def test_another_model_is_not_taken_for_yunet(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a YuNet model"):
        YunetFaces(write_model(tmp_path / "model.onnx"))
