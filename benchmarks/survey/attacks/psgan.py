"""PS-GAN (Liu et al., Perceptual-Sensitive GAN for Generating Adversarial Patches, AAAI 2019).

A generator turns a seed patch (a scrawl) into one like it that fools; a discriminator tells pictures with the seed from
pictures with what was made; the patch lies where the network's attention is. The objective, equation (5):

    min_G max_D  L_GAN + lambda L_patch + gamma L_adv
    L_GAN = log D(x + seed) + log(1 - D(x + G(seed))),  L_patch = |G(seed) - seed|_2,  L_adv = log P(own | x + G(seed))

Two players are no single objective over values in [0, 1]: this is the one printed attack with a loop of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.survey.attacks.base import Attacked, Printed, Scale
from benchmarks.survey.attacks.features import attention
from benchmarks.survey.attacks.scrawls import scrawls
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.placement import Placement, PlacementBatch, apply_patch

__all__ = ["PatchGenerator", "attended_places", "generator_loss", "patch_gan"]

SIDE, SIZE = 32, 0.25
"""Pixels of a patch, and its side as a share of the picture's."""
_TOGETHER = 24


class PatchGenerator(nn.Module):
    """Patch to patch, (B, 3, 32, 32) in [0, 1]: the seed and a change of it, so that training begins at the seed."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(width, 3, 3, padding=1),
        )  # fmt: skip

    def forward(self, seeds: Tensor) -> Tensor:
        made: Tensor = torch.sigmoid(torch.logit(seeds.clamp(0.02, 0.98)) + self.change(seeds))
        return made


def _discriminator(width: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weights:
    """Of equation (5), on means over pixels: chosen so that the patch stays a scrawl and still fools."""

    patch: float = 0.02
    adversarial: float = 1.0
    gan: float = 0.1


def generator_loss(made: Tensor, seeds: Tensor, told: Tensor, logits: Tensor, own: Tensor, weights: Weights) -> Tensor:
    """Return what the generator minimises. `told` (B, 1): the discriminator's logits of the patched pictures.

    -log D(x + G(seed)) in place of log(1 - D): the same fixed point, with a slope at the beginning (Goodfellow, 2014).
    """
    gan = F.binary_cross_entropy_with_logits(told, torch.ones_like(told))
    patch = (made - seeds).flatten(1).norm(dim=1).mean()
    adversarial = logits.log_softmax(1).gather(1, own[:, None]).clamp_min(-10).mean()
    loss: Tensor = weights.gan * gan + weights.patch * patch + weights.adversarial * adversarial
    return loss


def attended_places(subject: Subject, pictures: Tensor, own: Tensor, size: float = SIZE) -> PlacementBatch:
    """Return where Grad-CAM of the own label is largest, averaged over the patch's window, for each picture."""
    saliency = attention(subject.model, subject.normalise(pictures), own).detach()
    height, width = saliency.shape[1:]
    window = [max(1, round(size * extent)) for extent in (height, width)]
    mean = F.avg_pool2d(saliency[:, None], window, stride=1)[:, 0]
    best = mean.flatten(1).argmax(1)
    rows, columns = best // mean.shape[2], best % mean.shape[2]
    y = (rows + window[0] / 2) / height * 2 - 1
    x = (columns + window[1] / 2) / width * 2 - 1
    room = 1 - size
    zeros = torch.zeros(len(pictures))
    return PlacementBatch(x.clamp(-room, room), y.clamp(-room, room), zeros + size, zeros)


def patch_gan(subject: Subject, scale: Scale, weights: Weights | None = None) -> Attacked:
    """Train the generator on pictures to craft on; show what it makes of unseen scrawls on the test pictures."""
    weights = weights or Weights()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scale.seed)
        generator, discriminator = PatchGenerator(), _discriminator()
    pictures = subject.to_craft_on()
    places = attended_places(subject, pictures.pixels, pictures.own)
    mask, seeds = torch.ones(_TOGETHER, 1, SIDE, SIDE), scrawls(64, SIDE, scale.seed)
    rng = torch.Generator().manual_seed(scale.seed)
    players = [torch.optim.Adam(net.parameters(), 1e-3, betas=(0.5, 0.999)) for net in (generator, discriminator)]
    for _ in range(scale.of(250)):
        rows = torch.randint(len(pictures), (_TOGETHER,), generator=rng)
        seed = seeds[torch.randint(len(seeds), (_TOGETHER,), generator=rng)]
        made, own = generator(seed), pictures.own[rows]
        fake, _ = apply_patch(pictures.pixels[rows], made, mask, places.rows(rows))
        real, _ = apply_patch(pictures.pixels[rows], seed, mask, places.rows(rows))
        told = torch.cat([discriminator(real), discriminator(fake.detach())])
        wanted = torch.cat([torch.ones(_TOGETHER, 1), torch.zeros(_TOGETHER, 1)])
        _step(players[1], F.binary_cross_entropy_with_logits(told, wanted))
        loss = generator_loss(made, seed, discriminator(fake), subject.logits(fake), own, weights)
        _step(players[0], loss)
    return _show_pattern(subject, scale, generator)


def _step(player: torch.optim.Optimizer, loss: Tensor) -> None:
    player.zero_grad(set_to_none=True)
    loss.backward()
    player.step()


@torch.no_grad()
def _show_pattern(subject: Subject, scale: Scale, generator: PatchGenerator) -> Attacked:
    chosen = subject.to_attack(scale.pictures)
    seeds = scrawls(len(chosen), SIDE, scale.seed + 1)
    with torch.enable_grad():
        places = attended_places(subject, chosen.pixels, chosen.own)
    made, mask = generator(seeds), torch.ones(len(seeds), 1, SIDE, SIDE)
    attacked, _ = apply_patch(chosen.pixels, made, mask, places)
    plain, _ = apply_patch(chosen.pixels, seeds, mask, places)
    distance = float((made - seeds).flatten(1).norm(dim=1).mean())
    return Attacked(
        as_pixels(chosen.pixels), as_pixels(attacked), chosen.own, None,
        Printed(made[0], mask[0], Placement((None,), (SIZE,), rotation_degrees=0.0)), as_pixels(plain),
        {"patch_l2_from_seed": round(distance, 3)},
    )  # fmt: skip
