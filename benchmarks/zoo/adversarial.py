"""What adversarial training is trained on: pictures attacked as they come.

`fast` is FGSM from a random start on the network itself (Wong, Rice, Kolter, Fast Is Better Than Free, ICLR 2020).
`ensemble` attacks each batch on the network itself or on one of several that stay as they are (Tramer et al., Ensemble
Adversarial Training, ICLR 2018), half of its pictures left benign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.signs.evaluate import normalised
from benchmarks.zoo.checkpoint import averaged_network
from benchmarks.zoo.pictures import DATASETS
from benchmarks.zoo.recipes import Recipe, recipe_of
from taintwatch_models.errors import UsageError

__all__ = ["OTHERS", "attack_of", "ensemble_attack", "fast_attack"]

OTHERS = ("signs_vgg", "signs_vgg_occluded")
"""Whose FGSM ensemble adversarial training is trained on, beside its own."""

Classify = Callable[[nn.Module, Tensor], Tensor]
"""From a network and pictures in [0, 1] to logits."""


def fast_attack(classify: Classify, network: nn.Module, pictures: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return pictures (B, 3, H, W) in [0, 1] within eps of their own: a step of 1.25 eps from a random start."""
    start = (2 * torch.rand(pictures.shape) - 1) * eps
    leaf = (pictures + start).clamp(0, 1).requires_grad_(True)
    (slope,) = torch.autograd.grad(F.cross_entropy(classify(network, leaf), labels), leaf)
    moved = leaf.detach() + 1.25 * eps * slope.sign()
    return (pictures + (moved - pictures).clamp(-eps, eps)).clamp(0, 1)


def ensemble_attack(
    classify: Classify, network: nn.Module, others: Sequence[nn.Module], pictures: Tensor, labels: Tensor, eps: float
) -> Tensor:
    """Return the pictures with the second half attacked by FGSM: on the network itself, or on one of `others`."""
    half = len(pictures) // 2
    chosen = int(torch.randint(len(others) + 1, ()))
    attacked = others[chosen] if chosen < len(others) else network
    leaf = pictures[half:].clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(F.cross_entropy(classify(attacked, leaf), labels[half:]), leaf)
    return torch.cat([pictures[:half], (pictures[half:] + eps * slope.sign()).clamp(0, 1)])


def attack_of(recipe: Recipe, work: Path, classes: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor] | None:
    """Return what attacks a batch of that recipe, from network, pictures and labels; None: nothing does.

    Raises `UsageError` where a network that it is attacked on is not in `work`.
    """
    if recipe.adversarial is None:
        return None
    dataset = DATASETS[recipe.dataset]

    def classify(network: nn.Module, pictures: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits: Tensor = network(normalised(pictures, dataset.mean, dataset.std))
            return logits.float()

    if recipe.adversarial == "fast":
        return lambda network, pictures, labels: fast_attack(classify, network, pictures, labels, recipe.eps)
    missing = [name for name in OTHERS if not (work / f"{name}.pt").is_file()]
    if missing:
        raise UsageError(
            f"{work / missing[0]}.pt is missing: train {missing[0]} first, this one is trained against it."
        )
    others = [averaged_network(recipe_of(name), work / f"{name}.pt", classes) for name in OTHERS]
    return lambda network, pictures, labels: ensemble_attack(classify, network, others, pictures, labels, recipe.eps)
