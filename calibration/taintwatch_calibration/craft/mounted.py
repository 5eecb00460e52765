"""Patches for one known mount: crafted on frames of the scene they will be seen in, at their place in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from taintwatch_calibration.camera_model.variation import CameraVariation, simulate_camera
from taintwatch_calibration.craft.patch import PlacementBatch, apply_patch, normaliser, shape_mask
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["MountedRecipe", "Views", "craft_mounted"]


LEAD = 14.0
"""Logits by which the wanted label should lead: cross-entropy stops pulling long before print and film are survived."""


@dataclass(frozen=True, slots=True)
class MountedRecipe:
    """How a patch is crafted; what varies from step to step is what the print and the camera will change."""

    target: int | None
    """The label to be seen; None: any but the sign's."""
    iterations: int = 300
    batch: int = 24
    learning_rate: float = 0.06
    resolution: int = 32
    """Side of the crafted pattern, pixels; about what the classifier's input can resolve of it."""
    rotation_degrees: float = 5.0
    shift: float = 0.02
    """Largest error of the mount, as a share of the picture's side."""
    scale: float = 0.06
    """Largest relative error of its size."""
    light: float = 0.2
    """Largest relative change of brightness, of the patch against its scene and of the whole picture."""
    blur: float = 0.8
    """Largest standard deviation of the blur, pixels of the classifier's input."""
    noise: float = 0.02
    """Largest standard deviation of the noise, of 1."""
    ink: tuple[float, float] = (0.06, 0.94)
    """Darkest and brightest value that a printer is trusted with."""
    smoothness: float = 0.02
    """Weight of the total variation: what survives printing is smooth (Sharif et al., 2016)."""
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Frames without the patch, and where it would lie in each."""

    pixels: Tensor
    """(N, 3, H, W), RGB in [0, 1], as the classifier sees them."""
    x: Tensor
    y: Tensor
    """(N,): the patch's centre, in [-1, 1] of the picture."""
    size: Tensor
    """(N,): its side, as a share of the picture's."""


def craft_mounted(
    model: Callable[[Tensor], Tensor],
    views: Views,
    source: int,
    preprocessing: Preprocessing,
    recipe: MountedRecipe,
    *,
    report: Callable[[int, float, float], None] | None = None,
) -> Tensor:
    """Craft with Adam and return (3, s, s) in [0, 1], RGB.

    `model` maps normalised inputs (B, 3, H, W) to logits; `source` is the label without the patch. `report` is told
    the iteration, the loss and the share of pictures fooled in it. Expectation over transformation (Athalye, 2018).
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    mask = shape_mask("square", recipe.resolution)
    hidden = (torch.rand(3, recipe.resolution, recipe.resolution, generator=generator) * 2 - 1).requires_grad_(True)
    optimiser = torch.optim.Adam([hidden], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.iterations, recipe.learning_rate / 20)
    normalise = normaliser(preprocessing)
    film = CameraVariation(recipe.light, recipe.blur, recipe.noise)
    for iteration in range(recipe.iterations):
        rows = torch.randint(len(views.pixels), (recipe.batch,), generator=generator)
        patch = _inked(hidden, recipe)
        gain = 1 + _spread(recipe.batch, recipe.light / 2, generator)
        images, _ = apply_patch(views.pixels[rows], patch, mask, _mounts(views, rows, recipe, generator), gain=gain)
        logits = model(normalise(simulate_camera(images, film, generator)))
        loss, fooled = _objective(logits, source, recipe.target)
        loss = loss + recipe.smoothness * _total_variation(patch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if report is not None:
            report(iteration + 1, float(loss.detach()), float(fooled.float().mean()))
    return _inked(hidden, recipe).detach()


def _inked(hidden: Tensor, recipe: MountedRecipe) -> Tensor:
    low, high = recipe.ink
    return low + (high - low) * torch.sigmoid(2 * hidden)


def _mounts(views: Views, rows: Tensor, recipe: MountedRecipe, generator: torch.Generator) -> PlacementBatch:
    count = len(rows)
    angle = _spread(count, recipe.rotation_degrees * torch.pi / 180, generator)
    x = views.x[rows] + _spread(count, 2 * recipe.shift, generator)
    y = views.y[rows] + _spread(count, 2 * recipe.shift, generator)
    return PlacementBatch(x, y, views.size[rows] * (1 + _spread(count, recipe.scale, generator)), angle)


def _objective(logits: Tensor, source: int, target: int | None) -> tuple[Tensor, Tensor]:
    """Return the loss and which pictures are fooled: the wanted logit should lead by `LEAD`, then it is enough."""
    label = logits.argmax(1)
    if target is None:
        others = logits.index_fill(1, torch.tensor([source]), -torch.inf)
        return (logits[:, source] - others.amax(1)).clamp_min(-LEAD).mean(), label != source
    others = logits.index_fill(1, torch.tensor([target]), -torch.inf)
    return (others.amax(1) - logits[:, target]).clamp_min(-LEAD).mean(), label == target


def _spread(count: int, limit: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * limit


def _total_variation(patch: Tensor) -> Tensor:
    return (patch[:, 1:] - patch[:, :-1]).abs().mean() + (patch[:, :, 1:] - patch[:, :, :-1]).abs().mean()
