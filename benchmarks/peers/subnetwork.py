"""A detector subnetwork on the classifier's inner maps.

Source: Metzen, Genewein, Fischer, Bischoff, On Detecting Adversarial Perturbations, ICLR 2017: a small binary network
on the maps of an inner layer, trained on benign pictures and on adversarial ones of them, made against the classifier
(static) or against both (dynamic):

    x <- x + alpha ((1 - sigma) sgn grad J_cls + sigma sgn grad J_det)

within eps. The score is its logit.

Deviations: two convolutions and a pool in place of a ResNet's branch; 6 steps of 4/255 within 8/255 to 16/255; the
classifier is asked with Torch. It has to know the attack: what it was not trained on it need not see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Classifier, fitting_classifier
from benchmarks.peers.training import descend, planes, torch_threads, training
from taintwatch_models.radar_file import RadarFile

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DetectorSubnetwork", "dynamic_step"]

_LEAST, _ROUNDS, _STEPS, _STEP, _EPS = 8, 8, 6, 4 / 255, (4 / 255, 8 / 255, 16 / 255)


class DetectorSubnetwork:
    """The logit of `adversarial` of a binary network on inner maps."""

    forwards = 1

    def __init__(
        self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0, dynamic: bool = False,
        rounds: int = _ROUNDS,
    ) -> None:  # fmt: skip
        """Train it. `dynamic`: against an adversary who knows it. Raises `UsageError`: fewer than 8 pictures."""
        import torch

        self.name = "subnetwork_dynamic" if dynamic else "subnetwork"
        fitting_classifier(self.name, radar, benign, least=_LEAST, threads=threads)
        self._threads, self._dynamic = threads, dynamic
        self._read = _InnerMaps(radar)
        with training(threads, seed):
            self._network = self._built(planes(benign[:2]))
            self._train(planes(benign), rounds, torch.Generator().manual_seed(seed))

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,)."""
        import torch

        self._read.check(pixels)
        with torch_threads(self._threads), torch.no_grad():
            parts = [self._network(self._read(part)[0])[:, 0].numpy() for part in planes(pixels).split(16)]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    def _built(self, examples: Tensor) -> Any:
        import torch
        from torch import nn

        with torch.no_grad():
            channels = self._read(examples)[0].shape[1]
        return nn.Sequential(
            nn.Conv2d(channels, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(2),
            nn.Flatten(), nn.Linear(192, 1),
        )  # fmt: skip

    def _train(self, benign: Tensor, rounds: int, generator: Any) -> None:
        import torch
        import torch.nn.functional as F

        adam = torch.optim.Adam(self._network.parameters(), 1e-3)
        attacked: list[Tensor] = []
        for index in range(rounds // 2 if self._dynamic else rounds):  # a dynamic one is attacked anew each time
            if not attacked or self._dynamic:
                attacked = [self._attacked(part, generator, index > 0) for part in benign.split(32)]
            for part, adversarial in zip(benign.split(32), attacked, strict=True):
                both = torch.cat([part, adversarial])
                wanted = torch.cat([torch.zeros(len(part)), torch.ones(len(part))])
                with torch.no_grad():
                    maps = self._read(both)[0]
                loss = F.binary_cross_entropy_with_logits(self._network(maps)[:, 0], wanted)
                descend(adam, loss)

    def _attacked(self, pictures: Tensor, generator: Any, knows: bool) -> Tensor:
        import torch

        eps = _EPS[int(torch.randint(len(_EPS), (), generator=generator))]
        share = float(torch.rand((), generator=generator)) if self._dynamic and knows else 0.0
        with torch.no_grad():
            own = self._read(pictures)[1].argmax(1)
        made = pictures
        for _ in range(_STEPS):
            moved = dynamic_step(self._read, self._network, made, own, share, _STEP)
            made = (pictures + (moved - pictures).clamp(-eps, eps)).clamp(0, 1)
        return made


def dynamic_step(read: Any, network: Any, pictures: Tensor, own: Tensor, share: float, step: float) -> Tensor:
    """Return pictures moved by `step` of (1 - sigma) sgn grad J_cls + sigma sgn grad J_det; `share` is sigma."""
    import torch
    import torch.nn.functional as F

    leaf = pictures.clone().requires_grad_(True)
    maps, logits = read(leaf)
    (classified,) = torch.autograd.grad(F.cross_entropy(logits, own, reduction="sum"), leaf, retain_graph=share > 0)
    slope = (1 - share) * classified.sign()
    if share:
        told = network(maps)[:, 0]
        (detected,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(told, torch.ones_like(told)), leaf)
        slope = slope + share * detected.sign()
    return pictures + step * slope


class _InnerMaps:
    """From pictures in [0, 1], in the model's channel order, to a middle rectified layer's maps and the logits."""

    def __init__(self, radar: RadarFile) -> None:
        import torch

        from taintwatch_calibration.craft.materials import differentiable
        from taintwatch_models.graph.split import classifier_of

        _, split = classifier_of(radar)
        names = [node.output[0] for node in split.body if node.op_type in ("Relu", "PRelu", "Clip", "HardSwish")]
        self._names = (names[len(names) // 2] if names else "features", "features")
        self._model, self._classifier = differentiable(radar), Classifier(radar)
        preprocessing = radar.info.preprocessing
        self._scale = 255 / preprocessing.scale
        self._mean, self._std = (torch.tensor(v).view(3, 1, 1) for v in (preprocessing.mean, preprocessing.std))

    def check(self, pixels: NDArray[np.uint8]) -> None:
        self._classifier.check(pixels)

    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        middle, last = self._model.between((pictures * self._scale - self._mean) / self._std, self._names)
        return middle, self._model.head(last)
