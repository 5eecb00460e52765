"""One pair of boxes, written in each layout that exported detectors have, comes out of each decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.objects.decoders import DECODERS, decoder_for, grid_cells

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
    with pytest.raises(ModelError, match=r"no decoder fits the detector's outputs \(out \[1, 10\]\) and 3 class names"):
        decoder_for({"out": (1, 10)}, SIZE, CLASSES)
