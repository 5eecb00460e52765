"""Make one attack: craft its patch, show it on pictures of its source class, see on which it succeeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.sign_attacking.specs import EMPTY, AttackSpec, recipe_of
from benchmarks.signs.benign_scenes import BACKGROUND, BenignPictures
from taintwatch.sources.camera_model import SimulatedCamera
from taintwatch_calibration.craft.engine import Step
from taintwatch_calibration.craft.physical import Model, craft_patterns, label_pictures
from taintwatch_calibration.craft.placement import apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.storage import write_atomically

__all__ = ["Attack", "load_attack", "make_attack", "save_attack", "scaled_beside", "sources_of"]

_CAMERA_PX = 240
_PATCH_PX = 64
Classify = Callable[[NDArray[np.uint8]], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """A patch and every picture that it was tried on."""

    patch: NDArray[np.float32]
    """(3, s, s), RGB in [0, 1]."""
    pixels: NDArray[np.uint8]
    """(attempts, 64, 64, 3): what the classifier sees."""
    success: NDArray[np.bool_]
    """(attempts,): the target is seen (untargeted: anything but the sign, which is seen without the patch)."""


def sources_of(pictures: BenignPictures, spec: AttackSpec) -> BenignPictures:
    """Return the pictures that the attack is meant for."""
    if spec.source == EMPTY:
        return pictures.subset(pictures.labels == BACKGROUND)
    if spec.source is None:
        return pictures.subset((pictures.labels != BACKGROUND) & (pictures.labels != spec.target))
    return pictures.subset(pictures.labels == spec.source)


def scaled_beside(pictures: NDArray[np.uint8], backgrounds: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Put each (64, 64, 3) picture at 0.55 of its size on the left of a background, so that there is room beside it."""
    rng = np.random.default_rng(seed)
    result = backgrounds[rng.integers(len(backgrounds), size=len(pictures))].copy()
    side = 35
    for picture, scene in zip(pictures, result, strict=True):
        top = int(rng.integers(8, 64 - side - 8))
        scene[top : top + side, :side] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return result


def make_attack(
    spec: AttackSpec,
    model: Model,
    classify: Classify,
    crafting: BenignPictures,
    test_images: BenignPictures,
    preprocessing: Preprocessing,
    *,
    attempts: int,
    report: Callable[[Step], None] | None = None,
) -> Attack:
    """Craft on `crafting`, try on those `test_images` that `classify` sees rightly without the patch.

    `model` is the classifier in Torch, `classify` pixels (N, 64, 64, 3) to labels: the product's own.
    """
    scenes = [p.subset(p.labels == BACKGROUND).pixels for p in (crafting, test_images)]
    own, others = sources_of(crafting, spec), sources_of(test_images, spec)
    learn, show = own.pixels, others.pixels
    if spec.place == "beside":
        learn, show = scaled_beside(learn, scenes[0], spec.seed), scaled_beside(show, scenes[1], spec.seed)
    pattern, schedule = recipe_of(spec)
    mask, pictures = shape_mask("square", _PATCH_PX)[None], label_pictures(model, _planes(learn), preprocessing)
    patch = craft_patterns(model, pictures, preprocessing, mask, pattern, schedule, report=report)[0]
    truth = others.labels
    right = np.flatnonzero(classify(show) == truth)
    chosen = right[np.random.default_rng(spec.seed).integers(len(right), size=attempts)]
    generator = torch.Generator().manual_seed(7000 + spec.seed)
    shown = _planes(_enlarged(show[chosen])) if spec.camera_model else _planes(show[chosen])
    ink = _printed(patch) if spec.camera_model else patch
    images, _ = apply_patterns(shown, ink[None], mask, replace(pattern.placement, light=0.0), generator)
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    if spec.camera_model:
        pixels = _through_camera(pixels, preprocessing, spec.seed)
    seen = classify(pixels)
    success = seen == spec.target if spec.target is not None else seen != truth[chosen]
    return Attack(patch.numpy(), pixels, success)


def _planes(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (_CAMERA_PX, _CAMERA_PX)
    return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_CUBIC) for p in pixels]).astype(np.uint8)


def _printed(patch: Tensor) -> Tensor:
    """What an office printer makes of the patch: no deep black, no pure white, paler colours."""
    grey = patch.mean(0, keepdim=True)
    return 0.08 + 0.82 * (grey + 0.85 * (patch - grey))


def _through_camera(pixels: NDArray[np.uint8], preprocessing: Preprocessing, seed: int) -> NDArray[np.uint8]:
    """A worse webcam than the simulator's office: more drift, blur and noise, stronger JPEG."""
    camera = SimulatedCamera(seed=seed, drift=0.15, blur_px=1.5, noise=6.0, jpeg_quality=70)
    return np.stack([preprocessing.pixels(camera(p[:, :, ::-1].copy(), i)) for i, p in enumerate(pixels)])


def save_attack(attack: Attack, path: Path) -> None:
    """Keep an attack, whole or not at all."""
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, patch=attack.patch, pixels=attack.pixels, success=attack.success)
    write_atomically(path, buffer.getvalue())


def load_attack(path: Path) -> Attack:
    """Read a kept attack."""
    with np.load(path, allow_pickle=False) as arrays:
        return Attack(arrays["patch"], arrays["pixels"], arrays["success"])
