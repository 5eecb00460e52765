"""A detector's file in, objects in the picture's own pixels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from taintwatch_models.errors import BadFrame, ModelError
from taintwatch_models.objects.decoders import Decoded
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder, select
from tests.object_scene import bright_squares, write_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "lamps.onnx")


def settings(model: Path, labels: str | None = "lamps.txt", decoder: str | None = "yolox") -> FinderSettings:
    given = None if labels is None else str(model.parent / labels)
    return FinderSettings(
        str(model), labels=given, decoder=decoder, device="cpu", threads=1, confidence=0.6, overlap=0.1
    )


def test_objects_are_found_where_they_are_in_a_picture_of_another_size(model: Path) -> None:
    (first, second) = sorted(ObjectFinder(settings(model))(bright_squares((16, 32), (80, 64))), key=lambda o: o.box[0])
    for found, (x, y) in ((first, (16, 32)), (second, (80, 64))):
        left, top, width, height = found.box
        assert abs(left + width / 2 - (x + 16)) <= 8.01
        assert abs(top + height / 2 - (y + 16)) <= 8.01
        assert (found.name, found.label) == ("lamp", 0)
        assert found.score > 0.9


def test_a_wide_picture_is_letterboxed_and_boxes_come_back_to_its_pixels(model: Path) -> None:
    image = bright_squares((96, 32), size=(128, 256))
    found = ObjectFinder(settings(model))(image)
    assert found
    left, top, width, height = found[0].box
    assert 80 <= left + width / 2 <= 144
    assert 24 <= top + height / 2 <= 72


def test_a_dark_picture_shows_nothing(model: Path) -> None:
    assert ObjectFinder(settings(model))(np.zeros((50, 80, 3), np.uint8)) == ()


def test_a_picture_that_is_none_is_refused(model: Path) -> None:
    with pytest.raises(BadFrame):
        ObjectFinder(settings(model))(np.zeros((50, 80), np.uint8))


def test_of_overlapping_boxes_of_a_class_only_the_surest_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [30, 30, 40, 40]], np.float32)
    found = Decoded(boxes, np.array([0.6, 0.9, 0.5, 0.2], np.float32), np.array([0, 0, 1, 0]))
    kept = select(found, frozenset({0, 1}), 0.3, 0.5)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.5])
    assert kept.labels.tolist() == [0, 1]
    assert select(found, frozenset({1}), 0.3, 0.5).labels.tolist() == [1]
    assert len(select(found, frozenset({0, 1}), 0.1, None).scores) == 4


def test_what_is_wrong_is_said_in_a_sentence(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such object detector"):
        ObjectFinder(settings(tmp_path / "missing.onnx"))
    with pytest.raises(ModelError, match="class names are missing"):
        ObjectFinder(settings(model, labels=None))
    with pytest.raises(ModelError, match="'yolo9000'"):
        ObjectFinder(settings(model, decoder="yolo9000"))
    with pytest.raises(ModelError, match="no class 'car'"):
        ObjectFinder(FinderSettings(str(model), labels=str(model.with_suffix(".txt")), classes=("car",)))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        ObjectFinder(settings(broken))


def test_tensors_on_the_way_are_given_where_they_are_asked_for(model: Path) -> None:
    def extend(proto: onnx.ModelProto) -> onnx.ModelProto:
        proto.graph.output.append(onnx.ValueInfoProto(name="s16_bright"))
        return proto

    finder = ObjectFinder(settings(model), extend=extend)
    outputs = finder.run(finder.preprocessing([bright_squares((0, 0))]))
    assert outputs["s16_bright"].shape == (1, 1, 4, 4)
    assert [value.name for value in onnx.load(str(model)).graph.output] == ["output"]
