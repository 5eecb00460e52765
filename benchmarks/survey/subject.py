"""A network of the survey, with pictures to learn from, to craft on and to attack that share none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.craft.materials import classify, differentiable
from taintwatch_calibration.craft.physical import Pictures, normaliser
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["Pixels", "Subject", "as_pixels", "as_tensor", "split_subject"]

SITE, HELD_OUT, CRAFT = 300, 300, 200

Pixels = NDArray[np.uint8]
"""(N, H, W, 3), RGB, as the network sees them."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One network under attack."""

    name: str
    radar: RadarFile
    site: Pixels
    """What a detector learns from: benign, right or wrong."""
    held_out: Pixels
    held_out_truth: NDArray[np.int64]
    craft: Pixels
    """To craft on; the network gets them right."""
    craft_truth: NDArray[np.int64]
    test: Pixels
    """To show attacks on; the network gets them right, and none shows the target."""
    truth: NDArray[np.int64]
    target: int
    zoo: Path
    """Where the networks of the zoo are."""
    data: Path

    @property
    def preprocessing(self) -> Preprocessing:
        return self.radar.info.preprocessing

    @property
    def side(self) -> int:
        return self.preprocessing.size[0]

    @cached_property
    def model(self) -> TorchGraph:
        """The network with Torch."""
        return differentiable(self.radar)

    @cached_property
    def normalise(self) -> Callable[[Tensor], Tensor]:
        """From RGB in [0, 1] to the network's inputs."""
        return normaliser(self.preprocessing)

    @cached_property
    def plain(self) -> OnnxRadar:
        """The network alone, as the product runs it."""
        return OnnxRadar(self.radar, (), session=SessionSettings(threads=1))

    def labels_of(self, pixels: Pixels) -> NDArray[np.int64]:
        """Return the labels that the product sees, (N,)."""
        return classify(self.plain, pixels)

    def logits(self, rgb: Tensor) -> Tensor:
        """Return the logits of RGB in [0, 1], (B, 3, H, W); differentiable."""
        logits: Tensor = self.model(self.normalise(rgb))
        return logits

    def to_craft_on(self, most: int = CRAFT, *, but: int | None = None) -> Pictures:
        """Return pictures to craft on, none of the label `but`."""
        rows = np.flatnonzero(self.craft_truth != (-1 if but is None else but))[:most]
        return Pictures(as_tensor(self.craft[rows]), torch.from_numpy(self.craft_truth[rows]))

    def to_attack(self, most: int) -> Pictures:
        """Return the first test pictures."""
        return Pictures(as_tensor(self.test[:most]), torch.from_numpy(self.truth[:most]))


def as_tensor(pixels: Pixels) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


def as_pixels(rgb: Tensor) -> Pixels:
    """The other way round, rounded as a camera would."""
    return np.asarray((rgb.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy(), np.uint8)


def split_subject(
    name: str, radar: RadarFile, pictures: tuple[Pixels, NDArray[np.int64]],
    trained: tuple[Pixels, NDArray[np.int64]], target: int, zoo_folder: Path, data: Path, seed: int = 0,
) -> Subject:  # fmt: skip
    """Split the test pictures into those to learn from, for false alarms and to attack; draw some to craft on."""
    plain = OnnxRadar(radar, (), session=SessionSettings(threads=1))
    pixels, labels = pictures
    order = np.random.default_rng(seed).permutation(len(pixels))
    site, held, rest = np.split(order, [min(SITE, len(order) // 3), min(SITE + HELD_OUT, 2 * len(order) // 3)])
    pool = rest[:400]
    right = pool[(classify(plain, pixels[pool]) == labels[pool]) & (labels[pool] != target)][:200]
    crafted = np.random.default_rng(seed + 1).permutation(len(trained[0]))[: 2 * CRAFT]
    good = crafted[classify(plain, trained[0][crafted]) == trained[1][crafted]][:CRAFT]
    return Subject(
        name, radar, pixels[site], pixels[held], labels[held], trained[0][good], trained[1][good], pixels[right],
        labels[right], target, zoo_folder, data,
    )  # fmt: skip
