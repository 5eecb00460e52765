"""The pictures: photographs and footage, and patches laid on the objects in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from taintwatch_calibration.craft.camouflage import painted
from taintwatch_calibration.craft.object_attacks import place_on
from taintwatch_calibration.craft.placement import PlacementBatch, apply_patch
from taintwatch_models.objects.finder import FoundObject

__all__ = ["AttackedPicture", "corner_patch", "frames_of", "general_pictures", "painted_object", "photographs",
           "worn_patch"]  # fmt: skip

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


def worn_patch(picture: Picture, victim: FoundObject, patch: torch.Tensor, size: float) -> AttackedPicture:
    """Lay a patch on an object of a picture."""
    boxes = torch.tensor([victim.box], dtype=torch.float32)
    places = place_on(boxes, size, (picture.shape[0], picture.shape[1]), None)
    return AttackedPicture(*_laid(picture, patch, places), victim)


def painted_object(picture: Picture, victim: FoundObject, texture: torch.Tensor) -> AttackedPicture:
    """Paint an object of a picture with a texture."""
    shown, coverage = painted(_planes(picture), texture, torch.tensor([victim.box], dtype=torch.float32))
    return AttackedPicture(*_pixels(shown, coverage), victim)


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
    return _pixels(*apply_patch(_planes(picture), patch, torch.ones(1, *patch.shape[1:]), places))


def _planes(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture[..., ::-1])).permute(2, 0, 1)[None].float() / 255


def _pixels(shown: torch.Tensor, coverage: torch.Tensor) -> tuple[Picture, tuple[float, float, float, float]]:
    rows, columns = np.nonzero(coverage[0, 0].numpy() > 0.5)
    box = columns.min(), rows.min(), columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
    pixels = (shown[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)[..., ::-1]
    return np.ascontiguousarray(pixels), (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
