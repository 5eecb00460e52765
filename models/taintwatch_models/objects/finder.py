"""Objects in a picture: an ONNX detector run by ONNX Runtime, decoded, and its overlapping boxes suppressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from taintwatch_models.errors import InferenceError, ModelError
from taintwatch_models.model_description import describe
from taintwatch_models.objects.decoders import (
    DECODERS,
    NEEDS_NMS,
    Decoded,
    class_count,
    decoder_for,
    missing_output,
)
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.preprocessing import Placement, Preprocessing

__all__ = ["FinderSettings", "FoundObject", "ObjectFinder", "select"]

_GREY = (114.0, 114.0, 114.0)  # what YOLO models were trained to see around a letterboxed picture
_DECLARED: dict[str, dict[str, Any]] = {
    "yolox": {"resize": "pad", "order": "bgr", "scale": 1.0, "mean_colour": _GREY},
    "yolov5": {"resize": "pad", "mean_colour": _GREY},
    "yolov8": {"resize": "pad", "mean_colour": _GREY},
    "suppressed": {"resize": "pad", "mean_colour": _GREY},
    "detr": {"resize": "stretch", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "rt-detr": {"resize": "stretch"},
    "ssd": {"resize": "stretch", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "torchvision": {"resize": "stretch"},
}
"""What each kind of model is usually given; the TOML beside the model says otherwise where it differs."""

Extension = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One object, in the picture's pixels."""

    box: tuple[float, float, float, float]
    """x, y, width, height."""
    score: float
    label: int
    name: str


@dataclass(frozen=True, slots=True)
class FinderSettings:
    """Which model looks for objects, and which of them are kept."""

    path: str
    labels: str | None = None
    preprocessing: str | None = None
    decoder: str | None = None
    """A key of `DECODERS`; None: what the outputs look like."""
    classes: tuple[str, ...] = ()
    """Names that are kept; none named: all."""
    confidence: float = 0.4
    overlap: float = 0.45
    """Boxes of one class that overlap by more (intersection over union) are one object."""
    device: str = "auto"
    threads: int = 0


class ObjectFinder:
    """Finds objects. Used by one thread only."""

    def __init__(self, settings: FinderSettings, *, extend: Extension | None = None) -> None:
        """`extend` adds outputs to the graph, which `run` gives too. Raises `ModelError`, `DeviceError`."""
        path = Path(settings.path)
        proto = _read(path)
        names = [value.name for value in proto.graph.output]
        proto = proto if extend is None else extend(proto)
        description = describe(path, settings.preprocessing, settings.labels)
        labels = description.labels
        if labels is None:
            raise ModelError(f"{path}: its class names are missing; give them as objects.labels (--labels)")
        self.labels = labels
        unknown = sorted(set(settings.classes) - set(labels))
        if unknown:
            raise ModelError(f"{path}: has no class '{unknown[0]}'; its classes are in objects.labels")
        self._wanted = frozenset(
            index for index, name in enumerate(labels) if name in settings.classes or not settings.classes
        )
        size, self._batched = _input_size(proto, path)
        self.decoder = _decoder(settings.decoder, _shapes(proto, names), size, len(labels), path)
        self.preprocessing = description.preprocessing or Preprocessing(size=size, **_DECLARED[self.decoder])
        if self.preprocessing.size != size:
            raise ModelError(
                f"{path}: takes {list(size)}, its preprocessing declares size = {list(self.preprocessing.size)}"
            )
        self.proto, self._settings, self._names = proto, settings, names
        self.confidence = settings.confidence
        self._input = proto.graph.input[0].name
        self._plain = ort.RunOptions()
        self._plain.only_execute_path_to_fetches = True
        self._session, self.provider = open_session(
            proto.SerializeToString(), SessionSettings(device=settings.device, threads=settings.threads)
        )

    def __call__(self, image: NDArray[np.uint8]) -> tuple[FoundObject, ...]:
        """Return the objects in a blue-green-red picture, the surest first. Raises `BadFrame`, `InferenceError`."""
        return self.objects(self.run(self.preprocessing([image])), image.shape[:2])

    def run(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Run one input, (1, 3, H, W); return all outputs by name. Raises `InferenceError`."""
        return self._outputs([value.name for value in self.proto.graph.output], inputs, None)

    def run_plain(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Run one input for the detector's own outputs, and none of what an extension adds. Raises `InferenceError`."""
        return self._outputs(self._names, inputs, self._plain)

    def _outputs(
        self, names: Sequence[str], inputs: NDArray[np.float32], options: ort.RunOptions | None
    ) -> dict[str, NDArray[Any]]:
        try:
            given = inputs if self._batched else inputs[0]
            return dict(zip(names, self._session.run(names, {self._input: given}, options), strict=True))
        except Exception as error:  # ONNX Runtime has a dozen exception types without a common base of their own
            raise InferenceError(f"the object detector failed: {error}") from error

    def decode(self, outputs: dict[str, NDArray[Any]], confidence: float | None = None) -> Decoded:
        """Return what is wanted and sure enough in one picture's outputs, suppressed; pixels of the input.

        `confidence`: least score, in place of the settings'.
        """
        found = DECODERS[self.decoder]({name: outputs[name] for name in self._names}, self.preprocessing.size)
        if found.labels.max(initial=0) >= len(self.labels):
            raise InferenceError(
                f"the object detector gives class {found.labels.max()}, but {len(self.labels)} class names are given; "
                "name all of them, in its order, as objects.labels (torchvision's begin with the background)"
            )
        return select(found, self._wanted, self._settings.confidence if confidence is None else confidence,
            self._settings.overlap if self.decoder in NEEDS_NMS else None,
        )  # fmt: skip

    def objects(self, outputs: dict[str, NDArray[Any]], size: tuple[int, ...]) -> tuple[FoundObject, ...]:
        """Return the objects in the outputs of a picture of (height, width), in its pixels."""
        place = self.preprocessing.place(size[0], size[1])
        decoded = self.decode(outputs)
        return tuple(
            FoundObject(_box(corners, place, size), float(score), int(label), self.labels[label])
            for corners, score, label in zip(*decoded, strict=True)
        )


def select(found: Decoded, wanted: frozenset[int], confidence: float, overlap: float | None) -> Decoded:
    """Return the wanted candidates of at least that score, the surest first; suppressed where `overlap` is given."""
    keep = np.flatnonzero((found.scores >= confidence) & np.isin(found.labels, list(wanted)))
    keep = keep[np.argsort(-found.scores[keep], kind="stable")]
    boxes, scores, labels = found.boxes[keep], found.scores[keep], found.labels[keep]
    if overlap is not None and len(boxes):
        sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        kept = cv2.dnn.NMSBoxesBatched(sides.tolist(), scores.tolist(), labels.tolist(), confidence, overlap)
        order = np.sort(np.asarray(kept, np.int64).reshape(-1))
        boxes, scores, labels = boxes[order], scores[order], labels[order]
    return Decoded(boxes, scores, labels)


def _box(corners: NDArray[np.float32], place: Placement, size: tuple[int, ...]) -> tuple[float, float, float, float]:
    left, top = place.to_frame(float(corners[0]), float(corners[1]))
    right, bottom = place.to_frame(float(corners[2]), float(corners[3]))
    left, right = (min(max(x, 0.0), float(size[1])) for x in (left, right))
    top, bottom = (min(max(y, 0.0), float(size[0])) for y in (top, bottom))
    return left, top, right - left, bottom - top


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ModelError(f"{path}: no such object detector; give an ONNX file as objects.model (--model)")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's own, and onnx's
        raise ModelError(f"{path}: not a valid ONNX model ({type(error).__name__})") from None


def _input_size(proto: onnx.ModelProto, path: Path) -> tuple[tuple[int, int], bool]:
    """Return height and width, and whether there is a batch before them (torchvision's take a picture alone)."""
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    if len(shape) not in (3, 4) or min(shape[-2:]) < 1 or shape[-3] != 3:
        raise ModelError(f"{path}: takes {shape}; a detector needs a fixed input of (1, 3, height, width)")
    return (shape[-2], shape[-1]), len(shape) == 4


def _decoder(
    given: str | None, shapes: dict[str, tuple[int, ...]], size: tuple[int, int], classes: int, path: Path
) -> str:
    """Return the layout that is given, checked, or the one that the outputs have. Raises `ModelError`."""
    if given is None:
        return decoder_for(shapes, size, classes)
    if given not in DECODERS:
        raise ModelError(f"objects.decoder is {given!r}; give one of {', '.join(DECODERS)}")
    missing = missing_output(given, shapes)
    if missing is not None:
        raise ModelError(f"{path}: has no output '{missing}', which the decoder {given} reads; it has "
                         f"{', '.join(shapes)}: export it with that name, or give another objects.decoder")  # fmt: skip
    count = class_count(given, shapes)
    if count is not None and count != classes:
        raise ModelError(f"{path}: gives {count} classes, read as {given}, but {classes} class names; give the names "
                         "of all as objects.labels, or another objects.decoder")  # fmt: skip
    return given


def _shapes(proto: onnx.ModelProto, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    values = {value.name: value for value in proto.graph.output}
    return {name: tuple(d.dim_value for d in values[name].type.tensor_type.shape.dim) for name in names}
