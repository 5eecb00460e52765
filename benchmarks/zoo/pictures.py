"""The pictures of the zoo's networks: read once, as the classifier sees them."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.signs.dataset import TEST_FILE, TRAIN_FILE, load_test, load_tracks, split_by_track
from benchmarks.signs.network import INPUT_SIZE, MEAN, STD
from benchmarks.zoo.recipes import recipe_of
from taintwatch_models.errors import UsageError
from taintwatch_models.signs import SIGN_NAMES

__all__ = [
    "DATASETS",
    "Dataset",
    "Labelled",
    "files_of",
    "pictures",
    "pictures_of",
    "read_objects",
    "training_pictures",
]

Part = Literal["train", "val"]
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]
"""Pictures (N, H, W, 3) red-green-blue, their labels (N,), and the name of each label."""
OBJECTS_FILE = "imagenette_128.tar"


@dataclass(frozen=True, slots=True)
class Dataset:
    """How the networks of one dataset see their pictures: `size` pixels square, (pixel / 255 - mean) / std."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    files: tuple[str, ...]
    """What is read, below the data folder."""


DATASETS: dict[str, Dataset] = {
    "objects": Dataset(112, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (f"objects/{OBJECTS_FILE}",)),
    "signs": Dataset(INPUT_SIZE, MEAN, STD, (f"signs/{TRAIN_FILE}", f"signs/{TEST_FILE}")),
}


def files_of(dataset: str, data: Path) -> tuple[Path, ...]:
    """Return the files of a dataset in the folder `data`. Raises `UsageError` where one is missing."""
    paths = tuple(data / name for name in DATASETS[dataset].files)
    for path in paths:
        if not path.is_file():
            raise UsageError(
                f"{path} is missing: name the folder that holds {DATASETS[dataset].files[0]} (--data ../shared/data)."
            )
    return paths


def pictures(name: str, data: Path) -> Labelled:
    """Return the test pictures of the network `name` (none of them was trained on), as it sees them.

    Signs: the GTSRB test set, 32 x 32 resized to 64 x 64; objects: Imagenette's validation part, the centre 112 x 112.
    `data` is the folder that holds `objects/` and `signs/`. Raises `UsageError`.
    """
    return pictures_of(recipe_of(name).dataset, data)


def training_pictures(name: str, data: Path) -> Labelled:
    """Return the pictures that the network `name` was trained on, as it sees them (no trigger on any)."""
    dataset = recipe_of(name).dataset
    files_of(dataset, data)
    if dataset == "objects":
        return _centred_objects(data, "train")
    found, _ = split_by_track(load_tracks(data / "signs"), np.random.default_rng(0))
    return found.images, found.labels, tuple(SIGN_NAMES)


def pictures_of(dataset: str, data: Path) -> Labelled:
    """Return the test pictures of a dataset: see `pictures`."""
    files_of(dataset, data)
    if dataset == "objects":
        return _centred_objects(data, "val")
    found = load_test(data / "signs")
    return found.images, found.labels, tuple(SIGN_NAMES)


def read_objects(data: Path, part: Part) -> Labelled:
    """Read `PART/CLASS/NAME.jpg` from the objects' archive, in whole (128 x 128), classes in alphabetical order.

    Raises `UsageError` where the archive is missing, is none, or holds an undecodable picture or none at all.
    """
    (path,) = files_of("objects", data)
    found: list[tuple[str, NDArray[np.uint8]]] = []
    try:
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda m: m.name):
                name = PurePosixPath(member.name)
                stream = archive.extractfile(member) if name.suffix == ".jpg" and name.parts[0] == part else None
                if stream is not None:
                    found.append((name.parts[1], _decoded(stream.read(), f"{path}:{name}")))
    except tarfile.TarError as error:
        raise UsageError(f"{path} cannot be read as a tar archive ({error}).") from None
    if not found:
        raise UsageError(f"{path} holds no {part}/CLASS/NAME.jpg pictures: is it the Imagenette archive?")
    names = tuple(sorted({name for name, _ in found}))
    labels = np.array([names.index(name) for name, _ in found], np.int64)
    return np.stack([image for _, image in found]), labels, tuple(name.replace("_", " ") for name in names)


def _centred_objects(data: Path, part: Part) -> Labelled:
    images, labels, names = read_objects(data, part)
    size = DATASETS["objects"].size
    top, left = ((side - size) // 2 for side in images.shape[1:3])
    return np.ascontiguousarray(images[:, top : top + size, left : left + size]), labels, names


def _decoded(content: bytes, where: str) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise UsageError(f"{where} cannot be decoded as a picture.")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
