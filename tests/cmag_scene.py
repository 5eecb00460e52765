"""A tiny classifier with trained reconstructors, and benign and attacked pictures for it: made on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.cmag.pipeline import train_cmag
from taintwatch_calibration.cmag.training import TrainingSettings
from taintwatch_models.cmag.file import CmagFile, write_cmag
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import describe
from taintwatch_models.radar_file import RadarFile
from tests.tiny_model import SIZE, write_model

__all__ = ["CmagScene", "benign_pictures", "frames_of", "make_scene", "noisy", "write_pictures"]


@dataclass(frozen=True)
class CmagScene:
    """Where the model lies, and its reconstructors beside it."""

    model: Path
    radar: RadarFile
    cmag: CmagFile


def benign_pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return smooth coloured slopes, (count, 32, 32, 3), red-green-blue."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    angle, level = rng.uniform(0, 2 * np.pi, count), rng.uniform(80, 170, (count, 1, 1, 3))
    slope = np.cos(angle)[:, None, None] * rows + np.sin(angle)[:, None, None] * columns
    return np.asarray(np.clip(level + 60 * slope[..., None], 0, 255), np.uint8)


def noisy(pictures: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """Return them with a perturbation of +-40 at every value: nothing that a decoder of smooth slopes can rebuild."""
    signs = np.random.default_rng(seed).choice([-40, 40], pictures.shape)
    return np.asarray(np.clip(pictures.astype(np.int64) + signs, 0, 255), np.uint8)


def frames_of(pictures: NDArray[np.uint8], *, footage: bool = False) -> BenignFrames:
    return BenignFrames(pictures, footage, 0, "made-up slopes")


def write_pictures(folder: Path, pictures: NDArray[np.uint8]) -> Path:
    """Write them as PNG files; return `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index:04d}.png"), picture[:, :, ::-1])
    return folder


def make_scene(folder: Path) -> CmagScene:
    """Write a tiny model and train reconstructors for it in a few seconds."""
    model = write_model(folder / "tiny.onnx")
    proto = onnx.load(str(model))
    for node in proto.graph.node:  # the radar graph gives its maps out under the name that the tiny model uses inside
        node.input[:] = ["flat" if name == "features" else name for name in node.input]
        node.output[:] = ["flat" if name == "features" else name for name in node.output]
    onnx.save(proto, str(model))
    radar = prepare(model, describe(model)).radar
    settings = TrainingSettings(epochs=4, batch=32, rate=5e-3)
    trained = train_cmag(radar, frames_of(benign_pictures(320)), size=16, width=8, bottleneck=None, settings=settings)
    write_cmag(trained.file, folder / "tiny.cmag.onnx")
    return CmagScene(model, radar, trained.file)
