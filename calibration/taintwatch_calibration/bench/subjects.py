"""What is evaluated: a prepared classifier, and its pictures in four parts that share none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.craft.materials import Labelled, classify, differentiable, find_label, read_pictures
from taintwatch_calibration.grid.parts import Parts, split
from taintwatch_models.calibration_file import TightCalibration
from taintwatch_models.errors import UsageError
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["EYES", "Subject", "Trigger", "from_folder", "parted", "right"]

Trigger = Callable[[NDArray[np.uint8], int], tuple[NDArray[np.uint8], NDArray[np.bool_]]]
"""From pixels (N, height, width, 3) and a seed to the same with the backdoor's trigger, and where it is (N, h, w)."""

EYES = (0.31, 0.69, 0.41)
"""Where the pupils of an aligned face are: columns and row, as shares."""
_TEST_IMAGES = 200
_BENIGN = 1000
"""Pictures of each benign part at most: 1% of them are ten."""
_LEAST = 40


@dataclass(eq=False)
class Subject:
    """One model under evaluation."""

    name: str
    radar: RadarFile
    parts: Parts
    target: int
    """The label that targeted attacks show."""
    tight: TightCalibration = field(default_factory=TightCalibration)
    """How `tight` thresholds and fills; its threshold and weights are chosen on the calibration part."""
    trigger: Trigger | None = None
    faces: bool = False
    """The pictures are aligned faces: eyeglasses are crafted instead of stickers."""
    eyes: tuple[float, ...] = EYES
    about: str = ""
    """One sentence on where model and pictures come from."""

    @property
    def craft(self) -> Labelled:
        return self.parts.craft

    @property
    def test_images(self) -> Labelled:
        return self.parts.test_images

    @property
    def preprocessing(self) -> Preprocessing:
        return self.radar.info.preprocessing

    @cached_property
    def plain(self) -> OnnxRadar:
        """The classifier alone."""
        return OnnxRadar(self.radar, (), session=SessionSettings(threads=1, device="cpu"))

    @cached_property
    def fingerprint(self) -> str:
        """Tells the model and what it is attacked on from all others."""
        digest = hashlib.sha256(self.radar.info.source_sha256.encode())
        for part in (self.parts.craft, self.parts.test_images):
            digest.update(part.pixels.tobytes())
        return digest.hexdigest()

    @cached_property
    def benign_fingerprint(self) -> str:
        """Tells what detectors are calibrated and held to."""
        digest = hashlib.sha256(self.radar.info.source_sha256.encode())
        for part in (self.parts.calibrate, self.parts.held_out):
            digest.update(part.pixels.tobytes())
        return digest.hexdigest()

    def differentiable(self) -> TorchGraph:
        """Return the classifier as a Torch module with frozen weights."""
        return differentiable(self.radar)


def right(radar: RadarFile, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Labelled:
    """Return those pictures (N, height, width, 3), in the model's channel order, that the classifier gets right.

    Raises `UsageError` where it gets none right.
    """
    seen = classify(OnnxRadar(radar, (), session=SessionSettings(threads=1, device="cpu")), pixels)
    rows = np.flatnonzero(seen == labels)
    if not len(rows):
        raise UsageError(f"{radar.info.name}: the classifier gets not one of {len(pixels)} pictures right")
    names = tuple(str(row) for row in rows)
    return Labelled(pixels[rows], labels[rows], names, wrong=len(pixels) - len(rows))


def parted(
    pictures: Labelled, craft: Labelled, *, seed: int = 0, test_images: int = _TEST_IMAGES, craft_on: int = 300
) -> Parts:
    """Split at random: `test_images` to attack, the others halved to calibrate and to hold out.

    `craft` are other pictures (of a training set): at most `craft_on` of them are kept. Raises `UsageError` for
    too few.
    """
    order = np.random.default_rng(seed).permutation(len(pictures))
    test_images = min(test_images, len(order) // 3)
    if test_images < _LEAST or not len(craft):
        raise UsageError(
            f"the evaluation needs at least {3 * _LEAST} pictures that the classifier gets right, and some to craft "
            f"on; there are {len(order)} and {len(craft)}"
        )
    attacked, rest = order[:test_images], order[test_images:]
    half = min(len(rest) // 2, _BENIGN)
    learn = np.random.default_rng([seed, 1]).permutation(len(craft))[:craft_on]
    parts = (pictures.subset(rows) for rows in (rest[:half], rest[half : half + _BENIGN], attacked))
    return Parts(craft.subset(learn), *parts)


def from_folder(name: str, radar: RadarFile, images: Path, target: str, *, seed: int = 0, about: str = "") -> Subject:
    """Return a subject of labelled pictures in a folder (see `read_pictures`), a quarter for each part."""
    pictures = read_pictures(images, radar)
    label = find_label(target, radar.info.labels)
    return Subject(name, radar, split(pictures, label, seed), label, about=about)
