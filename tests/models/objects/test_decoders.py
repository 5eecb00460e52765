"""One pair of boxes, written in each layout that exported detectors have, comes out of each decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.objects.decoders import DECODERS, class_count, decoder_for, grid_cells, missing_output

SIZE = (64, 96)
CLASSES = 3
CELLS = 8 * 12 + 4 * 6 + 2 * 3
CENTRES = np.array([[20.0, 12.0, 16.0, 8.0], [60.0, 40.0, 24.0, 32.0]])
CORNERS = np.array([[12.0, 8.0, 28.0, 16.0], [48.0, 24.0, 72.0, 56.0]])
SHARES = np.array([96.0, 64.0, 96.0, 64.0])
Outputs = dict[str, NDArray[Any]]


def scores() -> NDArray[np.float64]:
    return np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1]])


def rows(candidates: int, values: NDArray[np.float64]) -> NDArray[np.float32]:
    out = np.zeros((candidates, values.shape[1]), np.float32)
    out[[3, 7]] = values
    return out


def yolox() -> Outputs:
    cells = grid_cells(SIZE)[[3, 7]]
    offsets = CENTRES[:, :2] / cells[:, 2:] - cells[:, :2]
    sides = np.log(CENTRES[:, 2:] / cells[:, 2:])
    return {"output": rows(CELLS, np.concatenate([offsets, sides, np.ones((2, 1)), scores()], 1))[None]}


def yolov5() -> Outputs:
    return {"output": rows(3 * CELLS, np.concatenate([CENTRES, np.ones((2, 1)), scores()], 1))[None]}


def yolov8() -> Outputs:
    return {"output0": rows(CELLS, np.concatenate([CENTRES, scores()], 1)).T[None]}


def suppressed() -> Outputs:
    return {"output0": rows(300, np.concatenate([CORNERS, [[0.9, 1], [0.8, 0]]], 1))[None]}


def detr() -> Outputs:
    logits = np.full((100, CLASSES + 1), -9.0)
    logits[:, -1] = 0.0
    logits[[3, 7], :CLASSES] = np.log(scores() + 1e-6)
    logits[[3, 7], -1] = -20.0
    return {"logits": logits[None], "pred_boxes": rows(100, CENTRES / SHARES)[None]}


def rt_detr() -> Outputs:
    logits = np.full((100, CLASSES), -9.0)
    logits[[3, 7]] = np.log(scores() + 1e-6) - np.log(1 - scores() + 1e-6)
    return {"logits": logits[None], "pred_boxes": rows(100, CENTRES / SHARES)[None]}


def torchvision() -> Outputs:
    return {"boxes": CORNERS.astype(np.float32), "labels": np.array([1, 0]), "scores": np.array([0.9, 0.8], np.float32)}


def ssd() -> Outputs:
    given = torchvision()
    return {"bboxes": (given["boxes"] / SHARES)[None], "labels": given["labels"][None], "scores": given["scores"][None]}


LAYOUTS: dict[str, Callable[[], Outputs]] = {
    "yolox": yolox,
    "yolov5": yolov5,
    "yolov8": yolov8,
    "suppressed": suppressed,
    "detr": detr,
    "rt-detr": rt_detr,
    "torchvision": torchvision,
    "ssd": ssd,
}


def test_every_decoder_has_its_layout_here() -> None:
    assert set(LAYOUTS) == set(DECODERS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_two_boxes_come_out_of_each_layout(name: str) -> None:
    decoded = DECODERS[name](LAYOUTS[name](), SIZE)
    best = np.argsort(-decoded.scores)[:2]
    assert decoded.boxes[best] == pytest.approx(CORNERS, abs=1e-3)
    assert decoded.scores[best] == pytest.approx([0.9, 0.8], abs=2e-3)
    assert decoded.labels[best].tolist() == [1, 0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_is_known_by_its_names_and_shapes(name: str) -> None:
    shapes = {output: values.shape for output, values in LAYOUTS[name]().items()}
    assert decoder_for(shapes, SIZE, CLASSES) == name


def test_an_unknown_layout_is_refused_with_what_it_is() -> None:
    with pytest.raises(
        ModelError, match=r"no decoder fits the detector's outputs \(out \[1, 9, 9\]\) and 3 class names"
    ):
        decoder_for({"out": (1, 9, 9)}, SIZE, CLASSES)


def test_a_classifier_and_too_few_names_are_told_apart() -> None:
    with pytest.raises(ModelError, match=r"logits \[1, 1000\] is a row of scores, as a classifier's"):
        decoder_for({"logits": (1, 1000)}, SIZE, CLASSES)
    for shape in ((1, CELLS, 85), (1, 3 * CELLS, 85), (1, 84, CELLS)):
        with pytest.raises(ModelError, match=r"the detector has 80 classes .* but 3 class names are given"):
            decoder_for({"out": shape}, SIZE, CLASSES)


def test_one_class_with_suppression_in_the_graph_is_not_taken_for_anchors() -> None:
    assert decoder_for({"output0": (1, 300, 6)}, SIZE, 1) == "suppressed"
    assert decoder_for({"output0": (1, CELLS, 6)}, SIZE, 1) == "yolox"
    assert decoder_for({"output0": (1, 3 * CELLS, 6)}, SIZE, 1) == "yolov5"


def test_labels_are_the_whole_numbers_whatever_the_exporter_called_them() -> None:
    given = torchvision()
    mixed = {"boxes": given["boxes"], "labels": given["scores"], "scores": given["labels"]}
    assert DECODERS["torchvision"](mixed, SIZE).labels.tolist() == [1, 0]
    assert DECODERS["torchvision"](mixed, SIZE).scores == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize("name", ["yolox", "yolov5", "yolov8", "detr", "rt-detr"])
def test_a_layout_says_how_many_classes_it_has(name: str) -> None:
    shapes = {output: values.shape for output, values in LAYOUTS[name]().items()}
    assert class_count(name, shapes) == CLASSES


def test_what_a_layout_reads_and_does_not_find_is_named() -> None:
    assert missing_output("torchvision", {"2897": (5, 4), "labels": (5,)}) == "boxes"
    assert missing_output("yolox", {"2897": (1, CELLS, 8)}) is None


def test_suppressed_boxes_may_be_centres_in_shares_of_the_input() -> None:
    given = suppressed()["output0"]
    given[0, [3, 7], :4] = CENTRES / SHARES
    decoded = DECODERS["suppressed"]({"output0": given}, SIZE)
    assert decoded.boxes[[3, 7]] == pytest.approx(CORNERS, abs=1e-3)
