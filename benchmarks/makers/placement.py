"""Paste a square patch into photographs at a place, a size and an angle, differentiably."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

__all__ = [
    "Images",
    "Placement",
    "apply_at",
    "apply_patch",
    "load_images",
    "paste",
    "random_placement",
    "to_tensor",
    "to_uint8",
]

Images = npt.NDArray[np.uint8]  # (N, H, W, 3) RGB

MAX_ANGLE = 20.0  # degrees, either way


@dataclass(frozen=True)
class Placement:
    """Where a square patch lies in an image, in pixels; `angle` in degrees."""

    side: float
    x: float
    y: float
    angle: float = 0.0

    @property
    def reach(self) -> float:
        """Half the side of the upright box around the turned square."""
        radians = math.radians(abs(self.angle))
        return self.side / 2 * (math.cos(radians) + math.sin(radians))

    def box(self) -> tuple[float, float, float, float]:
        """The upright box around the patch: left, top, right, bottom."""
        r = self.reach
        return self.x - r, self.y - r, self.x + r, self.y + r

    def on_grid(self) -> Placement:
        """The same place, unturned, moved by less than a pixel so that it covers whole pixels."""
        side = max(round(self.side), 1)
        left, top = int(self.x - side / 2), int(self.y - side / 2)
        return Placement(side, left + side / 2, top + side / 2)


def random_placement(images: Images, share: float, rng: np.random.Generator, max_angle: float = MAX_ANGLE) -> Placement:
    """A uniformly random place and angle at which the patch lies wholly inside the images.

    images (N, H, W, 3) give the size alone; `share` is the patch's side relative to the image's
    shorter one, in (0, 1]; `max_angle` is in degrees, either way.
    """
    height, width = images.shape[1:3]
    side, angle = share * min(height, width), rng.uniform(-max_angle, max_angle)
    reach = Placement(side, 0, 0, angle).reach
    if 2 * reach > min(height, width):  # too large to be turned this far
        angle, reach = 0.0, side / 2
    x, y = rng.uniform(reach, width - reach), rng.uniform(reach, height - reach)
    return Placement(side, x, y, angle)


def paste(images: Tensor, patch: Tensor, placements: Sequence[Placement]) -> Tensor:
    """Lay the patch over each image, differentiably.

    images (N, 3, H, W) and patch (3, S, S) or one for each image (N, 3, S, S), both RGB in [0, 1].
    Returns (N, 3, H, W). The patch is first resized with an antialias filter, since optimising
    through an aliased one makes a pattern that no camera could see; its edge is blended over 1 px.
    """
    height, width = images.shape[2:]
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    patches = patch.expand(len(images), 3, *patch.shape[-2:])
    pasted = []
    for image, square, place in zip(images, patches, placements, strict=True):
        pixels = max(round(place.side), 1)
        resized = F.interpolate(square[None], (pixels, pixels), mode="bilinear", align_corners=False, antialias=True)
        cos, sin = math.cos(math.radians(place.angle)), math.sin(math.radians(place.angle))
        dx, dy, half = xs - place.x, ys - place.y, place.side / 2
        local = torch.stack([cos * dx + sin * dy, cos * dy - sin * dx], -1) / half  # (H, W, 2)
        seen = F.grid_sample(resized, local[None], padding_mode="border", align_corners=False)[0]
        cover = (half * (1 - local.abs()) + 0.5).clamp(0, 1).prod(-1)  # (H, W)
        pasted.append(image + cover * (seen - image))
    return torch.stack(pasted)


def apply_patch(
    images: Images, patch: Images, side_share: float, rng: np.random.Generator
) -> tuple[Images, npt.NDArray[np.float32]]:
    """Paste the patch (S, S, 3) into each image (N, H, W, 3) at a random place and angle.

    Returns the patched uint8 images and the boxes (N, 4) around the patches: left, top, right,
    bottom in pixels. `side_share` is relative to the image's shorter side.
    """
    places = [random_placement(images, side_share, rng) for _ in images]
    return apply_at(images, patch, places), np.array([p.box() for p in places], np.float32)


def apply_at(images: Images, patch: Images, places: Sequence[Placement]) -> Images:
    """Paste the patch (S, S, 3) into images (N, H, W, 3) at given places."""
    square = to_tensor(patch[None])[0]
    pasted = [  # one at a time: a test set of float images is large
        to_uint8(paste(to_tensor(image[None]), square, [place]))[0] for image, place in zip(images, places, strict=True)
    ]
    return np.stack(pasted)


def to_tensor(images: Images) -> Tensor:
    """Images (N, H, W, 3) of uint8 as (N, 3, H, W) of float32 in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def to_uint8(images: Tensor) -> Images:
    """The inverse of `to_tensor`, rounded."""
    return np.asarray((images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1))


def load_images(paths: Sequence[Path], size: int) -> Images:
    """Centre crops (N, size, size, 3) of image files whose sides are at least `size` pixels."""
    crops = []
    for path in paths:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
        if min(top, left) < 0:
            raise ValueError(f"{path} is smaller than {size} pixels: take larger images")
        crops.append(pixels[top : top + size, left : left + size])
    return np.stack(crops)
