"""Adversarial glasses for some of the enrolled, crafted once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.face_trials.glasses_craft import GlassesRecipe, Photos, craft_glasses
from benchmarks.face_trials.model import FaceModel, pictures, pixels
from benchmarks.face_trials.people import TEST, People
from benchmarks.face_trials.worn import PoseLimits, still, wear
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.faces.glasses_shape import GlassesShape
from taintwatch_models.faces.align import ALIGNED_SIZE, TEMPLATE_EYES

__all__ = ["TARGET", "Attacks", "craft_all", "template_eyes"]

TARGET = 0  # the first of the enrolled in alphabetical order: chosen before anything was measured


@dataclass(frozen=True, slots=True, eq=False)
class Attacks:
    """One attack for each wearer."""

    wearers: NDArray[np.int64]
    """(N,) labels."""
    faces: NDArray[np.uint8]
    """(N, size, size, 3): the photograph with the glasses on, in whole pixel values."""
    patterns: NDArray[np.float32]
    """(N, 3, rows, columns)."""
    rows: NDArray[np.intp]
    """(N,) of the photograph among all."""
    iterations: NDArray[np.int64]
    reached: NDArray[np.bool_]
    """Whether the stop probability was reached."""


def template_eyes(count: int, size: int) -> torch.Tensor:
    """Return where the eyes are in aligned faces, (count, 2, 2)."""
    return (torch.tensor(TEMPLATE_EYES) * (size / ALIGNED_SIZE)).expand(count, 2, 2)


def craft_all(people: People, model: FaceModel, work: Path, *, dodging: bool, wearers: int) -> Attacks:
    """Craft for the first `wearers` people of a random order, on one test photograph that is recognised each."""
    order = np.random.default_rng(5).permutation(len(people.names))
    chosen = [int(label) for label in order if label != TARGET][:wearers]
    kind = "dodging" if dodging else "impersonation"
    recipe = GlassesRecipe(target=None if dodging else TARGET, limits=PoseLimits(), printability=0.0)
    shape = GlassesShape()
    cache, made = Cache(work / kind), list[dict[str, NDArray[Any]]]()
    for wearer in chosen:
        row = np.flatnonzero((people.labels == wearer) & (people.part == TEST))[:1]

        def craft(wearer: int = wearer, row: NDArray[np.intp] = row) -> dict[str, NDArray[Any]]:
            faces, eyes = pixels(people.faces[row]), template_eyes(1, people.faces.shape[1])
            crafted = craft_glasses(model.torch_model, Photos(faces, eyes, wearer), shape, recipe)
            worn, _ = wear(faces, eyes, crafted.pattern, shape, still(1))
            print(f"{kind} {wearer}: {crafted.probability:.3f} after {crafted.iterations}", flush=True)
            return {
                "wearers": np.array([wearer]),
                "faces": pictures(worn),
                "patterns": crafted.pattern.numpy()[None],
                "rows": row,
                "iterations": np.array([crafted.iterations]),
                "reached": np.array([crafted.reached]),
            }

        made.append(cache.arrays(f"{wearer:03d}", (kind,), craft))
    return Attacks(**{name: np.concatenate([each[name] for each in made]) for name in made[0]})
