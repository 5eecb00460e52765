"""What is evaluated: a prepared classifier, and its pictures in four parts that share none."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.bench.split import PictureSplit, split
from taintwatch_calibration.craft.materials import Labelled, classify, differentiable, find_label, read_pictures
from taintwatch_models.calibration_file import TightCalibration
from taintwatch_models.errors import UsageError
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["EYES", "Subject", "from_folder", "right"]

EYES = (0.31, 0.69, 0.41)
"""Where the pupils of an aligned face are: columns and row, as shares."""


@dataclass(eq=False)
class Subject:
    """One model under evaluation."""

    name: str
    radar: RadarFile
    parts: PictureSplit
    target: int
    """The label that targeted attacks show."""
    tight: TightCalibration = field(default_factory=TightCalibration)
    """How `tight` thresholds and fills; its threshold and weights are chosen on the calibration part."""
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
        return self.parts.attacked_digest(self.radar.info.source_sha256)

    @cached_property
    def benign_fingerprint(self) -> str:
        """Tells what detectors are calibrated and held to."""
        return self.parts.benign_digest(self.radar.info.source_sha256)

    def differentiable(self, device: str = "cpu") -> TorchGraph:
        """Return the classifier as a Torch module with frozen weights."""
        return differentiable(self.radar, device)


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


def from_folder(name: str, radar: RadarFile, images: Path, target: str, *, seed: int = 0, about: str = "") -> Subject:
    """Return a subject of labelled pictures in a folder (see `read_pictures`), a quarter for each part."""
    pictures = read_pictures(images, radar)
    label = find_label(target, radar.info.labels)
    return Subject(name, radar, split(pictures, label, seed), label, about=about)
