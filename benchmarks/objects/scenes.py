"""The pictures: photographs and footage, their objects as the detector finds them, and patches laid on those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from taintwatch_calibration.craft.object_attacks import ObjectScenes, place_on
from taintwatch_calibration.craft.placement import PlacementBatch, apply_patch
from taintwatch_models.objects.finder import FoundObject, ObjectFinder

__all__ = ["AttackedPicture", "corner_patch", "crops", "frames_of", "general_pictures", "photographs", "worn_patch"]

CROP = 256  # side of what a patch is crafted on, pixels of the detector's input
_LEAST, _MOST = 48, 230  # sides of the objects that are attacked, pixels of the detector's input

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class AttackedPicture:
    """An attacked picture."""

    picture: Picture
    covered: tuple[float, float, float, float]
    """x, y, width and height of the patch."""
    victim: FoundObject | None
    """The object that wears it, as it was found without; None for a patch in a corner."""


def photographs(folder: Path) -> list[Picture]:
    """Return the photographs of a folder in the order of their names, blue-green-red."""
    return [np.asarray(cv2.imread(str(path)), np.uint8) for path in sorted(folder.glob("*.jpg"))]


def general_pictures(folder: Path, count: int) -> list[Picture]:
    """Return `count` photographs evenly over a folder."""
    paths = sorted(folder.glob("*.jpg"))
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    return [np.asarray(cv2.imread(str(path)), np.uint8) for path in chosen]


def frames_of(video: Path, count: int, first: float = 0.0, last: float = 1.0) -> list[Picture]:
    """Return `count` frames evenly from the share `first` of a video to `last`."""
    capture = cv2.VideoCapture(str(video))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - 2
    wanted = set(np.linspace(first * total, last * total, count).astype(int).tolist())
    frames = []
    for index in range(max(wanted) + 1):  # seeking is not exact in every file
        if not capture.grab():
            break
        if index in wanted:
            good, frame = capture.retrieve()
            if good:
                frames.append(np.asarray(frame, np.uint8))
    capture.release()
    return frames


def attacked_objects(finder: ObjectFinder, picture: Picture, name: str) -> list[FoundObject]:
    """Return the objects of a class that are large enough to wear a patch, the surest first."""
    scale = finder.preprocessing.place(*picture.shape[:2]).scale_x
    return [
        each
        for each in finder(picture)
        if each.name == name and _LEAST <= (each.box[2] * each.box[3]) ** 0.5 * scale <= _MOST
    ]


def crops(finder: ObjectFinder, pictures: Sequence[Picture], name: str) -> ObjectScenes:
    """Return crops of the detector's input around the objects of a class, for crafting."""
    found, boxes = [], []
    for picture in pictures:
        place = finder.preprocessing.place(*picture.shape[:2])
        laid = finder.preprocessing.pixels(picture)
        laid = laid[..., ::-1] if finder.preprocessing.order == "bgr" else laid
        for each in attacked_objects(finder, picture, name):
            x, y, width, height = each.box
            x, y = x * place.scale_x + place.offset_x, y * place.scale_y + place.offset_y
            width, height = width * place.scale_x, height * place.scale_y
            left = int(np.clip(x + width / 2 - CROP / 2, 0, laid.shape[1] - CROP))
            top = int(np.clip(y + height / 2 - CROP / 2, 0, laid.shape[0] - CROP))
            found.append(np.moveaxis(laid[top : top + CROP, left : left + CROP], -1, 0).astype(np.float32) / 255)
            boxes.append((x - left, y - top, width, height))
    return ObjectScenes(torch.from_numpy(np.stack(found)), torch.tensor(boxes, dtype=torch.float32))


def worn_patch(picture: Picture, victim: FoundObject, patch: torch.Tensor, size: float) -> AttackedPicture:
    """Lay a patch on an object of a picture."""
    boxes = torch.tensor([victim.box], dtype=torch.float32)
    places = place_on(boxes, size, (picture.shape[0], picture.shape[1]), None)
    return AttackedPicture(*_laid(picture, patch, places), victim)


def corner_patch(picture: Picture, patch: torch.Tensor, size: float) -> AttackedPicture:
    """Lay a patch into the upper left corner of a picture."""
    height, width = picture.shape[:2]
    side = size * min(height, width)
    centre = side / 2 + 0.02 * min(height, width)
    places = PlacementBatch(
        torch.tensor([2 * centre / width - 1]), torch.tensor([2 * centre / height - 1]), torch.tensor([size]),
        torch.zeros(1),
    )  # fmt: skip
    return AttackedPicture(*_laid(picture, patch, places), None)


def _laid(
    picture: Picture, patch: torch.Tensor, places: PlacementBatch
) -> tuple[Picture, tuple[float, float, float, float]]:
    images = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1])).permute(2, 0, 1)[None].float() / 255
    shown, coverage = apply_patch(images, patch, torch.ones(1, *patch.shape[1:]), places)
    rows, columns = np.nonzero(coverage[0, 0].numpy() > 0.5)
    box = columns.min(), rows.min(), columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
    pixels = (shown[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)[..., ::-1]
    return np.ascontiguousarray(pixels), (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
