"""The sites: which footage, how much of it is learnt from, what is attacked there, and what is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.objects.scenes import frames_of, general_pictures, photographs
from benchmarks.objects.trials import Attack, benign_row, ratio_gated, trial_rows
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.guard import ObjectGuard
from taintwatch_models.objects.guard_learning import learn_guard

__all__ = ["LEARNT", "PEOPLE", "SITES", "Measuring", "attacks_of", "site_part", "speed_part"]

LEARNT = 0.6
"""Of each video; what comes later is attacked and counted."""
PEOPLE = "videos/one-by-one-person-detection.mp4"
SITES = {"motorway": "footage/highway.avi", "car park": "footage/parking.mp4", "hallway": PEOPLE}
"""Footage by site, below the folder of the data."""
_SITE_FRAMES, _GENERAL = 140, 120


class Measuring:
    """What is measured with: the detector, the data, how many frames."""

    def __init__(self, settings: FinderSettings, data: Path, frames: int, attacked: int) -> None:
        self.settings, self.data, self.frames, self.attacked = settings, data, frames, attacked
        self.plain = ObjectFinder(settings)
        self._guards: dict[str, ObjectGuard] = {}

    def guard(self, site: str) -> ObjectGuard:
        """Return the guard that has learnt from the first part of a site's footage; learnt once."""
        if site not in self._guards:
            frames = frames_of(self.data / SITES[site], _SITE_FRAMES, 0.0, LEARNT)
            general = general_pictures(self.data / "general", _GENERAL)
            self._guards[site] = ObjectGuard(self.settings, learn_guard(self.settings, frames, general))
        return self._guards[site]


def attacks_of(patches: dict[str, torch.Tensor]) -> dict[str, list[Attack]]:
    """Return what is attacked at each site."""
    return {
        "motorway": [
            Attack("hide car", patches["hide_car"], "car", 0.45),
            Attack("camouflage car", patches["camouflage_car"], "car", 1.0, camouflage=True),
            Attack("dpatch, person", patches["dpatch"], None, 0.2),
            Attack("dpatch, any class", patches["dpatch_any"], None, 0.2),
        ],
        "hallway": [
            Attack("hide person", patches["hide_person"], "person", 0.5),
            Attack("person becomes teddy bear", patches["change_person"], "person", 0.5),
        ],
    }


def site_part(
    with_: Measuring, site: str, attacks: Callable[[], dict[str, list[Attack]]], say: Callable[[str], None]
) -> dict[str, Any]:
    """Learn at a site; count the suspicious of its later frames, and of those with each attack."""
    guard = with_.guard(site)
    later = frames_of(with_.data / SITES[site], with_.frames, LEARNT, 1.0)
    benign = benign_row(guard, later) | {"threshold": round(guard.threshold, 3)}
    say(f"{site}: {benign}")
    rows = []
    control = _control(with_.data)
    for attack in attacks().get(site, []):
        rows += [{"site": site} | row for row in trial_rows(guard, with_.plain, later, attack, control, with_.attacked)]
        say(f"{rows[-2]}\n{rows[-1]}")
    return {"benign": benign, "attacks": rows}


def speed_part(with_: Measuring) -> dict[str, Any]:
    """Time the plain and the guarded detector on the motorway's later frames."""
    return ratio_gated(with_.guard("motorway"), with_.plain, frames_of(with_.data / SITES["motorway"], 40, LEARNT))


def _control(data: Path) -> torch.Tensor:
    """Return a photograph, (3, 48, 48) RGB in [0, 1]: what is no attack, where a patch would lie."""
    small = cv2.resize(photographs(data / "coco")[3], (48, 48))
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(small, -1, 0)[::-1])).float() / 255
