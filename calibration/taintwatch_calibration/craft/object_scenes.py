"""Crops to craft attacks on an object detector on: its input around the objects of one class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from taintwatch_calibration.craft.object_attacks import ObjectScenes
from taintwatch_models.objects.finder import FoundObject, ObjectFinder

__all__ = ["large_objects", "object_scenes", "whole_scenes"]

_CROP = 256  # most pixels a side of the detector's input: a smaller picture is a faster step
_WHOLE = 320
_LEAST, _MOST = 48, 230  # sides of the objects that are attacked, pixels of the detector's input

Picture = NDArray[np.uint8]


def large_objects(
    finder: ObjectFinder, found: Sequence[FoundObject], picture: Picture, name: str, least: int = _LEAST
) -> list[FoundObject]:
    """Return those of a picture's objects that are of a class and large enough to wear a patch, the surest first.

    `least`: side of the smallest, in pixels of the detector's input.
    """
    scale = finder.preprocessing.place(*picture.shape[:2]).scale_x
    return [
        each for each in found if each.name == name and least <= (each.box[2] * each.box[3]) ** 0.5 * scale <= _MOST
    ]


def object_scenes(finder: ObjectFinder, pictures: Sequence[Picture], name: str, least: int = _LEAST) -> ObjectScenes:
    """Return crops of the detector's input around the objects of a class; none where none are found."""
    rows, columns = _crop_size(finder, _CROP)
    found, boxes = [np.empty((0, rows, columns, 3), np.uint8)], []
    for picture in pictures:
        place = finder.preprocessing.place(*picture.shape[:2])
        pixels = _red_green_blue(finder, picture)
        for each in large_objects(finder, finder(picture), picture, name, least):
            x, y, width, height = each.box
            x, y = x * place.scale_x + place.offset_x, y * place.scale_y + place.offset_y
            width, height = width * place.scale_x, height * place.scale_y
            left = int(np.clip(x + width / 2 - columns / 2, 0, pixels.shape[1] - columns))
            top = int(np.clip(y + height / 2 - rows / 2, 0, pixels.shape[0] - rows))
            found.append(pixels[None, top : top + rows, left : left + columns])
            boxes.append((x - left, y - top, width, height))
    return ObjectScenes(_planes(np.concatenate(found)), torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))


def whole_scenes(finder: ObjectFinder, pictures: Sequence[Picture]) -> ObjectScenes:
    """Return the middles of whole pictures, with no object: for a patch that lies in a corner."""
    rows, columns = finder.preprocessing.size
    height, width = _crop_size(finder, _WHOLE)
    top, left = (rows - height) // 2, (columns - width) // 2
    cut = [_red_green_blue(finder, each)[top : top + height, left : left + width] for each in pictures]
    return ObjectScenes(_planes(np.stack(cut)), torch.zeros(len(cut), 4))


def _crop_size(finder: ObjectFinder, most: int) -> tuple[int, int]:
    """Return height and width of the crops: only a graph without the places of its cells takes less than its input."""
    height, width = finder.preprocessing.size
    return (min(most, height), min(most, width)) if finder.decoder == "yolox" else (height, width)


def _red_green_blue(finder: ObjectFinder, picture: Picture) -> Picture:
    pixels = finder.preprocessing.pixels(picture)
    return pixels[..., ::-1] if finder.preprocessing.order == "bgr" else pixels


def _planes(pixels: Picture) -> torch.Tensor:
    """Return (N, H, W, 3) uint8 as (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1))).float() / 255
