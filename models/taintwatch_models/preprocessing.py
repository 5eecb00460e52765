"""From a frame to the classifier's input and back: declared in a small TOML beside the model, checked at load."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame, ModelError
from taintwatch_models.storage import parse_json, read_bounded

__all__ = [
    "IMAGENET_MEAN_COLOUR",
    "ModelDescription",
    "Placement",
    "Preprocessing",
    "preprocessing_from",
    "read_description",
    "read_labels",
]

LARGEST = 4_000_000  # bytes of a description or of labels
LARGEST_SIDE = 2048  # pixels
LARGEST_NUMBER = 1e9
IMAGENET_MEAN_COLOUR = (123.675, 116.28, 103.53)
"""Mean RGB of ImageNet's training images, 0..255: the mean colour where a model declares none."""


@dataclass(frozen=True, slots=True)
class Placement:
    """How one frame was laid onto the input: `input = frame * scale + offset`, per axis, in pixels."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def to_frame(self, x: float, y: float) -> tuple[float, float]:
        """Map input pixel coordinates to frame pixel coordinates."""
        return (x - self.offset_x) / self.scale_x, (y - self.offset_y) / self.scale_y


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a model wants: `(pixel / scale - mean) / std`, in NCHW float32.

    `size` is (height, width). `resize` says how a frame of another shape is laid onto it: `crop` scales the shorter
    side and cuts the centre, `stretch` ignores the aspect, `pad` scales the longer side and fills with the mean colour.
    """

    size: tuple[int, int]
    resize: Literal["crop", "stretch", "pad"] = "crop"
    order: Literal["rgb", "bgr"] = "rgb"
    scale: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    mean_colour: tuple[float, float, float] = IMAGENET_MEAN_COLOUR
    """RGB, 0..255: the colour that fills a region where the fill is `mean`."""

    def place(self, height: int, width: int) -> Placement:
        """Return how a frame of that size is laid onto the input."""
        H, W = self.size
        if self.resize == "stretch":
            return Placement(W / width, H / height, 0.0, 0.0)
        choose = max if self.resize == "crop" else min
        scale = choose(H / height, W / width)
        return Placement(scale, scale, (W - width * scale) / 2, (H - height * scale) / 2)

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Lay one blue-green-red frame onto the input: (height, width, 3) uint8 in the model's channel order.

        Raises `BadFrame` for an empty image or a wrong channel count.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise BadFrame(f"a frame must be (height, width, 3) uint8, this one is {image.shape} {image.dtype}")
        if not image.size:
            raise BadFrame(f"a frame of size {image.shape[1]} x {image.shape[0]} has no pixels")
        H, W = self.size
        height, width = image.shape[:2]
        if self.resize == "crop":
            image = _centre_cut(image, H / W)
        shrink = image.shape[0] > H or image.shape[1] > W
        interpolation = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        if self.resize == "pad":
            scale = min(H / height, W / width)
            inner = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(image, inner, interpolation=interpolation)
            top, left = (H - inner[1]) // 2, (W - inner[0]) // 2
            colour = tuple(reversed(self.mean_colour))
            image = cv2.copyMakeBorder(
                small, top, H - inner[1] - top, left, W - inner[0] - left, cv2.BORDER_CONSTANT, value=colour
            )
        elif image.shape[:2] != (H, W):
            image = cv2.resize(image, (W, H), interpolation=interpolation)
        return np.asarray(image[:, :, ::-1] if self.order == "rgb" else image, dtype=np.uint8)

    def normalise(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Turn (..., height, width, 3) pixels 0..255 in the model's order into (..., 3, height, width) float32."""
        gain = 1.0 / (self.scale * np.asarray(self.std, np.float32))
        bias = -np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        planes = np.moveaxis(pixels, -1, -3)
        out = np.empty(planes.shape, np.float32)
        np.multiply(planes, gain.reshape(3, 1, 1), out=out, casting="unsafe")
        np.add(out, bias.reshape(3, 1, 1), out=out)
        return out

    def pixels_of(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo `normalise`: (..., 3, height, width) inputs to (..., height, width, 3) pixels, float32 0..255."""
        std = np.asarray(self.std, np.float32)
        mean = np.asarray(self.mean, np.float32)
        return np.moveaxis((inputs * std.reshape(3, 1, 1) + mean.reshape(3, 1, 1)) * self.scale, -3, -1)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the batch (len(images), 3, height, width), float32."""
        return self.normalise(np.stack([self.pixels(image) for image in images]))

    def colour_input(self, rgb: Sequence[float]) -> NDArray[np.float32]:
        """Return a colour (RGB, 0..255) as input values, (3, 1, 1) float32."""
        ordered = np.asarray(rgb if self.order == "rgb" else tuple(reversed(tuple(rgb))), np.float32)
        return self.normalise(ordered.reshape(1, 1, 3))

    def as_dict(self) -> dict[str, Any]:
        """Return the declaration as JSON- and TOML-ready values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The TOML beside a model: its preprocessing, its labels, and the label that means `nothing of interest`."""

    preprocessing: Preprocessing | None
    """None where it is not declared."""
    labels: tuple[str, ...] | None = None
    background: str | None = None


def _centre_cut(image: NDArray[np.uint8], aspect: float) -> NDArray[np.uint8]:
    """Cut the centre so that height / width is `aspect` (to a pixel): cheaper than resizing what is thrown away."""
    height, width = image.shape[:2]
    cut_height, cut_width = min(height, round(width * aspect)), min(width, round(height / aspect))
    top, left = (height - max(1, cut_height)) // 2, (width - max(1, cut_width)) // 2
    return image[top : top + max(1, cut_height), left : left + max(1, cut_width)]


def read_description(path: Path) -> ModelDescription:
    """Read a model's TOML. Raises `ModelError` with the key that is wrong."""
    try:
        document = tomllib.loads(read_bounded(path, LARGEST).decode())
    except FileNotFoundError:
        raise ModelError(f"{path}: no such preprocessing file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a readable TOML file ({error})") from None
    unknown = set(document) - {"preprocessing", "labels", "background"}
    if unknown:
        raise ModelError(f"{path}: unknown key '{min(unknown)}'; known are preprocessing, labels, background")
    table = document.get("preprocessing")
    if not isinstance(table, dict):
        raise ModelError(f"{path}: the table [preprocessing] is missing; it needs at least 'size = [height, width]'")
    background = table.pop("background", None) or document.get("background")
    labels = document.get("labels")
    if isinstance(labels, str):
        labels = read_labels(_beside(path, labels))
    elif isinstance(labels, list):
        labels = tuple(str(label) for label in labels)
    elif labels is not None:
        raise ModelError(f"{path}: labels must be a list of names, or a file beside it, not {labels!r}")
    return ModelDescription(preprocessing_from(table, str(path)), labels, background)


def _beside(description: Path, name: str) -> Path:
    """Return the file that a description names, in its own folder. Raises `ModelError` for one that lies elsewhere.

    A model's folder may come from anywhere: its TOML must not make us read, and show, a file of this machine.
    """
    folder = description.parent.resolve()
    try:
        there = (folder / name).resolve().is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):  # a loop of links, a zero byte
        there = False
    if not there or Path(name).is_absolute():
        raise ModelError(
            f"{description}: labels = {name[:200]!r} lies outside the model's folder; put the file beside the "
            "model, or name it with model.labels (--labels)"
        )
    return folder / name


def preprocessing_from(table: dict[str, Any], where: str) -> Preprocessing:
    """Check a declaration key by key. Raises `ModelError` naming `where`, the key and the value."""
    known = {f.name for f in fields(Preprocessing)}
    for key in table:
        if key not in known:
            raise ModelError(f"{where}: preprocessing.{key}: unknown key; known are {', '.join(sorted(known))}")
    values: dict[str, Any] = dict(table)

    def numbers(key: str, count: int, *, above: float | None = None) -> tuple[float, ...]:
        value = values[key]
        good = isinstance(value, list | tuple) and len(value) == count
        if not good or not all(_is_number(v) and (above is None or v > above) for v in value):
            limit = f" above {above:g}" if above is not None else ""
            raise ModelError(f"{where}: preprocessing.{key} must be {count} numbers{limit}, not {value!r}")
        return tuple(value)

    if "size" not in values:
        raise ModelError(f"{where}: preprocessing.size is missing; write 'size = [height, width]'")
    height, width = numbers("size", 2, above=0)
    values["size"] = (int(height), int(width))
    if max(values["size"]) > LARGEST_SIDE:
        raise ModelError(f"{where}: preprocessing.size is {values['size']}; a side has at most {LARGEST_SIDE} pixels")
    for key, above in (("mean", None), ("std", 0.0), ("mean_colour", -1.0)):
        if key in values:
            values[key] = tuple(float(v) for v in numbers(key, 3, above=above))
    for key, allowed in (("resize", ("crop", "stretch", "pad")), ("order", ("rgb", "bgr"))):
        if values.get(key, allowed[0]) not in allowed:
            raise ModelError(f"{where}: preprocessing.{key} must be one of {', '.join(allowed)}, not {values[key]!r}")
    scale = values.get("scale", 255.0)
    if not _is_number(scale) or scale <= 0:
        raise ModelError(f"{where}: preprocessing.scale must be a number above 0, not {scale!r}")
    values["scale"] = float(scale)
    return Preprocessing(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST_NUMBER  # which NaN is not


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names in index order: a JSON list, or text with one name a line. Raises `ModelError`."""
    try:
        content = read_bounded(path, LARGEST)
        text = content.decode()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: the labels cannot be read ({error})") from None
    if path.suffix != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        names = parse_json(content)
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path}: labels must be a JSON list of strings in index order")
    return tuple(names)
