"""The patches: crafted on the first part of the footage and on photographs, one after the other, and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.objects.scenes import frames_of, photographs
from benchmarks.objects.sites import PEOPLE, SITES
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.object_attacks import ObjectAttack, ObjectScenes, craft_object_patch
from taintwatch_calibration.craft.object_scenes import object_scenes, whole_scenes
from taintwatch_models.objects.finder import ObjectFinder
from taintwatch_models.objects.torch_detector import TorchDetector
from taintwatch_models.storage import write_atomically

__all__ = ["crafted_patches", "crafted_steps"]

_CRAFTED_ON = 0.5  # of each video
_STEPS = "steps.json"
_CORNER: dict[str, Any] = {"size": 0.2, "smooth": 0.1, "printable": 0.03, "batch": 4}


def crafted_patches(
    plain: ObjectFinder, data: Path, work: Path, iterations: int, report: Callable[[str], None], seed: int
) -> dict[str, torch.Tensor]:
    """Return the patches by name, (3, side, side) RGB in [0, 1]: those in `work`, and the others crafted into it."""
    work = work / f"patches-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    plans = _plans(plain, iterations)
    if all((work / f"{name}.npy").is_file() for name in plans):
        return {name: torch.from_numpy(np.load(work / f"{name}.npy")) for name in plans}
    detector = TorchDetector(plain.proto)
    scenes = _scenes(plain, data)
    for name, (attack, steps, shown) in plans.items():
        path = work / f"{name}.npy"
        if not path.is_file():
            schedule = Schedule(iterations=steps, step=0.05, rule="adam", seed=seed)
            patch = craft_object_patch(
                detector, plain.decoder, plain.preprocessing, scenes[shown], attack, schedule,
                report=_reporter(name, report),
            )  # fmt: skip
            np.save(path, patch.numpy())
            write_atomically(work / _STEPS, json.dumps(crafted_steps(work) | {name: steps}).encode())
    return {name: torch.from_numpy(np.load(work / f"{name}.npy")) for name in plans}


def crafted_steps(work: Path) -> dict[str, int]:
    """Return how many steps each patch in a folder of patches took."""
    path = work / _STEPS
    found: dict[str, int] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def _plans(plain: ObjectFinder, iterations: int) -> dict[str, tuple[ObjectAttack, int, str]]:
    label = plain.labels.index
    person = label("person")
    return {
        "hide_car": (ObjectAttack("hide", label("car"), smooth=0.1, printable=0.03), iterations, "cars"),
        "camouflage_car": (ObjectAttack("camouflage", label("car"), smooth=0.1, printable=0.03), iterations, "cars"),
        "hide_person": (ObjectAttack("hide", person, smooth=0.1, printable=0.03), iterations, "people"),
        "dpatch": (ObjectAttack("dpatch", person, **_CORNER), 2 * iterations, "anywhere"),
        "dpatch_any": (ObjectAttack("dpatch", None, **_CORNER), 2 * iterations, "anywhere"),
        "change_person": (ObjectAttack("change", person, wanted=label("teddy bear")), iterations, "people"),
    }


def _scenes(plain: ObjectFinder, data: Path) -> dict[str, ObjectScenes]:
    """Return crops around cars and around people, and whole pictures, at the scale of the detector's input."""
    road = frames_of(data / SITES["motorway"], 24, 0.0, _CRAFTED_ON)
    pictures = photographs(data / "coco")[:60]
    videos = [frame for name in ("walk", "help", "no") for frame in frames_of(data / f"videos/{name}.mkv", 8)]
    people = [*pictures, *videos, *frames_of(data / PEOPLE, 20, 0.0, _CRAFTED_ON)]
    return {
        "cars": object_scenes(plain, [*road, *pictures], "car"),
        "people": object_scenes(plain, people, "person"),
        "anywhere": whole_scenes(plain, [*pictures[:30], *road[:10]]),
    }


def _reporter(name: str, report: Callable[[str], None]) -> Callable[[Step], None]:
    def told(step: Step) -> None:
        if step.iteration % 10 == 0:
            report(f"{name}: step {step.iteration}, loss {step.loss:.3f}, success {step.success:.2f}")

    return told
