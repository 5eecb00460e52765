"""From an object detector's outputs to boxes: one decoder for each layout that exported models have.

A decoder takes the outputs of one picture by name, batch first (batch of 1), and the input's (height, width). It
returns boxes (N, 4) as left, top, right, bottom in pixels of the input, scores (N,) in [0, 1] and labels (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError

__all__ = ["DECODERS", "NEEDS_NMS", "Decoded", "class_count", "decoder_for", "grid_cells", "missing_output"]

Outputs = Mapping[str, NDArray[Any]]
STRIDES = (8, 16, 32)
_ANCHORS = 3  # of each cell, in YOLOv5
_LARGEST_SHARE = 2.0  # boxes may reach out of the picture


class Decoded(NamedTuple):
    """Candidates of one picture, not sorted; overlapping ones are still there where `NEEDS_NMS` says so."""

    boxes: NDArray[np.float32]
    """(N, 4): left, top, right, bottom, pixels of the input."""
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


def grid_cells(size: tuple[int, int], strides: tuple[int, ...] = STRIDES) -> NDArray[np.float32]:
    """Return x, y and stride of every cell of an input of (height, width), (cells, 3), level by level, row by row."""
    levels = []
    for stride in strides:
        rows, columns = size[0] // stride, size[1] // stride
        y, x = np.mgrid[:rows, :columns]
        levels.append(np.stack([x.ravel(), y.ravel(), np.full(rows * columns, stride)], 1))
    return np.concatenate(levels).astype(np.float32)


def _corners(centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) centre x, centre y, width, height to corners."""
    half = centres[:, 2:4] / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], 1).astype(np.float32)


def _best(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Decoded:
    """Keep the best class of each candidate; `scores` (N, classes)."""
    labels = scores.argmax(1)
    return Decoded(boxes, scores[np.arange(len(scores)), labels].astype(np.float32), labels.astype(np.int64))


def yolox(outputs: Outputs, size: tuple[int, int]) -> Decoded:
    """YOLOX (Ge et al., 2021), not decoded in the graph: (1, cells, 5 + classes), offsets and exponents by cell."""
    rows = _only(outputs)[0]
    cells = grid_cells(size)
    stride = cells[:, 2:]
    centres = np.concatenate([(rows[:, :2] + cells[:, :2]) * stride, np.exp(rows[:, 2:4]) * stride], 1)
    return _best(_corners(centres), rows[:, 4:5] * rows[:, 5:])


def yolov5(outputs: Outputs, size: tuple[int, int]) -> Decoded:
    """YOLOv5 and v7: (1, anchors, 5 + classes), decoded in the graph."""
    rows = _only(outputs)[0]
    return _best(_corners(rows[:, :4]), rows[:, 4:5] * rows[:, 5:])


def yolov8(outputs: Outputs, size: tuple[int, int]) -> Decoded:
    """YOLOv8 and 11: (1, 4 + classes, cells), decoded in the graph, without an objectness."""
    rows = _only(outputs)[0].T
    return _best(_corners(rows[:, :4]), rows[:, 4:])


def suppressed(outputs: Outputs, size: tuple[int, int]) -> Decoded:
    """YOLOv10, and YOLO exported with its NMS: (1, boxes, 6), corners, score and label.

    Ultralytics' RT-DETR has the same with centres and sides, in shares of the input: then none reaches 2 pixels.
    """
    rows = _only(outputs)[0]
    corners = rows[:, :4].astype(np.float32)
    if corners.max(initial=0.0) <= _LARGEST_SHARE:
        corners = _corners(_in_pixels(corners, size))
    return Decoded(corners, rows[:, 4].astype(np.float32), rows[:, 5].astype(np.int64))


def detr(outputs: Outputs, size: tuple[int, int]) -> Decoded:
    """DETR (Carion et al., 2020): softmax over the classes and, last, `no object`; boxes as shares of the input."""
    logits = outputs["logits"][0].astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return _best(_corners(_in_pixels(outputs["pred_boxes"][0], size)), shares[:, :-1].astype(np.float32))


def rt_detr(outputs: Outputs, size: tuple[int, int]) -> Decoded:
    """RT-DETR and Deformable DETR: a sigmoid for each class; boxes as shares of the input."""
    scores = 1 / (1 + np.exp(-outputs["logits"][0].astype(np.float64)))
    return _best(_corners(_in_pixels(outputs["pred_boxes"][0], size)), scores.astype(np.float32))


def torchvision(outputs: Outputs, size: tuple[int, int]) -> Decoded:
    """torchvision's detectors: `boxes` (N, 4) in pixels, `labels` and `scores` (N,), suppressed in the graph.

    Label 0 is the background: it has a name, too. An exporter names outputs by their place, and of torchvision's
    detectors some give the labels before the scores, some after: the whole numbers are the labels.
    """
    boxes, labels, scores = (outputs[name] for name in ("boxes", "labels", "scores"))
    if labels.dtype.kind == "f" and scores.dtype.kind in "iu":
        labels, scores = scores, labels
    return Decoded(boxes.reshape(-1, 4).astype(np.float32), scores.reshape(-1), labels.reshape(-1).astype(np.int64))


def ssd(outputs: Outputs, size: tuple[int, int]) -> Decoded:
    """SSD as in ONNX's model zoo: `bboxes` (1, N, 4) as shares of the input, `labels` and `scores` (1, N)."""
    found = torchvision({**outputs, "boxes": outputs["bboxes"]}, size)
    return found._replace(boxes=_in_pixels(found.boxes, size))


def _in_pixels(shares: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    height, width = size
    return np.asarray(shares * np.array([width, height, width, height]), np.float32)


def _only(outputs: Outputs) -> NDArray[Any]:
    return next(iter(outputs.values()))


Decoder = Callable[[Outputs, tuple[int, int]], Decoded]

DECODERS: Mapping[str, Decoder] = {
    "detr": detr,
    "rt-detr": rt_detr,
    "ssd": ssd,
    "suppressed": suppressed,
    "torchvision": torchvision,
    "yolov5": yolov5,
    "yolov8": yolov8,
    "yolox": yolox,
}
NEEDS_NMS = frozenset({"yolov5", "yolov8", "yolox"})
"""The layouts whose overlapping candidates are not suppressed yet."""
_NAMED = {
    "detr": ("logits", "pred_boxes"),
    "rt-detr": ("logits", "pred_boxes"),
    "ssd": ("bboxes", "labels", "scores"),
    "torchvision": ("boxes", "labels", "scores"),
}
"""The outputs that a layout is read from by name."""


def missing_output(decoder: str, outputs: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return an output that a layout is read from and that is not there; None: all are."""
    return next((name for name in _NAMED.get(decoder, ()) if name not in outputs), None)


def class_count(decoder: str, outputs: Mapping[str, tuple[int, ...]]) -> int | None:
    """Return how many classes a detector has, where the shapes of its outputs say so in this layout."""
    shape = outputs["logits"] if "logits" in outputs else next(iter(outputs.values()))
    found = {
        "detr": shape[-1] - 1,
        "rt-detr": shape[-1],
        "yolov5": shape[-1] - 5,
        "yolov8": shape[1] - 4 if len(shape) == 3 else 0,
        "yolox": shape[-1] - 5,
    }.get(decoder) if shape else None  # fmt: skip
    return found if found is None or found > 0 else None


def decoder_for(outputs: Mapping[str, tuple[int, ...]], size: tuple[int, int], classes: int) -> str:
    """Return the layout that outputs of these names and shapes have; `classes` is the number of class names.

    Raises `ModelError` where none fits.
    """
    names = set(outputs)
    if {"logits", "pred_boxes"} <= names:
        return "detr" if outputs["logits"][-1] == classes + 1 else "rt-detr"
    if {"boxes", "labels", "scores"} <= names:
        return "torchvision"
    if {"bboxes", "labels", "scores"} <= names:
        return "ssd"
    cells = len(grid_cells(size))
    if len(outputs) == 1:
        fitting = _of_one_output(next(iter(outputs.values())), cells, classes)
        if fitting is not None:
            return fitting
    raise ModelError(_unfit(outputs, cells, classes))


def _unfit(outputs: Mapping[str, tuple[int, ...]], cells: int, classes: int) -> str:
    """Return what is wrong, as closely as the shapes tell."""
    told = ", ".join(f"{name} {list(shape)}" for name, shape in outputs.items())
    shape = next(iter(outputs.values()))
    if len(outputs) == 1 and len(shape) == 2:
        return f"the output {told} is a row of scores, as a classifier's, and no boxes: give an object detector"
    if len(outputs) == 1 and len(shape) == 3 and cells in (shape[1], shape[1] / _ANCHORS, shape[2]):
        count = shape[1] - 4 if shape[2] == cells else shape[2] - 5
        return (
            f"the detector has {count} classes (its output is {told}), but {classes} class names are given: name all, "
            "in its order, as objects.labels"
        )
    return (
        f"no decoder fits the detector's outputs ({told}) and {classes} class names; name one of "
        f"{', '.join(DECODERS)} as objects.decoder, or give its class names as objects.labels"
    )


def _of_one_output(shape: tuple[int, ...], cells: int, classes: int) -> str | None:
    if len(shape) != 3:
        return None
    if shape[2] == 6 and (classes != 1 or shape[1] not in (cells, _ANCHORS * cells)):
        return "suppressed"
    if shape[1] == 4 + classes:
        return "yolov8"
    if shape[2] == 5 + classes:
        return "yolox" if shape[1] == cells else "yolov5"
    return None
