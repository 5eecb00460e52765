"""Augmentation of a whole batch at once: geometry, light, blur, noise, JPEG. See `erasing` for occlusion.

Everything is drawn from one `torch.Generator`, so that a seed fixes a run.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks.signs.erasing import erase

__all__ = ["augment", "uniform"]


def uniform(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Return float32 values in [low, high) on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device) * (high - low) + low


def augment(pictures: Tensor, backgrounds: Tensor, generator: Generator, *, erasable: Tensor) -> Tensor:
    """Return training pictures (B, 3, H, W), float32 in [0, 1].

    `pictures` (B, 4, H, W) float RGBA in [0, 1], alpha not premultiplied; `backgrounds` (B, 3, H, W) in [0, 1].
    Of those that are `erasable` (B,), half are erased at the end (as a detector fills them) and half of the others
    before light and blur (as a sticker would): three in four in all.
    """
    images = _warped(pictures, backgrounds, generator)
    late = erasable & (uniform(generator, 0, 1, len(images)) < 0.5)
    early = erasable & ~late & (uniform(generator, 0, 1, len(images)) < 0.5)
    images = _lit(erase(images, early, generator), generator)
    images = _blurred(images, generator)
    images = _jpeg(_noisy(images, generator), generator)
    return erase(images, late, generator)


def _warped(pictures: Tensor, backgrounds: Tensor, generator: Generator) -> Tensor:
    """Move each picture by a random homography and lay it over its background."""
    count = len(pictures)
    fills = uniform(generator, 0, 1, count) < 0.5  # half fill the frame, half stand in a scene
    scale = torch.where(fills, uniform(generator, 0.88, 1.15, count), uniform(generator, 0.55, 1.0, count))
    angle = (uniform(generator, -1, 1, count) * math.radians(14)) * uniform(generator, 0, 1, count)
    free = (1 - scale).clamp(min=0.06)
    shift = uniform(generator, -1, 1, count, 2) * free[:, None]
    stretch = 1 + uniform(generator, -0.14, 0.14, count, 2)
    matrix = torch.zeros(count, 3, 3, device=pictures.device)  # output to input coordinates, both in [-1, 1]
    matrix[:, 0, 0] = torch.cos(angle) / (scale * stretch[:, 0])
    matrix[:, 0, 1] = -torch.sin(angle) / scale + uniform(generator, -0.1, 0.1, count)
    matrix[:, 1, 0] = torch.sin(angle) / scale + uniform(generator, -0.1, 0.1, count)
    matrix[:, 1, 1] = torch.cos(angle) / (scale * stretch[:, 1])
    matrix[:, :2, 2] = -torch.einsum("bij,bj->bi", matrix[:, :2, :2], shift)
    matrix[:, 2, :2] = uniform(generator, -0.14, 0.14, count, 2)
    matrix[:, 2, 2] = 1.0
    height, width = pictures.shape[2:]
    identity = torch.eye(2, 3, device=pictures.device)[None]
    grid = F.affine_grid(identity, [1, 1, height, width], align_corners=False)  # (1, H, W, 2)
    points = torch.cat([grid, torch.ones_like(grid[..., :1])], dim=-1)  # (1, H, W, 3)
    moved = torch.einsum("bij,hwj->bhwi", matrix, points[0])  # (B, H, W, 3)
    warped = F.grid_sample(
        torch.cat([pictures[:, :3] * pictures[:, 3:], pictures[:, 3:]], dim=1),
        moved[..., :2] / moved[..., 2:],
        align_corners=False,
    )
    return warped[:, :3] + (1 - warped[:, 3:]) * backgrounds


def _lit(images: Tensor, generator: Generator) -> Tensor:
    """Change exposure, contrast, colour and saturation; put a gradient of light over half the pictures."""
    count = len(images)
    cast = 1 + uniform(generator, -0.15, 0.15, count, 3, 1, 1)
    gain = torch.exp(uniform(generator, -0.9, 0.5, count, 1, 1, 1) * uniform(generator, 0, 1, count, 1, 1, 1))
    gamma = torch.exp(uniform(generator, -0.35, 0.35, count, 1, 1, 1))
    contrast = torch.exp(uniform(generator, -0.5, 0.3, count, 1, 1, 1))
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * uniform(generator, 0.5, 1.3, count, 1, 1, 1)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (level + (images - level) * contrast).clamp(1e-4, 1).pow(gamma) * gain * cast
    direction = uniform(generator, 0, 2 * math.pi, count, 1, 1)
    axis = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    ramp = torch.cos(direction) * axis[None, None, :] + torch.sin(direction) * axis[None, :, None]  # (B, H, W)
    strength = uniform(generator, -0.35, 0.35, count, 1, 1) * (uniform(generator, 0, 1, count, 1, 1) < 0.5)
    return (images * (1 + ramp * strength)[:, None]).clamp(0, 1)


def _blurred(images: Tensor, generator: Generator) -> Tensor:
    """A third unchanged, a third through 32 pixels or fewer, a sixth motion-blurred, a sixth both."""
    size = images.shape[-1]
    parts = list(images.tensor_split(6))
    for index in (2, 3, 5):
        small = size // 2 if index == 2 else int(uniform(generator, 0.28, 0.75, 1).item() * size)
        shrunk = F.interpolate(parts[index], size=small, mode="area")
        parts[index] = F.interpolate(shrunk, size=size, mode="bilinear", align_corners=False)
    for index in (4, 5):
        parts[index] = _motion(parts[index], generator)
    return torch.cat(parts)


def _motion(images: Tensor, generator: Generator) -> Tensor:
    """Average each picture over five shifts along a random line of up to 6 pixels."""
    count, size = len(images), images.shape[-1]
    if count == 0:
        return images
    angle, reach = uniform(generator, 0, math.pi, count), uniform(generator, 0.5, 6.0, count) / size
    step = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1) * reach[:, None]  # (B, 2), half the line
    grid = F.affine_grid(torch.eye(2, 3, device=images.device)[None], [1, 1, size, size], align_corners=False)
    total = torch.zeros_like(images)
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        moved = grid + step[:, None, None, :] * share
        total += F.grid_sample(images, moved, padding_mode="border", align_corners=False)
    return total / 5


def _noisy(images: Tensor, generator: Generator) -> Tensor:
    """Add sensor noise whose variance grows with the light (a standard deviation of up to 0.1 in full white)."""
    level = uniform(generator, 0, 1, len(images), 1, 1, 1).pow(2) * 0.1
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + noise * level * (images + 0.01).sqrt()).clamp(0, 1)


def _jpeg(images: Tensor, generator: Generator) -> Tensor:
    """Pass a quarter of the pictures through JPEG at a quality of 20 to 90."""
    chosen = torch.nonzero(uniform(generator, 0, 1, len(images)) < 0.25).flatten().tolist()
    qualities = uniform(generator, 20, 90, len(images)).int().tolist()
    images = images.clone()
    for index in chosen:
        pixels = (images[index] * 255).round().byte().permute(1, 2, 0).cpu().numpy()  # (H, W, 3)
        _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, qualities[index]])
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        images[index] = torch.from_numpy(decoded).to(images.device).permute(2, 0, 1).float() / 255
    return images
