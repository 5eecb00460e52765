"""Making the grid's patches, each once, kept in a folder; and laying them on the test images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from taintwatch_calibration.craft.engine import Checkpoint, Step, optimise
from taintwatch_calibration.craft.materials import Labelled, to_pictures
from taintwatch_calibration.craft.physical import Model, PhysicalObjective, Pictures, start_values
from taintwatch_calibration.craft.placement import Placement, apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_calibration.grid.cells import PatchPlan
from taintwatch_models.errors import UsageError
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.storage import write_atomically

__all__ = ["craft_once", "decode_patch", "encode_patch", "with_patch"]


def craft_once(
    plan: PatchPlan,
    model: Callable[[], Model],
    craft_on: Callable[[], Pictures],
    preprocessing: Preprocessing,
    kept: Path,
    report: Callable[[Step], None] | None = None,
) -> NDArray[np.uint8]:
    """Return the plan's patch, (s, s, 3) RGB: from `kept` (a PNG) where it is there, else crafted and kept.

    An interrupted one goes on from its checkpoint beside `kept`.
    """
    if kept.is_file():
        return decode_patch(kept)
    mask = shape_mask("square", plan.resolution)[None]
    objective = PhysicalObjective(model(), craft_on(), preprocessing, mask, plan.pattern)
    checkpoint = Checkpoint(kept.with_suffix(".checkpoint"), kept.stem, every=50)
    values = optimise(objective, start_values(mask), plan.schedule, report=report, checkpoint=checkpoint)
    patch = np.asarray((values[0].cpu().permute(1, 2, 0).numpy() * 255).round(), np.uint8)
    write_atomically(kept, encode_patch(patch))
    checkpoint.path.unlink(missing_ok=True)
    return patch


def with_patch(
    test_images: Labelled, patch: NDArray[np.uint8], placement: Placement, preprocessing: Preprocessing, seed: int
) -> NDArray[np.uint8]:
    """Return the test images' pixels with the patch at one place each, (N, height, width, 3), in the model's order."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.from_numpy(patch.astype(np.float32) / 255).permute(2, 0, 1)[None]
    mask = torch.ones(1, 1, *patch.shape[:2])
    pixels = to_pictures(test_images, preprocessing).pixels
    laid, _ = apply_patterns(pixels, values, mask, placement, generator)
    if preprocessing.order == "bgr":
        laid = laid.flip(1)
    return np.asarray((laid.permute(0, 2, 3, 1).numpy() * 255).round(), np.uint8)


def encode_patch(patch: NDArray[np.uint8]) -> bytes:
    """Return a PNG of (s, s, 3) RGB."""
    done, png = cv2.imencode(".png", np.ascontiguousarray(patch[:, :, ::-1]))
    if not done:
        raise UsageError(f"a patch of {patch.shape} cannot be written as PNG")
    return png.tobytes()


def decode_patch(path: Path) -> NDArray[np.uint8]:
    """Read a patch, PNG (any picture) or NPY of (s, s, 3) or (3, s, s), uint8 or [0, 1]; RGB uint8.

    Raises `UsageError` where it is none.
    """
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: not a readable NPY file ({error})") from None
        if values.ndim == 3 and values.shape[0] == 3 and values.shape[2] != 3:
            values = values.transpose(1, 2, 0)
        if values.ndim != 3 or values.shape[2] != 3 or not values.size:
            raise UsageError(f"{path}: a patch is (side, side, 3), this is {values.shape}")
        scale = 1.0 if values.dtype == np.uint8 else 255.0
        return np.asarray(np.clip(np.rint(values * scale), 0, 255), np.uint8)
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if picture is None:
        raise UsageError(f"{path}: not a picture that can be read")
    rgb: NDArray[np.uint8] = np.ascontiguousarray(picture[:, :, ::-1])
    return rgb
