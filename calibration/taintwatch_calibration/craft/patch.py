"""Universal adversarial patches (Brown et al., Adversarial Patch, 2017): one patch for all images and places."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_models.preprocessing import Preprocessing

__all__ = [
    "PatchRecipe",
    "PlacementBatch",
    "apply_patch",
    "craft_patch",
    "draw_placements",
    "normaliser",
    "shape_mask",
]


@dataclass(frozen=True, slots=True)
class PatchRecipe:
    """What is crafted. Sizes are shares of the image's shorter side."""

    target: int | None
    """The label to be seen; None for any wrong one (untargeted)."""
    sizes: tuple[float, ...] = (0.35,)
    """One size, or several drawn with equal chance."""
    shape: str = "square"
    iterations: int = 300
    batch: int = 16
    learning_rate: float = 0.05
    rotation_degrees: float = 20.0
    position: tuple[float, float] | None = None
    """Centre as shares of width and height; None: anywhere that the patch fits."""
    resolution: int = 96
    """Side of the patch's own picture, pixels."""
    light: float = 0.0
    """Largest relative change of the patch's brightness from image to image."""
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PlacementBatch:
    """Where a patch lies in each image of a batch: all (B,), float32."""

    x: Tensor
    y: Tensor
    """Centre, in [-1, 1] of the image."""
    size: Tensor
    """Side, as a share of the image's shorter side."""
    angle: Tensor
    """Radians."""


def draw_placements(count: int, recipe: PatchRecipe, generator: torch.Generator) -> PlacementBatch:
    """Draw where the patch lies in `count` square images."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    sizes = torch.tensor(recipe.sizes)[torch.randint(len(recipe.sizes), (count,), generator=generator)]
    room = 1.0 - sizes
    if recipe.position is None:
        x, y = uniform(-1, 1) * room, uniform(-1, 1) * room
    else:
        x = torch.full((count,), recipe.position[0] * 2 - 1).clamp(-room, room)
        y = torch.full((count,), recipe.position[1] * 2 - 1).clamp(-room, room)
    limit = math.radians(recipe.rotation_degrees)
    return PlacementBatch(x, y, sizes, uniform(-limit, limit))


def apply_patch(
    images: Tensor,
    patch: Tensor,
    mask: Tensor,
    places: PlacementBatch,
    *,
    gain: Tensor | None = None,
    stretch: bool = False,
) -> tuple[Tensor, Tensor]:
    """Lay `patch` (3, s, s) over `images` (B, 3, H, W), both in the same units, where `mask` (1, s, s) is 1.

    Each image may have its own, (B, 3, s, s) and (B, 1, s, s). `gain` (B,) multiplies the patch's values. `stretch`:
    sizes are shares of height and width, so that size 1 covers any image. Returns the images and the coverage
    (B, 1, H, W) in [0, 1].
    """
    count, _, height, width = images.shape
    side = min(height, width)
    sx, sy = (places.size, places.size) if stretch else (places.size * side / width, places.size * side / height)
    cos, sin = torch.cos(places.angle), torch.sin(places.angle)
    # From output to patch coordinates: move to the patch's centre, turn back, scale up.
    theta = torch.stack(
        [
            torch.stack([cos / sx, sin / sx, -(places.x * cos + places.y * sin) / sx], 1),
            torch.stack([-sin / sy, cos / sy, (places.x * sin - places.y * cos) / sy], 1),
        ],
        1,
    ).to(images.device)
    grid = F.affine_grid(theta, [count, 4, height, width], align_corners=False)
    inside = mask.to(patch)
    # Times the mask, so that no colour from outside of it is mixed into its edge.
    both = torch.cat([patch * inside, inside], dim=-3).expand(count, -1, -1, -1)
    laid = F.grid_sample(both, grid, padding_mode="zeros", align_corners=False)
    coverage = laid[:, 3:]
    colour = laid[:, :3] / coverage.clamp_min(1e-3)  # undo the darkening of half-covered edges
    if gain is not None:
        colour = colour * gain.view(-1, 1, 1, 1).to(colour)
    return images * (1 - coverage) + colour * coverage, coverage


def craft_patch(
    model: Callable[[Tensor], Tensor],
    pixels: Tensor,
    preprocessing: Preprocessing,
    recipe: PatchRecipe,
    *,
    report: Callable[[int, float, float], None] | None = None,
) -> Tensor:
    """Craft a patch with Adam over random images, places and turns; return (3, s, s) in [0, 1], RGB.

    `model` maps normalised inputs (B, 3, H, W) to logits. `pixels` (N, 3, H, W), RGB in [0, 1], are what the patch is
    laid on. `report` is told the iteration, the loss and the share of images fooled in it.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    mask = shape_mask(recipe.shape, recipe.resolution).to(pixels.device)
    start = torch.rand(3, recipe.resolution, recipe.resolution, generator=generator) * 2 - 1
    hidden = start.to(pixels.device).requires_grad_(True)
    optimiser = torch.optim.Adam([hidden], lr=recipe.learning_rate)
    normalise = normaliser(preprocessing, pixels.device)
    with torch.no_grad():
        own = torch.cat([model(normalise(chunk)).argmax(1) for chunk in torch.split(pixels, 32)])
    for iteration in range(recipe.iterations):
        rows = torch.randint(len(pixels), (recipe.batch,), generator=generator).to(pixels.device)
        places = draw_placements(recipe.batch, recipe, generator)
        gain = 1 + (torch.rand(recipe.batch, generator=generator) * 2 - 1) * recipe.light if recipe.light else None
        images, _ = apply_patch(pixels[rows], torch.sigmoid(2 * hidden), mask, places, gain=gain)
        logits = model(normalise(images.clamp(0, 1)))
        if recipe.target is None:
            loss = -F.cross_entropy(logits, own[rows]).clamp_max(10.0)
            fooled = logits.argmax(1) != own[rows]
        else:
            loss = F.cross_entropy(logits, torch.full_like(rows, recipe.target))
            fooled = logits.argmax(1) == recipe.target
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if report is not None:
            report(iteration + 1, float(loss.detach()), float(fooled.float().mean()))
    return torch.sigmoid(2 * hidden).detach() * mask


def normaliser(preprocessing: Preprocessing, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """Return the map from RGB in [0, 1], (B, 3, H, W), to the model's inputs."""
    mean = torch.tensor(preprocessing.mean, device=device).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(3, 1, 1)
    gain = 255.0 / preprocessing.scale
    swap = preprocessing.order == "bgr"

    def normalise(rgb: Tensor) -> Tensor:
        return ((rgb.flip(1) if swap else rgb) * gain - mean) / std

    return normalise
