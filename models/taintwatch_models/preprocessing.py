"""From a frame to the classifier's input and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame

__all__ = ["IMAGENET_MEAN_COLOUR", "Placement", "Preprocessing"]

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


def _centre_cut(image: NDArray[np.uint8], aspect: float) -> NDArray[np.uint8]:
    """Cut the centre so that height / width is `aspect` (to a pixel): cheaper than resizing what is thrown away."""
    height, width = image.shape[:2]
    cut_height, cut_width = min(height, round(width * aspect)), min(width, round(height / aspect))
    top, left = (height - max(1, cut_height)) // 2, (width - max(1, cut_width)) // 2
    return image[top : top + max(1, cut_height), left : left + max(1, cut_width)]
