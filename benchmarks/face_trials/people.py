"""The photographs: unpacked, aligned by the product's own pipeline, split by photograph, embedded."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.face_trials.chunks import in_chunks
from taintwatch_calibration.faces.identity_fit import mean_face, occlude
from taintwatch_models.faces.align import align
from taintwatch_models.faces.embedding import Embedder
from taintwatch_models.faces.finder import HaarFaces

__all__ = ["CALIBRATION", "COPIES", "STRANGERS", "TEST", "TRAINING", "People", "embeddings", "read_people"]

STRANGERS = 15
COPIES = 6
TRAINING, CALIBRATION, TEST, UNKNOWN = 0, 1, 2, -1


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """All photographs in which a face was found."""

    faces: NDArray[np.uint8]
    """(N, size, size, 3) blue-green-red."""
    files: tuple[str, ...]
    names: tuple[str, ...]
    """Of the enrolled, in the order of their labels."""
    labels: NDArray[np.int64]
    """(N,): -1 for a stranger."""
    part: NDArray[np.int64]
    """(N,): TRAINING, CALIBRATION, TEST, or UNKNOWN for a stranger."""
    photographs: int
    """Those without a face included."""
    eyes_found: float

    def rows(self, part: int) -> NDArray[np.intp]:
        return np.flatnonzero(self.part == part)

    @property
    def mean(self) -> NDArray[np.uint8]:
        """The mean face of the enrolled, from training photographs."""
        return mean_face(self.faces[self.part == TRAINING])


def read_people(archive: Path, work: Path, size: int) -> People:
    """Unpack `archive` into `work` where that is not done, align every photograph, and split by photograph."""
    photographs = work / "photographs"
    if not photographs.is_dir():
        unfinished = work / "photographs.part"
        with tarfile.open(archive) as tar:
            tar.extractall(unfinished, filter="data")
        unfinished.rename(photographs)
    files = sorted(photographs.rglob("*.jpg"))
    find = HaarFaces(smallest=0.3)

    def aligned(rows: slice) -> dict[str, NDArray[Any]]:
        crops, found, eyes = [], [], []
        for file in files[rows]:
            image = np.asarray(cv2.imread(str(file)), np.uint8)
            faces = find(image)
            crops.append(align(image, faces[0], size) if faces else np.zeros((size, size, 3), np.uint8))
            found.append(bool(faces))
            eyes.append(bool(faces) and faces[0].eyes_found)
        return {"faces": np.stack(crops), "found": np.array(found), "eyes": np.array(eyes)}

    arrays = in_chunks(work / "aligned", len(files), aligned)
    usable = np.flatnonzero(arrays["found"])
    owners = np.array([files[row].parent.name for row in usable])
    labels, part, names = _split(owners)
    shown = tuple(f"{files[row].parent.name}/{files[row].name}" for row in usable)
    return People(arrays["faces"][usable], shown, names, labels, part, len(files), float(arrays["eyes"][usable].mean()))


def _split(owners: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Keep some people out as strangers; of every other, half the photographs train, a quarter calibrates and tests."""
    rng = np.random.default_rng(0)
    everybody = sorted(set(owners.tolist()))
    strangers = set(rng.permutation(everybody)[:STRANGERS].tolist())
    names = tuple(name for name in everybody if name not in strangers)
    number = {name: label for label, name in enumerate(names)}
    labels = np.array([number.get(owner, -1) for owner in owners.tolist()], np.int64)
    part = np.full(len(labels), UNKNOWN, np.int64)
    for label in range(len(names)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        half, three_quarters = round(len(rows) * 0.5), round(len(rows) * 0.75)
        part[rows[:half]] = TRAINING
        part[rows[half:three_quarters]] = CALIBRATION
        part[rows[three_quarters:]] = TEST
    return labels, part, names


def embeddings(people: People, embed: Embedder, work: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the embeddings of all faces, (N, D), and of covered copies of the training faces, (COPIES, n, D)."""
    clean = _embedded(people.faces, embed, work / "embedded")
    copies = []
    for copy in range(COPIES):
        faces = occlude(people.faces[people.part == TRAINING], people.mean, np.random.default_rng(10 + copy))
        copies.append(_embedded(faces, embed, work / f"covered{copy}"))
    return clean, np.stack(copies)


def _embedded(faces: NDArray[np.uint8], embed: Embedder, folder: Path) -> NDArray[np.float32]:
    return in_chunks(folder, len(faces), lambda rows: {"embeddings": embed(faces[rows])})["embeddings"]
