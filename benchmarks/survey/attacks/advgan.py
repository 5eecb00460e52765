"""AdvGAN (Xiao et al., Generating Adversarial Examples with Adversarial Networks, IJCAI 2018).

A generator makes a picture's change in one pass; a discriminator tells changed pictures from real ones:

    L = L_adv + alpha L_GAN + beta L_hinge,   L_hinge = E max(0, |G(x)|_2 - c),   L_GAN = E log D(x) + E log(1 - D(x +
    G(x)))

L_adv is Carlini and Wagner's on the logits (semi-white-box: the network is needed for training alone). As in the
authors' code a change is at most eps in each value, and L_GAN is the least squares one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.survey.attacks.base import Attacked, Scale
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.losses import lead

__all__ = ["AdvGanWeights", "ChangeGenerator", "adversarial_gan", "generator_loss", "hinge"]


@dataclass(frozen=True, slots=True)
class AdvGanWeights:
    """Of the terms, and the bounds of a change, in pixels of [0, 1]."""

    gan: float = 1.0
    hinge: float = 1.0
    length: float = 3.0
    """c: a change of this length costs nothing."""
    eps: float = 16 / 255


class ChangeGenerator(nn.Module):
    """(B, 3, S, S) in [0, 1] to a change of it in [-eps, eps], S a multiple of 4: encoder, two residuals, decoder."""

    def __init__(self, eps: float, width: int = 16) -> None:
        super().__init__()
        self.eps = eps
        self.down = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * width, 3 * width, 4, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.middle = nn.ModuleList(nn.Conv2d(3 * width, 3 * width, 3, padding=1) for _ in range(2))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(3 * width, 2 * width, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self.down(pictures)
        for layer in self.middle:
            maps = maps + torch.relu(layer(maps))
        change: Tensor = self.eps * self.up(maps)
        return change


def hinge(change: Tensor, length: float) -> Tensor:
    """Return max(0, |G(x)|_2 - c), (B,)."""
    over: Tensor = change.flatten(1).norm(dim=1) - length
    return over.clamp_min(0)


def generator_loss(change: Tensor, told: Tensor, logits: Tensor, own: Tensor, weights: AdvGanWeights) -> Tensor:
    """Return what the generator minimises; `told` (B, 1): the discriminator's values of changed pictures."""
    adversarial = lead(logits, own, None, enough=2.0).mean()
    return adversarial + weights.gan * (told - 1).square().mean() + weights.hinge * hinge(change, weights.length).mean()


def adversarial_gan(subject: Subject, scale: Scale, weights: AdvGanWeights | None = None) -> Attacked:
    """Train on pictures to craft on; change the test pictures in one pass each, untargeted."""
    weights = weights or AdvGanWeights(length=3.0 * subject.side / 64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scale.seed)
        generator = ChangeGenerator(weights.eps)
        discriminator = nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(32, 1, 4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
    pictures, rng = subject.to_craft_on(), torch.Generator().manual_seed(scale.seed)
    players = [torch.optim.Adam(net.parameters(), 1e-3) for net in (generator, discriminator)]
    for _ in range(scale.of(250)):
        rows = torch.randint(len(pictures), (24,), generator=rng)
        real, own = pictures.pixels[rows], pictures.own[rows]
        change = generator(real)
        fake = (real + change).clamp(0, 1)
        told = discriminator(fake.detach()).square().mean() + (discriminator(real) - 1).square().mean()
        _step(players[1], told)
        _step(players[0], generator_loss(change, discriminator(fake), subject.logits(fake), own, weights))
    chosen = subject.to_attack(scale.pictures)
    with torch.no_grad():
        made = (chosen.pixels + generator(chosen.pixels)).clamp(0, 1)
    return Attacked(as_pixels(chosen.pixels), as_pixels(made), chosen.own)


def _step(player: torch.optim.Optimizer, loss: Tensor) -> None:
    player.zero_grad(set_to_none=True)
    loss.backward()
    player.step()
