"""A detector's file in, objects in the picture's own pixels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from taintwatch_models.errors import BadFrame, InferenceError, ModelError
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
    with pytest.raises(ModelError, match="no output 'logits', which the decoder detr reads"):
        ObjectFinder(settings(model, decoder="detr"))
    three = tmp_path / "three.txt"
    three.write_text("car\nperson\ndog\n")
    with pytest.raises(ModelError, match="gives 1 classes, read as yolox, but 3 class names"):
        ObjectFinder(FinderSettings(str(model), str(three), decoder="yolox"))
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


def write_torchvision(path: Path, label: int) -> Path:
    """Write what torchvision's exports look like: a picture without a batch in, one box of that label out."""
    values = {
        "boxes": np.array([[4, 8, 20, 24]], np.float32),
        "labels": np.array([label]),
        "scores": np.ones(1, np.float32),
    }
    nodes = [helper.make_node("Identity", [f"{name}_known"], [name]) for name in values]
    kinds = {"boxes": TensorProto.FLOAT, "labels": TensorProto.INT64, "scores": TensorProto.FLOAT}
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [3, 32, 32])],
        [helper.make_tensor_value_info(name, kinds[name], values[name].shape) for name in values],
        [numpy_helper.from_array(value, f"{name}_known") for name, value in values.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    path.with_suffix(".txt").write_text("background\nlamp\n")
    return path


def test_a_detector_that_takes_a_picture_without_a_batch_is_run(tmp_path: Path) -> None:
    model = write_torchvision(tmp_path / "one.onnx", 1)
    (found,) = ObjectFinder(settings_of(model))(np.zeros((64, 64, 3), np.uint8))
    assert (found.name, found.box) == ("lamp", (8.0, 16.0, 32.0, 32.0))


def test_a_class_without_a_name_is_said_and_not_passed_over(tmp_path: Path) -> None:
    model = write_torchvision(tmp_path / "one.onnx", 90)
    with pytest.raises(InferenceError, match="gives class 90, but 2 class names are given"):
        ObjectFinder(settings_of(model))(np.zeros((64, 64, 3), np.uint8))


def settings_of(model: Path) -> FinderSettings:
    return FinderSettings(str(model), str(model.with_suffix(".txt")), device="cpu", threads=1)
