"""Benign frames as a camera sees them: signs on crops, drawn signs in moving scenes, and scenes without a sign."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.signs.cards import card_image
from benchmarks.signs.dataset import LabelledImages
from taintwatch.sources.camera_model import SimulatedCamera
from taintwatch.sources.compositing import cover
from taintwatch.sources.images import IMAGE_SUFFIXES
from taintwatch.sources.scene import Scene, SceneSettings
from taintwatch_models.errors import UsageError
from taintwatch_models.image_file import read_image
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.signs import SIGN_NAMES, render_sign

__all__ = ["BenignPictures", "card_scenes", "empty_scenes", "halves", "joined", "read_photographs"]

BACKGROUND = len(SIGN_NAMES)
_WIDTH, _HEIGHT = 320, 240
_FRAMES = 3
"""Frames that are taken of one scene, far apart in time."""


@dataclass(frozen=True, slots=True, eq=False)
class BenignPictures:
    """Frames without an attack, as the classifier sees them."""

    pixels: NDArray[np.uint8]
    """(N, height, width, 3), in the model's channel order."""
    labels: NDArray[np.int64]
    """(N,): what is really there; 43 is background."""
    groups: NDArray[np.int64]
    """(N,): equal for frames of one scene or one track; those belong on one side of a split."""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> BenignPictures:
        """Return those that `chosen` (a mask, or indices) names."""
        return BenignPictures(self.pixels[chosen], self.labels[chosen], self.groups[chosen])


def joined(parts: list[BenignPictures]) -> BenignPictures:
    """Put parts together; groups of different parts stay different."""
    groups, base = [], 0
    for part in parts:
        groups.append(part.groups + base)
        base += int(part.groups.max(initial=-1)) + 1
    arrays = (np.concatenate([p.pixels for p in parts]), np.concatenate([p.labels for p in parts]))
    return BenignPictures(*arrays, np.concatenate(groups))


def halves(test: LabelledImages, seed: int = 0) -> tuple[BenignPictures, BenignPictures]:
    """Return the test crops as (to calibrate on, to report on): each picture is in one of them."""
    order = np.random.default_rng(seed).permutation(len(test))
    whole = BenignPictures(test.images, test.labels, np.arange(len(test), dtype=np.int64))
    return whole.subset(np.sort(order[: len(order) // 2])), whole.subset(np.sort(order[len(order) // 2 :]))


def read_photographs(path: Path, most: int = 400) -> list[NDArray[np.uint8]]:
    """Read at most `most` evenly chosen photographs from a folder or a tar archive, blue-green-red.

    Raises `UsageError` where there are none.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        found = [read_image(p) for p in files[:: max(1, len(files) // most)][:most]]
    elif path.is_file() and tarfile.is_tarfile(path):
        found = _from_archive(path, most)
    else:
        raise UsageError(f"{path} is neither a folder nor a tar archive: --scenes must name one with photographs.")
    if not found:
        raise UsageError(f"{path} holds no photographs (.jpg, .png); name another with --scenes.")
    return found


def _from_archive(path: Path, most: int) -> list[NDArray[np.uint8]]:
    with tarfile.open(path) as archive:
        members = [m for m in archive.getmembers() if Path(m.name).suffix.lower() in IMAGE_SUFFIXES]
        validation = [m for m in members if "val" in Path(m.name).parts]
        members = sorted(validation or members, key=lambda m: m.name)
        found = []
        for member in members[:: max(1, len(members) // most)][:most]:
            data = (archive.extractfile(member) or io.BytesIO()).read()
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                found.append(np.asarray(image, np.uint8))
    return found


def card_scenes(
    photographs: list[NDArray[np.uint8]], scenes: int, rng: np.random.Generator, preprocessing: Preprocessing
) -> BenignPictures:
    """Simulate drawn signs, bare and on cards, before photographs: every class in turn, three frames of each scene.

    A sign (or its card) takes 0.47 to 0.95 of the frame's height and stands anywhere in its centre square.
    """
    order = rng.permutation(scenes)
    parts = []
    for number in range(scenes):
        label = int(order[number]) % len(SIGN_NAMES)
        picture = _with_sign(photographs[rng.integers(len(photographs))], label, rng)
        parts.append(_simulated(picture, label, number, rng, preprocessing))
    return joined(parts)


def empty_scenes(
    photographs: list[NDArray[np.uint8]], scenes: int, rng: np.random.Generator, preprocessing: Preprocessing
) -> BenignPictures:
    """Simulate photographs alone: three frames of each scene, labelled background."""
    parts = []
    for number in range(scenes):
        picture = cover(photographs[rng.integers(len(photographs))], _WIDTH, _HEIGHT)
        parts.append(_simulated(picture, BACKGROUND, number, rng, preprocessing))
    return joined(parts)


def _with_sign(photograph: NDArray[np.uint8], label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(240, 320, 3) BGR: the photograph with a sign before it."""
    picture = cover(photograph, _WIDTH, _HEIGHT)
    side = round(_HEIGHT * rng.uniform(0.47, 0.95))
    style = rng.integers(3)
    shares = {1: (0.85, False), 2: (0.78, True)}
    sign = (
        render_sign(label, side) if style == 0 else card_image(label, shares[int(style)][0], side, caption=style == 2)
    )
    room = _HEIGHT - side
    left = (_WIDTH - _HEIGHT) // 2 + int(rng.integers(0, room + 1))
    top = int(rng.integers(0, room + 1))
    alpha = sign[..., 3:].astype(np.float32) / 255
    spot = picture[top : top + side, left : left + side]
    light = rng.uniform(0.75, 1.05)
    spot[:] = np.clip(alpha * sign[..., 2::-1] * light + (1 - alpha) * spot, 0, 255).astype(np.uint8)
    return picture


def _simulated(
    picture: NDArray[np.uint8], label: int, number: int, rng: np.random.Generator, preprocessing: Preprocessing
) -> BenignPictures:
    seed = int(rng.integers(2**31))
    camera = SimulatedCamera(seed=seed, noise=float(rng.uniform(1, 6)), jpeg_quality=int(rng.integers(60, 95)))
    settings = SceneSettings(width=_WIDTH, height=_HEIGHT, duration=60.0, each=60.0, motion=0.05, seed=seed)
    scene = Scene([picture], None, settings, camera)
    frames = [preprocessing.pixels(scene.render(int(index))) for index in rng.integers(0, 900, _FRAMES)]
    many = (_FRAMES,)
    return BenignPictures(np.stack(frames), np.full(many, label, np.int64), np.full(many, 0, np.int64))
