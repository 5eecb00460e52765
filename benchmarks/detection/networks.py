"""The networks that detection is measured on, each with its pictures in parts that share none."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import zoo
from benchmarks.zoo.imagenette import NETWORKS as IMAGENETTE
from benchmarks.zoo.imagenette import load_or_train as load_or_train_imagenette
from benchmarks.zoo.lite import exported_lite
from taintwatch_calibration.craft.materials import classify, load_classifier
from taintwatch_models.errors import UsageError
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.radar_file import RadarFile

__all__ = ["LITE", "Network", "load_network", "network_names", "read_folder"]

SITE = 300
"""Pictures that a detector learns from."""
TEST = 80
"""Pictures that patches are shown on: those that the network gets right."""
_TARGETS = {"imagenet": (859, 954), "objects": (3, 7), "signs": (14, 1)}
LITE = "efficientnet_lite1"
"""The one network that nothing of the detector was chosen on: it joined when all was settled."""
_LITE_SIDE = 240
_SIGNS = ("bundled", "signs_vgg", "signs_vgg_occluded")
_OBJECTS = ("objects_14", "objects_residual")

Pictures = NDArray[np.uint8]
"""(N, H, W, 3), RGB, as the network sees them."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """One network under measurement."""

    name: str
    dataset: str
    path: Path | None
    """Its ONNX file; None: the bundled one."""
    radar: RadarFile
    plain: OnnxRadar
    """The classifier alone."""
    site: Pictures
    """What a detector learns from: benign, right or wrong."""
    held_out: Pictures
    """Benign, for false alarms."""
    test: Pictures
    truth: NDArray[np.int64]
    """Of `test`."""
    targets: tuple[int, int]
    """Labels that its patches show."""
    accuracy: float

    def labels_of(self, pictures: Pictures) -> NDArray[np.int64]:
        """Return the network's labels of pictures, (N,)."""
        return classify(self.plain, pictures)


def network_names() -> tuple[str, ...]:
    """Return the names of all networks, in the order of the report."""
    return ("mobilenet_v2", LITE, *_SIGNS, *_OBJECTS, *IMAGENETTE)


def load_network(
    name: str, data: Path, work: Path, *, seed: int = 0, report: Callable[[str], None] = lambda line: None
) -> Network:
    """Return a network with its pictures; one of the zoo is trained in `work`/zoo where it is not there yet.

    `data` is the measuring data's folder. Raises `UsageError` for an unknown name or missing data, `ModelError` where
    the product cannot prepare the network.
    """
    if name not in network_names():
        raise UsageError(f"there is no network '{name}'; there are {', '.join(network_names())}")
    path: Path | None = None
    if name == "mobilenet_v2":
        path = data / "models" / "mobilenet_v2_imagenet.onnx"
        pictures, labels = _imagenet(data / "imagenet")
        dataset = "imagenet"
    elif name == LITE:
        path = exported_lite(1, _LITE_SIDE, work / "zoo")
        pictures, labels = _imagenet(data / "imagenet", _LITE_SIDE)
        dataset = "imagenet"
    elif name in IMAGENETTE:
        path = load_or_train_imagenette(name, data, work / "zoo", report=report)
        pictures, labels, _ = zoo.pictures("objects_14", data)
        dataset = "objects"
    else:
        path = None if name == "bundled" else zoo.load_or_train(name, data, work / "zoo", report=report)
        pictures, labels, _ = zoo.pictures("signs_vgg" if name == "bundled" else name, data)
        dataset = "objects" if name in _OBJECTS else "signs"
    radar = load_classifier(None if path is None else str(path))
    return _parted(name, dataset, path, radar, pictures, labels, seed)


def _parted(
    name: str,
    dataset: str,
    path: Path | None,
    radar: RadarFile,
    pictures: Pictures,
    labels: NDArray[np.int64],
    seed: int,
) -> Network:
    order = np.random.default_rng(seed).permutation(len(pictures))
    plain = OnnxRadar(radar, ())
    site = order[: min(SITE, len(order) // 3)]
    rest = order[len(site) :]
    pool = rest[: 3 * TEST]  # patches are shown on these; false alarms are counted on all the rest
    seen = classify(plain, pictures[pool])
    targets = _TARGETS[dataset]
    right = pool[(seen == labels[pool]) & ~np.isin(labels[pool], targets)][:TEST]
    accuracy = float((seen == labels[pool]).mean())
    held_out = rest[~np.isin(rest, right)]
    return Network(
        name,
        dataset,
        path,
        radar,
        plain,
        pictures[site],
        pictures[held_out],
        pictures[right],
        labels[right],
        targets,
        accuracy,
    )


def _imagenet(folder: Path, side: int = 224) -> tuple[Pictures, NDArray[np.int64]]:
    if not (folder / "labels.csv").is_file():
        raise UsageError(f"{folder}/labels.csv is missing: give the measuring data's folder with --data")
    with (folder / "labels.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    found = [_square(folder / line["file"], side, crop=True) for line in lines]
    return np.stack(found), np.array([int(line["class_index"]) for line in lines], np.int64)


def read_folder(folder: Path, side: int, most: int = 400) -> Pictures:
    """Return the photographs of a folder, centre squares of `side` pixels, RGB. Raises `UsageError` for none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})[:most]
    if not paths:
        raise UsageError(f"{folder} holds no photographs: give the measuring data's folder with --data")
    return np.stack([_square(path, side) for path in paths])


def _square(path: Path, side: int, *, crop: bool = False) -> Pictures:
    picture = cv2.imread(str(path))
    if picture is None:
        raise UsageError(f"{path} cannot be decoded as a picture")
    least = side if crop else min(picture.shape[:2])
    top, left = ((extent - least) // 2 for extent in picture.shape[:2])
    square = picture[top : top + least, left : left + least, ::-1]
    if least != side:
        square = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(square, np.uint8)
