"""The kinds of printed attacks: each a setting of the one objective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from taintwatch_calibration.camera_model.variation import CameraVariation
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.physical import Pattern
from taintwatch_calibration.craft.placement import Placement
from taintwatch_calibration.craft.shapes import glasses_mask, load_mask, shape_mask
from taintwatch_models.errors import UsageError

__all__ = ["KINDS", "Kind", "boxes_mask", "masks_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is crafted where nothing else is asked for."""

    words: str
    pattern: Pattern
    schedule: Schedule
    shape: str = "square"
    resolution: int = 64


_NEAR = Placement(sizes=(1.0,), rotation_degrees=4.0, shift=0.015, scale=0.04, light=0.15, overlay=True)

KINDS: dict[str, Kind] = {
    "patch": Kind("a universal patch (Brown et al., 2017)", Pattern(None), Schedule(iterations=300)),
    "lavan": Kind(
        "a small localised patch off the object (Karmon et al., LaVAN, 2018)",
        Pattern(None, Placement(((0.12, 0.12),), (0.2,), rotation_degrees=0.0), loss="lavan"),
        Schedule(iterations=300),
    ),
    "sticker": Kind(
        "stickers on an object (Eykholt et al., RP2, 2018)",
        Pattern(None, _NEAR, printability=0.1, smoothness=0.05, camera=CameraVariation(), ink=(0.03, 0.97)),
        Schedule(iterations=300),
    ),
    "hat": Kind(
        "a sticker on a hat, bent off the plane (Komkov and Petiushko, AdvHat, 2019)",
        Pattern(
            None,
            Placement(((0.5, 0.16),), (0.55,), rotation_degrees=4.0, shift=0.02, scale=0.06, light=0.15, bend=0.7),
            smoothness=0.05,
            ink=(0.03, 0.97),
        ),
        Schedule(iterations=300),
        shape="band",
    ),
    "glasses": Kind(
        "eyeglasses (Sharif et al., 2016)",
        Pattern(None, replace(_NEAR, rotation_degrees=2.0, shift=0.02, scale=0.02, light=0.1),
                printability=0.05, smoothness=0.15),
        Schedule(iterations=300, stop_at=0.99),
        shape="glasses",
    ),
}  # fmt: skip


def masks_of(
    kind: Kind,
    pattern: Pattern,
    size: tuple[int, int],
    *,
    shape: str | None = None,
    mask: Path | None = None,
    boxes: tuple[tuple[float, ...], ...] = (),
    eyes: tuple[float, ...] = (0.31, 0.69, 0.41),
) -> Tensor:
    """Return the masks, (P, 1, h, w); `size` is that of the classifier's input, (height, width).

    Raises `UsageError` where a mask covers nothing, or stickers are asked for without saying where.
    """
    overlay = pattern.placement.overlay
    extent = size if overlay else (kind.resolution, kind.resolution)
    if mask is not None:
        one = load_mask(mask, extent)
    elif boxes:
        one = boxes_mask(boxes, extent)
    elif kind.shape == "glasses":
        one = glasses_mask(extent, eyes)
    elif overlay:
        raise UsageError(
            "say where the stickers are: --mask PICTURE, or --box X,Y,WIDTH,HEIGHT (shares of the picture)"
        )
    else:
        one = shape_mask(shape or kind.shape, kind.resolution)
    if not bool(one.any()):
        raise UsageError("the mask covers nothing: a box or the glasses lie outside of the picture")
    return one[None].expand(len(pattern.placement.positions), -1, -1, -1).contiguous()


def boxes_mask(boxes: tuple[tuple[float, ...], ...], size: tuple[int, int]) -> Tensor:
    """Return rectangles (x, y, width, height as shares of the picture) as a mask, (1, *size) in {0, 1}.

    Raises `UsageError` where one has no area.
    """
    height, width = size
    mask = torch.zeros(1, height, width)
    for box in boxes:
        x, y, wide, high = box
        rows = slice(max(0, round(y * height)), max(0, round((y + high) * height)))
        columns = slice(max(0, round(x * width)), max(0, round((x + wide) * width)))
        if not mask[:, rows, columns].numel():
            raise UsageError(f"the box {','.join(f'{v:g}' for v in box)} covers no pixel of the picture")
        mask[:, rows, columns] = 1
    return mask
