"""Defense-GAN: how far a picture is from all that a generator of benign pictures can make.

Source: Samangouei, Kabkab, Chellappa, Defense-GAN: Protecting Classifiers Against Adversarial Attacks Using Generative
Models, ICLR 2018. A generator G is trained on benign pictures; of a picture x, `z* = argmin |G(z) - x|^2` by L steps of
gradient descent from each of R starts (their Algorithm: L = 200, R = 10, step 10, momentum 0.7). The classifier is
given G(z*); for detection `|G(z*) - x|^2` is compared with a threshold (their section 4.3).

The score is that squared distance, the mean over values. `labels` is the classifier's answer to G(z*).

Deviations: a small DCGAN (Radford et al., 2016) with spectral normalisation (Miyato et al., 2018) and averaged weights
in place of a Wasserstein GAN with five steps of the critic for each of the generator; 64 latent values; at most 32
pixels a side, larger pictures are reduced; the R starts are the same for all pictures, so that a picture's score does
not depend on its company.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import fitting_classifier
from benchmarks.peers.training import descend, planes, torch_threads, training
from taintwatch_models.radar_file import RadarFile

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["DefenseGan", "generator", "project", "train_generator"]

_LEAST, _LATENT, _BATCH, _SIDE = 8, 64, 64, 32
_STEPS, _ITERATIONS, _RESTARTS = 1500, 100, 4
_RATE, _DESCENT, _MOMENTUM = 5e-4, 10.0, 0.7
_CHUNK = 100


class DefenseGan:
    """The mean squared distance of a picture from the nearest that the generator makes."""

    name = "defense_gan"
    forwards = 1

    def __init__(
        self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0, steps: int = _STEPS,
        iterations: int = _ITERATIONS, restarts: int = _RESTARTS,
    ) -> None:  # fmt: skip
        """Train the generator. `iterations`: L; `restarts`: R. Raises `UsageError`: fewer than 8 pictures."""
        self._classifier = fitting_classifier(self.name, radar, benign, least=_LEAST, threads=threads)
        self._threads, self._iterations, self._restarts = threads, iterations, restarts
        with torch_threads(threads):
            self._generator = train_generator(_reduced(planes(benign)).numpy(), steps=steps, seed=seed)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,)."""
        return self._nearest(pixels)[1].numpy().astype(np.float64)

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels of the nearest pictures that the generator makes, (N,)."""
        from torch.nn.functional import interpolate

        made = self._nearest(pixels)[0]
        large = interpolate(made, size=pixels.shape[1:3], mode="bilinear", align_corners=False) if len(made) else made
        again = large.permute(0, 2, 3, 1).numpy() * np.float32(255)
        return np.asarray(self._classifier.probabilities(again.reshape(pixels.shape)).argmax(axis=1), np.int64)

    def _nearest(self, pixels: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        self._classifier.check(pixels)
        with torch_threads(self._threads):
            return project(
                self._generator, _reduced(planes(pixels)), iterations=self._iterations, restarts=self._restarts
            )


def generator(channels: int, side: int, width: int = 32) -> nn.Module:
    """Return the network from (B, 64) latent values to pictures (B, channels, side, side) in [0, 1].

    `side` is divisible by 4.
    """
    from torch import nn

    cells = side // 4
    return nn.Sequential(
        nn.Linear(_LATENT, 2 * width * cells * cells, bias=False),
        nn.Unflatten(1, (2 * width, cells, cells)),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, 2, 1),
        nn.Sigmoid(),
    )


def _discriminator(channels: int, side: int, width: int = 32) -> nn.Module:
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    cells = side // 4
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, width, 4, 2, 1)),
        nn.LeakyReLU(0.1),
        spectral_norm(nn.Conv2d(width, 2 * width, 4, 2, 1)),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        spectral_norm(nn.Linear(2 * width * cells * cells, 1)),
    )


def train_generator(
    pictures: NDArray[np.float32], *, steps: int, seed: int = 0,
    report: Callable[[int, float, float], None] = lambda step, real, made: None,
) -> nn.Module:  # fmt: skip
    """Train on benign pictures (N, channels, side, side) in [0, 1]; return the averaged generator.

    `report`: each 250 steps, with the discriminator's mean logit of real pictures and of those made.
    """
    import torch
    from torch.nn.functional import softplus
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    with training(torch.get_num_threads(), seed):
        images = torch.from_numpy(pictures)
        network, judge = (make(*images.shape[1:3]) for make in (generator, _discriminator))
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
        optimisers = [torch.optim.Adam(part.parameters(), _RATE, betas=(0.5, 0.99)) for part in (network, judge)]
        for step in range(1, steps + 1):
            real = judge(images[torch.randint(len(images), (_BATCH,))])
            made = network(torch.randn(_BATCH, _LATENT))
            fake = judge(made.detach())
            descend(optimisers[1], softplus(-real).mean() + softplus(fake).mean())
            descend(optimisers[0], softplus(-judge(made)).mean())
            average.update_parameters(network)
            if step % 250 == 0 or step == steps:
                report(step, float(real.detach().mean()), float(fake.detach().mean()))
        return average.module.eval().requires_grad_(False)


def project(
    network: nn.Module, pictures: Tensor, *, iterations: int = _ITERATIONS, restarts: int = _RESTARTS
) -> tuple[Tensor, Tensor]:
    """Return the nearest pictures that `network` makes, (N, channels, side, side), and how far they are, (N,).

    Gradient descent with momentum on the mean squared difference; the step is a tenth of itself in the last fifth.
    """
    import torch

    starts = torch.randn(restarts, _LATENT, generator=torch.Generator().manual_seed(0))
    found = [
        _descended(network, chunk, starts, iterations) for chunk in torch.split(pictures, _CHUNK) if len(chunk)
    ] or [(pictures, pictures.new_zeros(0))]
    made, distances = (torch.cat(parts) for parts in zip(*found, strict=True))
    return made, distances


def _descended(network: nn.Module, pictures: Tensor, starts: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    import torch

    wanted = pictures.repeat_interleave(len(starts), 0)  # (N * R, channels, side, side)
    latent = starts.repeat(len(pictures), 1).requires_grad_(True)
    optimiser = torch.optim.SGD([latent], _DESCENT, momentum=_MOMENTUM)
    for iteration in range(iterations):
        optimiser.param_groups[0]["lr"] = _DESCENT * (0.1 if iteration >= 0.8 * iterations else 1.0)
        descend(optimiser, (network(latent) - wanted).square().mean((1, 2, 3)).sum())
    with torch.no_grad():
        made = network(latent)
        distances = (made - wanted).square().mean((1, 2, 3)).view(len(pictures), len(starts))
    best = distances.argmin(1)
    rows = torch.arange(len(pictures))
    return made.view(len(pictures), len(starts), *pictures.shape[1:])[rows, best], distances[rows, best]


def _reduced(pictures: Tensor) -> Tensor:
    """Return (N, 3, H, W) as (N, 3, side, side), at most 32 pixels a side, divisible by 4."""
    from torch.nn.functional import interpolate

    side = min(_SIDE, *(length // 4 * 4 for length in pictures.shape[2:]))
    return interpolate(pictures, size=(side, side), mode="area") if len(pictures) else pictures[:, :, :side, :side]
