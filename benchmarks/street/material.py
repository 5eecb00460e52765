"""Rendered streets to train on: signs of all classes and sizes, stickers, boards that are no signs, any light."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.street.network import INPUT
from benchmarks.street.random_street import random_street
from benchmarks.training_loop import Batch
from taintwatch.demo.sign_scene import draw_street
from taintwatch.demo.street_scene import Sticker, StreetPlan, StreetScene
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.compositing import cover
from taintwatch.sources.images import IMAGE_SUFFIXES
from taintwatch.sources.scene import SceneSettings
from taintwatch_models.image_file import read_image

__all__ = ["MOST_SIGNS", "StreetBatches", "read_backgrounds"]

Picture = NDArray[np.uint8]
MOST_SIGNS = 4
_SIDES = (0.1, 0.5)
"""Of signs, as shares of the picture's height: 14 to 72 pixels of the input."""


def read_backgrounds(folder: Path | None, most: int = 400) -> list[Picture]:
    """Return photographs of a folder at the size of the input, blue-green-red; none where no folder is given."""
    if folder is None:
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)[:most]
    return [cover(read_image(path), INPUT[1], INPUT[0]) for path in files]


class StreetBatches:
    """Makes batches, each a function of the seed and its number."""

    def __init__(self, photographs: Sequence[Picture], batch: int, seed: int) -> None:
        self._photographs, self._batch, self._seed = photographs, batch, seed

    def epoch(self, first: int, count: int) -> Iterator[Batch]:
        """Yield the batches from number `first` on: pictures (B, 3, 144, 192) RGB in [0, 1], corners (B, 4, 4).

        Corners are left, top, right and bottom in pixels, of at most four signs; NaN where there are fewer.
        """
        for number in range(first, first + count):
            rng = np.random.default_rng([self._seed, 0x57EE7, number])
            shown = [self._scene(rng) for _ in range(self._batch)]
            pictures = np.stack([picture for picture, _ in shown])[..., ::-1]
            stacked = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, 1))).float() / 255
            yield stacked, torch.from_numpy(np.stack([boxes for _, boxes in shown]))

    def _scene(self, rng: np.random.Generator) -> tuple[Picture, NDArray[np.float32]]:
        seed = int(rng.integers(2**31))
        settings = SceneSettings(width=INPUT[1], height=INPUT[0], motion=0.03, seed=seed)
        plan = random_street(rng, int(rng.integers(1, MOST_SIGNS + 1)), sides=_SIDES, settings=settings)
        sticker = Sticker(rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), rng.uniform(0.2, 0.5))
        plan = StreetPlan(plan.signs, plan.passers_by, plan.patched, sticker)
        patch = _texture(rng, self._photographs) if rng.random() < 0.6 else None
        camera = CAMERA_MODELS[rng.choice(["office", "corridor", "street", "dim", "plain"])](seed)
        scene = StreetScene(plan, patch, settings, camera, self._backdrop(rng, seed))
        index = int(rng.integers(150))
        boxes = np.full((MOST_SIGNS, 4), np.nan, np.float32)
        for row, box in enumerate(scene.sign_boxes(index)):
            if box is not None:
                boxes[row] = box[0], box[1], box[0] + box[2], box[1] + box[3]
        return scene.render(index), boxes

    def _backdrop(self, rng: np.random.Generator, seed: int) -> Picture:
        width, height = INPUT[1], INPUT[0]
        if self._photographs and rng.random() < 0.5:
            picture = self._photographs[int(rng.integers(len(self._photographs)))].copy()
        else:
            picture = draw_street(width, height, seed)
        for _ in range(int(rng.integers(0, 4))):
            _draw_board(picture, rng, self._photographs)
        return picture


def _draw_board(picture: Picture, rng: np.random.Generator, photographs: Sequence[Picture]) -> None:
    """Draw what is no sign: a poster, a lamp or ball of one colour, a patch that is stuck on nothing."""
    height, width = picture.shape[:2]
    side = int(np.exp(rng.uniform(np.log(8), np.log(60))))
    left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    if rng.random() < 0.35:
        cv2.circle(picture, (left + side // 2, top + side // 2), side // 3, colour, cv2.FILLED, cv2.LINE_AA)
        return
    shown = cv2.resize(_texture(rng, photographs), (side, side), interpolation=cv2.INTER_AREA)
    picture[top : top + side, left : left + side] = shown


def _texture(rng: np.random.Generator, photographs: Sequence[Picture]) -> Picture:
    """Return what might be on a sticker, (64, 64, 3): colours in blocks fine or coarse, a plain one, a photograph."""
    kind = rng.random()
    if kind < 0.25 and photographs:
        whole = photographs[int(rng.integers(len(photographs)))]
        side = int(rng.integers(32, 120))
        top, left = int(rng.integers(0, whole.shape[0] - side)), int(rng.integers(0, whole.shape[1] - side))
        return np.asarray(cv2.resize(whole[top : top + side, left : left + side], (64, 64)), np.uint8)
    cells = 1 if kind < 0.4 else int(rng.integers(2, 33))
    blocks = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
    how = cv2.INTER_NEAREST if rng.random() < 0.3 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(blocks, (64, 64), interpolation=how), np.uint8)
