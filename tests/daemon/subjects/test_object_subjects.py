"""Objects before a camera: cut out, followed under one name, and judged each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taintwatch.config.load import parse_config
from taintwatch.subjects.expander import Expansion
from taintwatch.subjects.objects import CropLimits, ObjectExpander
from taintwatch.subjects.regions import Outline
from taintwatch.subjects.tracking import BoxTracker
from taintwatch.subjects.wiring import make_expander
from taintwatch_models.objects.finder import FoundObject
from taintwatch_models.records import Frame, Region, read_only
from tests.object_scene import bright_squares, write_detector

Box = tuple[float, float, float, float]


def a_frame(index: int = 0, image: NDArray[np.uint8] | None = None) -> Frame:
    picture = np.zeros((100, 200, 3), np.uint8) if image is None else image
    at_ns = index * 100_000_000
    return Frame("road", index, read_only(picture), at_ns, at_ns)


def expand(
    frames: Sequence[Sequence[Box]],
    name: str = "car",
    limits: CropLimits | None = None,
    regions: Sequence[Outline] = (),
) -> list[Expansion]:
    found = iter([[FoundObject(box, 0.9, 2, name) for box in boxes] for boxes in frames])
    expander = ObjectExpander(
        lambda image: next(found), limits=limits, tracker=BoxTracker(most=3), regions={"road": regions}
    )
    return [expander(a_frame(index)) for index in range(len(frames))]


def names(expansion: Expansion) -> list[str | None]:
    return [subject.frame.subject for subject in expansion.subjects]


def test_an_object_keeps_its_name_while_it_is_followed() -> None:
    first, second = expand([[(10, 10, 40, 30), (120, 10, 50, 30)], [(15, 10, 40, 30), (121, 10, 50, 30)]])
    assert names(first) == names(second) == ["car 1", "car 2"]


def test_an_object_that_has_left_is_ended_by_its_name() -> None:
    steps = expand([[(10, 10, 40, 30)]] + [[]] * 12)
    assert [step.ended for step in steps if step.ended] == [("car 1",)]


def test_the_crop_is_a_square_around_the_object_and_knows_its_place() -> None:
    (expansion,) = expand([[(70, 30, 30, 40)]], limits=CropLimits(margin=0.25))
    (subject,) = expansion.subjects
    assert subject.frame.image.shape == (60, 60, 3)
    told = subject.to_whole(Region((5, 6, 7, 8), (((5, 6),),), 0.1))
    assert told is not None
    assert told.box == (60, 26, 7, 8)  # the square begins at (55, 20)


def test_at_the_picture_s_edge_the_square_is_moved_into_the_picture() -> None:
    (expansion,) = expand([[(0, 10, 40, 30)]], limits=CropLimits(margin=0.25))
    (subject,) = expansion.subjects
    assert subject.frame.image.shape == (60, 60, 3)
    told = subject.to_whole(Region((5, 6, 7, 8), (((5, 6),),), 0.1))
    assert told is not None
    assert told.box == (5, 6, 7, 8)


def test_a_crop_is_never_larger_than_the_picture() -> None:
    (expansion,) = expand([[(10, 0, 170, 100)]])
    assert expansion.subjects[0].frame.image.shape == (100, 200, 3)


def test_small_objects_and_those_outside_of_the_regions_are_left_out() -> None:
    (expansion,) = expand([[(10, 10, 40, 30), (100, 10, 12, 12)]])
    assert len(expansion.subjects) == 1
    right = Outline.of_box((0.5, 0, 0.5, 1), "right")
    (expansion,) = expand([[(10, 10, 40, 30), (120, 10, 40, 30)]], regions=[right])
    assert [subject.frame.image.shape[1] for subject in expansion.subjects] == [48]


def test_at_most_so_many_objects_are_judged_the_widest_first() -> None:
    (expansion,) = expand([[(0, 0, 30, 30), (40, 0, 60, 30), (110, 0, 40, 30), (160, 0, 35, 30)]])
    assert len(expansion.subjects) == 3
    assert expansion.subjects[0].frame.image.shape[1] == 72


def test_a_detector_is_read_from_the_configuration(tmp_path: Path) -> None:
    model = write_detector(tmp_path / "lamps.onnx")
    text = f"""
    [objects]
    model = "{model}"
    labels = "{model.with_suffix(".txt")}"
    decoder = "yolox"
    classes = ["lamp"]
    overlap = 0.1
    smallest = 8
    """
    expander = make_expander(parse_config(text, "road.toml"), None, 64)
    assert names(expander(a_frame(0, bright_squares((16, 32))))) == ["lamp 1"]
    assert names(expander(a_frame(1, bright_squares((16, 32))))) == ["lamp 1"]
