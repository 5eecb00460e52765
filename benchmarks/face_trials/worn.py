"""Glasses as a camera sees them on a face: a flat frame before the eyes, turned with the head, in another light."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_calibration.faces.glasses_shape import GlassesShape

__all__ = ["PATTERN_SCALE", "PoseLimits", "Poses", "draw_poses", "pattern_size", "still", "wear"]

PATTERN_SCALE = 36.0
"""Pixels of a pattern for one interpupillary distance: what an aligned face of 112 pixels resolves."""
_CAMERA_DISTANCE = 10.0  # interpupillary distances: 63 cm, about where a person stands before a door's camera


@dataclass(frozen=True, slots=True)
class PoseLimits:
    """Largest values drawn, each to both sides."""

    yaw_degrees: float = 0.0
    pitch_degrees: float = 0.0
    roll_degrees: float = 0.0
    shift: float = 0.0
    """Interpupillary distances."""
    scale: float = 0.0
    light: float = 0.0
    """Relative change of the glasses' brightness against the face's."""


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """How each pair of glasses of a batch is worn; all (B,) float32, angles in radians, shifts as in `PoseLimits`."""

    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    x: Tensor
    y: Tensor
    scale: Tensor
    gain: Tensor


def still(count: int) -> Poses:
    """Return `count` poses of glasses that sit straight, in the face's own light."""
    values = {field.name: torch.zeros(count) for field in fields(Poses)}
    return Poses(**values | {"scale": torch.ones(count), "gain": torch.ones(count)})


def draw_poses(count: int, limits: PoseLimits, generator: torch.Generator) -> Poses:
    """Draw poses uniformly within `limits`."""

    def spread(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    turns = (limits.yaw_degrees, limits.pitch_degrees, limits.roll_degrees)
    yaw, pitch, roll = (spread(degrees * torch.pi / 180) for degrees in turns)
    x, y = spread(limits.shift), spread(limits.shift)
    return Poses(yaw, pitch, roll, x, y, 1 + spread(limits.scale), 1 + spread(limits.light))


def pattern_size(shape: GlassesShape) -> tuple[int, int]:
    """Return the rows and columns of a pattern for `shape`."""
    rows, columns = _mask(shape).shape[1:]
    return rows, columns


@lru_cache(maxsize=8)
def _mask(shape: GlassesShape) -> Tensor:
    """Return the coverage of a pattern's pixels, (1, rows, columns): asked for at every step of crafting."""
    return torch.from_numpy(shape.mask(PATTERN_SCALE))[None]


def wear(images: Tensor, eyes: Tensor, pattern: Tensor, shape: GlassesShape, poses: Poses) -> tuple[Tensor, Tensor]:
    """Put glasses on faces; return the pictures and the coverage (B, 1, H, W) in [0, 1].

    `images` (B, 3, H, W) in [0, 1]; `eyes` (B, 2, 2) the pixels (x, y) of the eyes on the picture's left and right;
    `pattern` (3, rows, columns) of `pattern_size`, in [0, 1]. Differentiable in `images` and `pattern`.
    """
    grid = _grid(eyes, poses, shape, images.shape[2], images.shape[3]).to(images)
    mask = _mask(shape).to(images).expand(len(images), -1, -1, -1)
    coverage = F.grid_sample(mask, grid, padding_mode="zeros", align_corners=False)
    patterns = pattern.expand(len(images), -1, -1, -1)
    colour = F.grid_sample(patterns, grid, padding_mode="border", align_corners=False)
    colour = (colour * poses.gain.view(-1, 1, 1, 1).to(images)).clamp(0, 1)
    return images * (1 - coverage) + colour * coverage, coverage


def _grid(eyes: Tensor, poses: Poses, shape: GlassesShape, height: int, width: int) -> Tensor:
    """Return where in the pattern each pixel lies, (B, height, width, 2) in [-1, 1] of the pattern."""
    inverse = torch.linalg.inv(_homography(eyes, poses))  # (B, 3, 3): pixels to interpupillary distances
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).float().view(-1, 3)  # (H * W, 3)
    plane = pixels @ inverse.transpose(1, 2)  # (B, H * W, 3)
    # Behind the camera the plane would appear once more, mirrored: no pixel lies there.
    depth = plane[..., 2:].clamp_min(1e-6)
    point = plane[..., :2] / depth - torch.tensor([0.0, shape.drop])
    rows, columns = pattern_size(shape)
    half = torch.tensor([columns, rows]) / (2 * PATTERN_SCALE)
    grid: Tensor = (point / half).view(-1, height, width, 2)
    return grid


def _homography(eyes: Tensor, poses: Poses) -> Tensor:
    """Return (B, 3, 3) from the glasses' plane, in interpupillary distances, to pixels."""
    zero, one = torch.zeros_like(poses.yaw), torch.ones_like(poses.yaw)

    def matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    cos, sin = torch.cos, torch.sin
    yaw, pitch, roll = poses.yaw, poses.pitch, poses.roll
    turn = (
        matrix((cos(roll), -sin(roll), zero), (sin(roll), cos(roll), zero), (zero, zero, one))
        @ matrix((one, zero, zero), (zero, cos(pitch), -sin(pitch)), (zero, sin(pitch), cos(pitch)))
        @ matrix((cos(yaw), zero, sin(yaw)), (zero, one, zero), (-sin(yaw), zero, cos(yaw)))
    )
    size = poses.scale.view(-1, 1, 1)
    place = torch.stack([poses.x, poses.y, one], 1)[..., None]  # (B, 3, 1); its third row is the depth, below
    seen = torch.cat([turn[:, :2, :2] * size, place[:, :2]], 2)
    depth = torch.cat([turn[:, 2:, :2] * size / _CAMERA_DISTANCE, one.view(-1, 1, 1)], 2)
    along = eyes[:, 1] - eyes[:, 0]  # (B, 2): one interpupillary distance to the right, in pixels
    middle = eyes.mean(1)
    to_pixels = matrix(
        (along[:, 0], -along[:, 1], middle[:, 0]), (along[:, 1], along[:, 0], middle[:, 1]), (zero, zero, one)
    )
    homography: Tensor = to_pixels @ torch.cat([seen, depth], 1)
    return homography
