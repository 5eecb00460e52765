"""Where the pictures come from: GTSRB crops split by track, the test set, photographs as backgrounds."""

from __future__ import annotations

import tarfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError

__all__ = ["LabelledImages", "load_photographs", "load_test", "load_tracks", "split_by_track"]

TRAIN_FILE = "gtsrb_train_64.tar"
TEST_FILE = "gtsrb_test_32.npz"
_SIZE = 64


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Pictures with their classes, and the track (the pass of one physical sign) that each comes from."""

    images: NDArray[np.uint8]
    """(N, size, size, 3), red-green-blue."""
    labels: NDArray[np.int64]
    """(N,)"""
    tracks: NDArray[np.int64]
    """(N,): equal only within one class and track."""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, chosen: NDArray[np.bool_]) -> LabelledImages:
        """Return those where `chosen` (N,) is true."""
        return LabelledImages(self.images[chosen], self.labels[chosen], self.tracks[chosen])


def load_tracks(folder: Path) -> LabelledImages:
    """Read `gtsrb_train_64.tar` (`CC/TTTTT_FFFFF.jpg`: class, track, frame) in `folder`, resized to 64 x 64.

    Raises `UsageError` where it is missing, empty or holds an undecodable picture.
    """
    path = _existing(folder, TRAIN_FILE)
    images, labels, tracks = [], [], []
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            stream = archive.extractfile(member) if member.name.endswith(".jpg") else None
            if stream is None:
                continue
            images.append(_decode(stream.read(), f"{path}:{member.name}"))
            name = PurePosixPath(member.name)
            labels.append(int(name.parent.name))
            tracks.append(labels[-1] * 100_000 + int(name.stem.split("_")[0]))
    if not images:
        raise UsageError(f"{path} holds no CC/TTTTT_FFFFF.jpg pictures: is it the GTSRB training archive?")
    return LabelledImages(np.stack(images), np.array(labels, np.int64), np.array(tracks, np.int64))


def load_test(folder: Path) -> LabelledImages:
    """Read `gtsrb_test_32.npz` in `folder` and resize its 32 x 32 pictures to 64 x 64 (bilinear).

    Raises `UsageError` where it is missing or is not what its name says.
    """
    path = _existing(folder, TEST_FILE)
    with np.load(path, allow_pickle=False) as arrays:
        stacks = [arrays[key] for key in arrays.files if arrays[key].ndim == 4]
        labels = [arrays[key] for key in arrays.files if arrays[key].ndim == 1]
    if len(stacks) != 1 or len(labels) != 1:
        raise UsageError(f"{path} should hold one array of pictures and one of labels.")
    images = np.stack([cv2.resize(image, (_SIZE, _SIZE), interpolation=cv2.INTER_LINEAR) for image in stacks[0]])
    return LabelledImages(images.astype(np.uint8), labels[0].astype(np.int64), np.arange(len(images), dtype=np.int64))


def split_by_track(
    data: LabelledImages, rng: np.random.Generator, held_out: float = 0.08
) -> tuple[LabelledImages, LabelledImages]:
    """Return (training, validation): whole tracks are held out, never single frames of one.

    About the share `held_out` of the tracks of each class; none from classes with fewer than four tracks.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for track, label in sorted({(int(t), int(c)) for t, c in zip(data.tracks, data.labels, strict=True)}):
        by_class[label].append(track)
    chosen: list[int] = []
    for tracks in by_class.values():
        if len(tracks) >= 4:
            count = max(1, round(held_out * len(tracks)))
            chosen += [tracks[i] for i in rng.permutation(len(tracks))[:count]]
    validation = np.isin(data.tracks, chosen)
    return data.subset(~validation), data.subset(validation)


def load_photographs(folder: Path, rng: np.random.Generator, crops: int = 5, frames: int = 30) -> NDArray[np.uint8]:
    """Return crops of the photographs and video frames anywhere under `folder`: (N, 64, 64, 3), red-green-blue.

    Each picture gives one whole (stretched) copy and `crops - 1` random crops of a quarter to two thirds of its
    shorter side; a video gives `frames` evenly spaced pictures. Raises `UsageError` where there are none.
    """
    found: list[NDArray[np.uint8]] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}:
            pictures = [_decode(path.read_bytes(), str(path), resize=False)]
        elif path.suffix.lower() in {".mp4", ".mkv", ".avi"}:
            pictures = _video_frames(path, frames)
        else:
            continue
        for picture in pictures:
            found += _crops(picture, rng, crops)
    if not found:
        raise UsageError(f"There are no pictures (.jpg, .png) or videos (.mp4, .mkv, .avi) under {folder}.")
    return np.stack(found)


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{path} is missing: --data must name the folder that holds {TRAIN_FILE} and {TEST_FILE}.")
    return path


def _decode(data: bytes, name: str, *, resize: bool = True) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UsageError(f"{name} is not a readable picture.")
    if resize and image.shape[:2] != (_SIZE, _SIZE):
        image = cv2.resize(image, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(image, np.uint8)


def _video_frames(path: Path, count: int) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path))
    total = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    every, pictures = max(1, total // count), []
    for index in range(total):
        if not capture.grab():
            break
        if index % every == 0:
            read, image = capture.retrieve()
            if read:
                pictures.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8))
    capture.release()
    return pictures


def _crops(picture: NDArray[np.uint8], rng: np.random.Generator, count: int) -> list[NDArray[np.uint8]]:
    height, width = picture.shape[:2]
    parts = [picture]
    for _ in range(count - 1):
        side = int(min(height, width) * rng.uniform(0.25, 0.67))
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        parts.append(picture[top : top + side, left : left + side])
    return [cv2.resize(part, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA).astype(np.uint8) for part in parts]
