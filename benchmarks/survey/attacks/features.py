"""What several attacks read of a network: layers, Gram matrices, attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.survey.subject import Subject
from taintwatch_calibration.craft.physical import Model
from taintwatch_models.graph.split import classifier_of
from taintwatch_models.radar_file import RadarFile

__all__ = ["attention", "gram", "layer_maps", "layers_of", "style_loss"]


def layers_of(radar: RadarFile, most: int = 4) -> tuple[str, ...]:
    """Return the names of at most `most` rectified layers, evenly from the first to the last.

    The papers take a VGG that was trained on ImageNet; here the attacked network itself is read.
    """
    _, split = classifier_of(radar)
    names = [node.output[0] for node in split.body if node.op_type in ("Relu", "PRelu", "Clip", "HardSwish")]
    step = max(1, len(names) // most)
    return tuple(names[::step][:most])


def layer_maps(subject: Subject, rgb: Tensor, names: tuple[str, ...]) -> list[Tensor]:
    """Return the maps (B, C, h, w) of RGB in [0, 1]."""
    return subject.model.between(subject.normalise(rgb), names)


def gram(maps: Tensor) -> Tensor:
    """Return the Gram matrix of maps (B, C, h, w) over their size, (B, C, C) (Gatys et al., 2016)."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


def style_loss(maps: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Return the squared distance of the Gram matrices of `maps` to `wanted`, (B,), summed over layers.

    Each layer's is divided by the squared length of what is wanted, so that no layer rules by its scale.
    """
    total = maps[0].new_zeros(len(maps[0]))
    for made, matrix in zip(maps, wanted, strict=True):
        distance = (gram(made) - matrix).flatten(1).square().sum(1)
        total = total + distance / matrix.flatten(1).square().sum(1).mean().clamp_min(1e-20)
    return total


def attention(model: Model, inputs: Tensor, label: Tensor) -> Tensor:
    """Return Grad-CAM's map of `label` (B,), (B, h, w), at least 0; itself differentiable (Selvaraju et al., 2017)."""
    maps = model.maps(inputs)
    if not maps.requires_grad:
        maps.requires_grad_(True)
    score = model.head(maps).gather(1, label[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, maps, create_graph=True)
    return F.relu((gradient.mean((2, 3), keepdim=True) * maps).sum(1))
