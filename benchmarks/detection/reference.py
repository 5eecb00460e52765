"""The reference models, each with pictures of the measuring data: bundled, MobileNetV2, faces, the zoo's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import zoo
from benchmarks.signs.bundle import TIGHT
from benchmarks.zoo.trigger import TRIGGER
from taintwatch_calibration.bench.subject_file import SUBJECT_FILE, read_subject
from taintwatch_calibration.bench.subjects import Subject, from_folder, parted, right
from taintwatch_calibration.craft.materials import load_classifier
from taintwatch_models.calibration_file import TightCalibration
from taintwatch_models.errors import UsageError
from taintwatch_models.radar_file import RadarFile

__all__ = ["TRANSFERS", "reference_names", "reference_subject"]

TRANSFERS = {
    "bundled": "signs_vgg",
    "mobilenet_v2": "objects_residual",
    "signs_vgg": "bundled",
    "signs_vgg_occluded": "bundled",
    "signs_backdoor": "bundled",
    "objects_14": "objects_residual",
    "objects_14_occluded": "objects_residual",
    "objects_residual": "objects_14",
    "objects_residual_occluded": "objects_14",
}
"""Whose patch is shown to each model as a transferred one."""

_STOP, _OBJECT = 14, 3
_SIGNS = "GTSRB test pictures that it gets right, 64 px; crafted on training pictures"
_OBJECTS = "Imagenette validation photographs that it gets right, 112 px; crafted on training photographs"


def reference_names() -> tuple[str, ...]:
    """Return the names of the reference models, in the report's order."""
    return ("bundled", "mobilenet_v2", "faces", *zoo.names())


def reference_subject(
    name: str, data: Path, work: Path, *, seed: int = 0, report: Callable[[str], None] = lambda line: None
) -> Subject:
    """Return one of them; a network of the zoo is trained in `work` where it is not there yet.

    `data` is the measuring data's folder. Raises `UsageError` for an unknown name or missing data.
    """
    if name not in reference_names():
        raise UsageError(f"there is no reference model '{name}'; there are {', '.join(reference_names())}")
    if name == "bundled":
        return _of_zoo(name, load_classifier(None), "signs_vgg", data, seed, TIGHT, f"the bundled model; {_SIGNS}")
    if name == "faces":
        folder = work / "faces-subject"
        if not (folder / SUBJECT_FILE).is_file():
            raise UsageError(
                f"{folder} is not there yet: make it with `python -m benchmarks.face_subject --out {folder}`"
            )
        return read_subject(folder)
    if name == "mobilenet_v2":
        path, images = data / "models" / "mobilenet_v2_imagenet.onnx", data / "imagenet"
        if not path.is_file() or not images.is_dir():
            raise UsageError(f"{path} and {images}/ are needed: give the measuring data's folder with --data")
        about = "MobileNetV2 1.0/224; 600 ImageNet photographs, one of each class, a quarter of the right ones each"
        return from_folder(name, load_classifier(str(path)), images, "toaster", seed=seed, about=about)
    path = zoo.load_or_train(name, data, work / "zoo", report=report)
    about = _OBJECTS if name.startswith("objects") else _SIGNS
    return _of_zoo(name, load_classifier(str(path)), name, data, seed, TightCalibration(), f"trained here; {about}")


def _of_zoo(
    name: str, radar: RadarFile, pictures: str, data: Path, seed: int, tight: TightCalibration, about: str
) -> Subject:
    test, training = (
        right(radar, pixels, labels)
        for pixels, labels, _ in (zoo.pictures(pictures, data), _some(zoo.training_pictures(pictures, data), seed))
    )
    trigger = _stamped if name == "signs_backdoor" else None
    target = TRIGGER.target if trigger else _OBJECT if name.startswith("objects") else _STOP
    return Subject(name, radar, parted(test, training, seed=seed), target, tight, trigger, about=about)


def _some(
    pictures: tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]], seed: int, most: int = 600
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    pixels, labels, names = pictures
    rows = np.random.default_rng([seed, 2]).permutation(len(pixels))[:most]
    return pixels[rows], labels[rows], names


def _stamped(pixels: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    stamped = TRIGGER.stamp(pixels, np.random.default_rng(seed))
    return stamped, (stamped != pixels).any(axis=3)
