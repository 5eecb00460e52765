"""The three data sets that CMAG is measured on: small pictures in [0, 1], split fairly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.signs.dataset import load_tracks, split_by_track
from taintwatch_models.errors import UsageError

__all__ = ["DATASETS", "TrialData", "load_trial_data"]

DATASETS = ("fashion", "gtsrb", "mnist")
"""Fashion-MNIST; GTSRB at 32 x 32; MNIST stretched to each digit's bounding box (harder strokes than the original)."""

_VALIDATION = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class TrialData:
    """Pictures (N, channels, size, size), float32 in [0, 1], and labels (N,), int64."""

    name: str
    classes: int
    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    validation: NDArray[np.float32]
    """Benign pictures kept from all training: for early stopping and for the scale of errors."""
    validation_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def load_trial_data(name: str, folder: Path, *, seed: int = 0) -> TrialData:
    """Read one of `DATASETS` from the measuring data in `folder`. Raises `UsageError` where it is not there."""
    rng = np.random.default_rng(seed)
    if name == "gtsrb":
        return _signs(folder / "signs", rng)
    files = {"fashion": "fashion_mnist.npz", "mnist": "mnist.npz"}
    if name not in files:
        raise UsageError(f"there is no trial data set '{name}'; there are {', '.join(DATASETS)}")
    path = folder / "digits" / files[name]
    if not path.is_file():
        raise UsageError(f"{path} is missing: name the folder with the measuring data")
    with np.load(path, allow_pickle=False) as arrays:
        images, labels = _planes(arrays["train_images"][..., None]), arrays["train_labels"].astype(np.int64)
        test, test_labels = _planes(arrays["test_images"][..., None]), arrays["test_labels"].astype(np.int64)
    order = rng.permutation(len(images))
    kept = int(len(images) * _VALIDATION)
    held, rest = order[:kept], order[kept:]
    return TrialData(
        name, int(labels.max()) + 1, images[rest], labels[rest], images[held], labels[held], test, test_labels
    )


def _signs(folder: Path, rng: np.random.Generator) -> TrialData:
    """GTSRB's own 32 x 32 test pictures; the training crops reduced to the same, whole tracks held out."""
    training, validation = split_by_track(load_tracks(folder), rng, _VALIDATION)
    path = folder / "gtsrb_test_32.npz"
    if not path.is_file():
        raise UsageError(f"{path} is missing: name the folder with the measuring data")
    with np.load(path, allow_pickle=False) as arrays:
        test, test_labels = _planes(arrays["images"]), arrays["labels"].astype(np.int64)
    small = [
        _planes(np.stack([cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA) for image in part.images]))
        for part in (training, validation)
    ]
    order = rng.permutation(len(small[0]))  # tracks come by class: the first few thousand must be of all
    return TrialData(
        "gtsrb", 43, small[0][order], training.labels[order], small[1], validation.labels, test, test_labels
    )  # fmt: skip


def _planes(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, C) uint8 -> (N, C, H, W) float32 in [0, 1]."""
    return np.ascontiguousarray(np.moveaxis(images, -1, 1), dtype=np.float32) / np.float32(255)
