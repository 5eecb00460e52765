"""Patches for signs in a street: the bundled one, and others crafted on crops as the finder cuts them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.street.random_street import random_street
from taintwatch.demo.play import load_attack
from taintwatch.demo.street_play import STREET_ATTACK, sticker_of_attack
from taintwatch.demo.street_scene import Sticker, StreetPlan, StreetScene
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.scene import SceneSettings
from taintwatch_calibration.camera_model.variation import CameraVariation
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_calibration.craft.physical import Pattern, Pictures, craft_patterns
from taintwatch_calibration.craft.placement import Placement, PlacementBatch
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile

__all__ = ["CRAFTED", "StreetPatch", "street_patches"]

Picture = NDArray[np.uint8]
CRAFTED = {"30": (1, 8), "no entry": (17, 14), "straight ahead": (35, 12)}
"""Name, and of each the sign that wears it and the label that is wanted."""
_MARGIN = 0.1
_SIDE = 32
_CRAFTING_SEEDS = range(5000, 5040)
"""Of the streets that patches are crafted on; tracks are counted in others."""


@dataclass(frozen=True, slots=True, eq=False)
class StreetPatch:
    """A patch and the sign that wears it."""

    name: str
    sign: int
    picture: Picture
    """(256, 256, 3) blue-green-red."""
    sticker: Sticker


def street_patches(
    radar: RadarFile, work: Path, iterations: int, report: Callable[[str], None], seed: int
) -> tuple[StreetPatch, ...]:
    """Return the bundled patch for stop signs and the crafted ones, which are kept in `work`."""
    work = work / f"patches-{seed}"
    sticker = sticker_of_attack()
    found = [StreetPatch("stop", 14, load_attack(STREET_ATTACK).picture, sticker)]
    work.mkdir(parents=True, exist_ok=True)
    for name, (sign, target) in CRAFTED.items():
        path = work / f"street-{sign}.png"
        if not path.is_file():
            cv2.imwrite(str(path), _crafted(radar, sign, target, sticker, iterations, name, report, seed))
        found.append(StreetPatch(name, sign, np.asarray(cv2.imread(str(path)), np.uint8), sticker))
    return tuple(found)


def _crafted(
    radar: RadarFile, sign: int, target: int, sticker: Sticker, iterations: int, name: str,
    report: Callable[[str], None], seed: int,
) -> Picture:  # fmt: skip
    pattern = Pattern(
        target, Placement(rotation_degrees=5.0, shift=0.03, scale=0.08, light=0.1), loss="lead", lead=14.0,
        smoothness=0.02, camera=CameraVariation(0.2, 0.8, 0.02), ink=(0.06, 0.94),
    )  # fmt: skip
    schedule = Schedule(iterations=iterations, step=0.06, rule="adam", box="sigmoid", seed=seed)

    def report_step(step: Step) -> None:
        if step.iteration % 20 == 0:
            report(f"{name}: step {step.iteration}, loss {step.loss:.2f}, {step.success:.0%} fooled")

    crops = _crops(radar.info.preprocessing, sign, sticker)
    mask = shape_mask("square", _SIDE)[None]
    patch = craft_patterns(
        differentiable(radar), crops, radar.info.preprocessing, mask, pattern, schedule, report=report_step
    )[0]  # fmt: skip
    large = cv2.resize(patch.permute(1, 2, 0).numpy(), (256, 256), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray((np.clip(large, 0, 1)[:, :, ::-1] * 255).round().astype(np.uint8))


def _crops(preprocessing: Preprocessing, sign: int, sticker: Sticker) -> Pictures:
    """Return the sign cut out of streets, the box a little off, and where the patch would lie on it."""
    pixels, places = [], []
    for seed in _CRAFTING_SEEDS:
        rng = np.random.default_rng([seed, 0xC0])
        settings = SceneSettings(seed=seed)
        plan = random_street(rng, 1, classes=(sign,), settings=settings)
        scene = StreetScene(replace(plan, sticker=sticker), None, settings, CAMERA_MODELS["street"](seed))
        for index in (10, 70):
            box = scene.sign_boxes(index)[0]
            if box is not None:
                crop, place = _cut(scene.render(index), box, sticker, rng)
                pixels.append(preprocessing.pixels(crop))
                places.append(place)
    stack = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255  # (N, 3, H, W)
    stack = stack.flip(1) if preprocessing.order == "bgr" else stack
    x, y, size = (torch.tensor(column, dtype=torch.float32) for column in zip(*places, strict=True))
    return Pictures(stack, torch.full((len(stack),), sign), PlacementBatch(x, y, size, torch.zeros_like(x)))


def _cut(
    frame: Picture, box: tuple[int, int, int, int], sticker: Sticker, rng: np.random.Generator
) -> tuple[Picture, tuple[float, float, float]]:
    """Return a square crop, and the patch's place in it: centre in [-1, 1], side as a share."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    side = max(box[2:]) * (1 + 2 * _MARGIN)
    middle = x + rng.normal(0, 0.02) * side, y + rng.normal(0, 0.02) * side
    corner = round(middle[0] - side / 2), round(middle[1] - side / 2)
    rows, columns = frame.shape[:2]
    left, top = max(0, corner[0]), max(0, corner[1])
    right, bottom = min(columns, corner[0] + round(side)), min(rows, corner[1] + round(side))
    crop = np.ascontiguousarray(frame[top:bottom, left:right])
    centre = x + sticker.x * box[2], y + sticker.y * box[2]
    place = 2 * (centre[0] - left) / (right - left) - 1, 2 * (centre[1] - top) / (bottom - top) - 1
    return crop, (*place, sticker.side * box[2] / min(right - left, bottom - top))


def with_patch(plan: StreetPlan, patch: StreetPatch) -> StreetPlan:
    """Return the street with the sign that wears the patch in the place of its patched one."""
    signs = [
        replace(each, sign=patch.sign) if number == plan.patched else each for number, each in enumerate(plan.signs)
    ]
    return replace(plan, signs=tuple(signs), sticker=patch.sticker)
