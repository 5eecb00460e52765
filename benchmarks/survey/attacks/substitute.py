"""PBBA (Papernot et al., Practical Black-Box Attacks against Machine Learning, AsiaCCS 2017).

The attacked network is asked for labels alone. A substitute of another architecture is trained on them, its training
set doubled round by round along the sign of its Jacobian (Algorithm 1):

    S <- S + {x + lambda sgn(J_F[O(x)]) : x in S}

FGSM on the substitute is then shown to the attacked network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.survey.attacks.base import Attacked, Scale
from benchmarks.survey.subject import Subject, as_pixels

__all__ = ["augmented", "fgsm", "substitute_network", "transferred_fgsm"]

_ROUNDS, _STEP, _LARGEST = 3, 0.1, 1600


def substitute_network(classes: int, width: int = 24) -> nn.Module:
    """Return a small network of its own kind, (B, 3, S, S) in [0, 1] to logits."""
    layers: list[nn.Module] = []
    for before, after in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64 * width, classes))


def augmented(network: Callable[[Tensor], Tensor], pictures: Tensor, labels: Tensor, step: float) -> Tensor:
    """Return x + lambda sgn(dF_label/dx) for pictures (N, 3, S, S), in [0, 1]."""
    leaf = pictures.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(network(leaf).gather(1, labels[:, None]).sum(), leaf)
    return (pictures + step * slope.sign()).clamp(0, 1)


def fgsm(network: Callable[[Tensor], Tensor], pictures: Tensor, own: Tensor, eps: float) -> Tensor:
    """Return the fast gradient sign pictures (Goodfellow et al., 2015), in [0, 1]."""
    leaf = pictures.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(F.cross_entropy(network(leaf), own), leaf)
    return (pictures + eps * slope.sign()).clamp(0, 1)


def transferred_fgsm(subject: Subject, scale: Scale, eps: float = 32 / 255) -> Attacked:
    """Train the substitute from the pictures to craft on, and transfer; untargeted."""
    pictures = subject.to_craft_on(150).pixels
    labels = _ask(subject, pictures)
    queries = len(pictures)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scale.seed)
        network = substitute_network(subject.radar.info.classes)
        for round_ in range(_ROUNDS + 1):
            _fit(network, pictures, labels, scale.of(10))
            if round_ < _ROUNDS and len(pictures) < _LARGEST:
                more = augmented(network.eval(), pictures, labels, _STEP if round_ % 2 == 0 else -_STEP)
                pictures, labels = torch.cat([pictures, more]), torch.cat([labels, _ask(subject, more)])
                queries += len(more)
    chosen = subject.to_attack(scale.pictures)
    network.eval()
    with torch.no_grad():
        agreement = float((network(chosen.pixels).argmax(1) == chosen.own).float().mean())
    made = fgsm(network, chosen.pixels, chosen.own, eps)
    return Attacked(
        as_pixels(chosen.pixels), as_pixels(made), chosen.own,
        more={"queries": queries, "substitute_agrees": round(agreement, 4), "eps": round(eps, 4)},
    )  # fmt: skip


def _ask(subject: Subject, pictures: Tensor) -> Tensor:
    return torch.from_numpy(subject.labels_of(as_pixels(pictures)))


def _fit(network: nn.Module, pictures: Tensor, labels: Tensor, epochs: int) -> None:
    network.train()
    adam = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(pictures)).split(64):
            if len(rows) < 2:  # batch norm needs two
                continue
            adam.zero_grad(set_to_none=True)
            F.cross_entropy(network(pictures[rows]), labels[rows]).backward()
            adam.step()
