"""Regions of interest are judged each by itself, masks never, and what is found is told in the camera's pixels."""

from __future__ import annotations

import numpy as np
import pytest

from taintwatch.config.load import parse_config
from taintwatch.subjects.expander import WholeFrame
from taintwatch.subjects.regions import CropBox, Masked, Outline, RegionExpander
from taintwatch.subjects.wiring import make_expander
from taintwatch_models.errors import BadFrame, ConfigError
from taintwatch_models.records import Frame, Region, read_only

LEFT = Outline.of_box((0.0, 0.0, 0.5, 1.0), "left")
TRIANGLE = Outline(((0.5, 0.0), (1.0, 0.0), (0.5, 1.0)), "triangle")


def a_frame(camera: str = "door") -> Frame:
    image = np.full((40, 80, 3), 200, np.uint8)
    return Frame(camera, 0, read_only(image), 0, 0)


def test_each_region_is_cut_out_and_named() -> None:
    left, triangle = RegionExpander({"door": (LEFT, TRIANGLE)})(a_frame()).subjects
    assert (left.frame.subject, left.frame.image.shape) == ("left", (40, 40, 3))
    assert (triangle.frame.subject, triangle.frame.image.shape) == ("triangle", (40, 40, 3))
    assert left.whole.subject is None


def test_what_lies_outside_of_a_polygon_is_grey() -> None:
    image = RegionExpander({"door": (TRIANGLE,)})(a_frame()).subjects[0].frame.image
    assert image[2, 2].tolist() == [200] * 3
    assert image[-2, -2].tolist() == [114] * 3


def test_the_frame_of_a_camera_without_regions_is_judged_whole() -> None:
    frame = a_frame("yard")
    (subject,) = RegionExpander({"door": (LEFT,)})(frame).subjects
    assert subject.frame is frame


def test_a_mask_covers_what_is_judged_and_not_what_is_shown() -> None:
    frame = a_frame()
    (subject,) = Masked(WholeFrame(), {"door": (Outline.of_box((0.5, 0.0, 0.5, 1.0)),)})(frame).subjects
    assert subject.frame.image[:, :40].min() == 200
    assert (subject.frame.image[:, 41:] == 114).all()
    assert subject.whole is frame


def test_a_region_of_a_crop_is_told_in_the_pixels_of_the_picture() -> None:
    region = Region((2, 3, 4, 5), (((2, 3), (6, 8)),), 0.25)
    told = CropBox(40, 10, 20, 10).region_to_picture(region, 40, 80)
    assert told == Region((42, 13, 4, 5), (((42, 13), (46, 18)),), 0.015625)  # a quarter of 200 of 3200 pixels


def test_a_frame_that_is_no_picture_is_refused() -> None:
    frame = Frame("door", 0, read_only(np.zeros((8, 8), np.uint8)), 0, 0)
    with pytest.raises(BadFrame):
        RegionExpander({"door": (LEFT,)})(frame)


CAMERA = """
[[camera]]
name = "door"
source = "sim:"
"""


def test_regions_and_masks_are_read_from_the_configuration() -> None:
    text = (
        CAMERA
        + """
    [[camera.region]]
    name = "gate"
    box = [0.0, 0.0, 0.5, 0.5]
    [[camera.region]]
    name = "desk"
    polygon = [[0.5, 0.5], [1.0, 0.5], [1.0, 1.0]]
    [[camera.mask]]
    box = [0.0, 0.0, 1.0, 0.25]
    """
    )
    gate, desk = make_expander(parse_config(text, "door.toml"), None, 64)(a_frame()).subjects
    assert (gate.frame.subject, gate.frame.image.shape) == ("gate", (20, 40, 3))
    assert (gate.frame.image[:10] == 114).all()
    assert gate.frame.image[12:].min() == 200
    assert desk.frame.subject == "desk"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ('[[camera.region]]\nname = "a"', "give either box or polygon"),
        ('[[camera.region]]\nname = "a"\nbox = [0.5, 0.0, 0.6, 1.0]', "lie in the picture"),
        ("[[camera.mask]]\npolygon = [[0, 0], [0.5, 0.5], [1, 1]]", "no area"),
        ("[[camera.mask]]\npolygon = [[0, 0], [1, 1]]", "polygon"),
        (2 * '[[camera.region]]\nname = "a"\nbox = [0, 0, 1, 1]\n', "two regions are named 'a'"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(table: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_config(CAMERA + table, "door.toml")
