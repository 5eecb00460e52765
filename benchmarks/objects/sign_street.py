"""A guarded detector that was trained here: the sign finder before one street, and a patch that hides a sign."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.objects.trials import Attack, benign_row, trial_rows
from taintwatch.demo.street_scene import StreetScene, random_street
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.scene import SceneSettings
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.object_attacks import ObjectAttack, craft_object_patch
from taintwatch_calibration.craft.object_scenes import object_scenes
from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.general import unpack
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.guard import ObjectGuard, learn_guard
from taintwatch_models.objects.torch_detector import TorchDetector

__all__ = ["sign_street_part"]

_NAME = "traffic sign"
_LEAST, _SIZE, _SIDE = 24, 0.5, 32
_STREET = 8000
_CRAFTING_STREETS = range(6000, 6040)
_SECONDS, _LEARNT = 60, 0.6

Picture = NDArray[np.uint8]


def sign_street_part(
    work: Path, iterations: int, frames: int, attacked: int, threads: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Learn from the first part of one street; count the suspicious of the rest, and of those with a hidden sign."""
    settings = FinderSettings(str(bundled_path("signs.finder.onnx")), overlap=0.2, device="cpu", threads=threads)
    plain = ObjectFinder(settings)
    patch = _patch(plain, work, iterations)
    scene = _street(_STREET, _SECONDS)
    general = list(unpack(bundled_path("general.npz")))[:120]
    guard = ObjectGuard(settings, learn_guard(settings, _frames(scene, 200, 0.0, _LEARNT), general))
    later = _frames(scene, frames, _LEARNT, 1.0)
    benign = benign_row(guard, later) | {"threshold": round(guard.threshold, 3)}
    say(f"sign street: {benign}")
    attack = Attack("hide sign", patch, _NAME, _SIZE, least=_LEAST)
    control = torch.from_numpy(np.ascontiguousarray(np.moveaxis(general[3], -1, 0)[::-1])).float() / 255
    control = torch.nn.functional.interpolate(control[None], (_SIDE, _SIDE), mode="area")[0]
    rows = [{"site": "sign street"} | row for row in trial_rows(guard, plain, later, attack, control, attacked)]
    say(f"{rows[0]}\n{rows[1]}")
    return {"benign": benign, "attacks": rows}


def _patch(plain: ObjectFinder, work: Path, iterations: int) -> torch.Tensor:
    """Craft the patch on the signs of other streets, or take it from `work`."""
    path = work / "hide_sign.npy"
    if not path.is_file():
        pictures = [_street(seed, 12).render(7 * (seed % 20)) for seed in _CRAFTING_STREETS]
        patch = craft_object_patch(
            TorchDetector(plain.proto), plain.decoder, plain.preprocessing,
            object_scenes(plain, pictures, _NAME, _LEAST),
            ObjectAttack("hide", 0, size=_SIZE, side=_SIDE, smooth=0.1, printable=0.03),
            Schedule(iterations=iterations, step=0.05, rule="adam"),
        )  # fmt: skip
        np.save(path, patch.numpy())
    return torch.from_numpy(np.load(path))


def _street(seed: int, seconds: int) -> StreetScene:
    settings = SceneSettings(seed=seed, duration=seconds)
    plan = random_street(np.random.default_rng([seed, 0x9]), 3, settings=settings)
    return StreetScene(plan, None, settings, CAMERA_MODELS["street"](seed))


def _frames(scene: StreetScene, count: int, first: float, last: float) -> list[Picture]:
    """Return frames evenly from the share `first` of the scene to `last`."""
    total = (scene.frame_count or 0) - 1
    return [scene.render(int(index)) for index in np.linspace(first * total, last * total, count)]
