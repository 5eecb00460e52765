"""Attacks on a guarded detector at one site, and its benign frames later in time: what is suspicious, and how often."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.objects.scenes import AttackedPicture, corner_patch, painted_object, worn_patch
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.camera_model.variation import CameraVariation, simulate_camera
from taintwatch_calibration.craft.object_scenes import large_objects
from taintwatch_models.objects.finder import FoundObject, ObjectFinder
from taintwatch_models.objects.guard import ObjectGuard

__all__ = ["Attack", "Count", "benign_row", "has_effect", "judge", "laid", "printed_patch", "ratio_gated", "trial_rows",
           "wearers_of"]  # fmt: skip

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """A crafted patch and where it lies."""

    name: str
    patch: torch.Tensor
    """(3, side, side), RGB in [0, 1]."""
    victim: str | None
    """The class that wears it; None: it lies in a corner."""
    size: float
    """As `ObjectAttack.size`; of no use to camouflage."""
    camouflage: bool = False
    """The victim is painted with it, instead of wearing it."""
    least: int = 48
    """Side of the smallest victim, in pixels of the detector's input."""


def printed_patch(patch: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Return a patch as a camera sees it printed: a printer's gamut, another light, a blur of a texel, noise.

    The gamut is an office printer's: from 0.08 to 0.9, saturation 0.75.
    """
    grey = patch.mean(0, keepdim=True)
    shown = 0.08 + 0.82 * (grey + 0.75 * (patch - grey))
    large = torch.nn.functional.interpolate(shown[None], scale_factor=2, mode="nearest")
    recorded = simulate_camera(
        large, CameraVariation(light=0.2, blur=1.5, noise=0.03), torch.Generator().manual_seed(seed)
    )
    return torch.nn.functional.interpolate(recorded, scale_factor=0.5, mode="area")[0]


@dataclass(slots=True)
class Count:
    """What was counted of one attack."""

    frames: int = 0
    effective: int = 0
    suspicious: int = 0
    named: int = 0
    """Suspicious of the effective, and of these the ones that say what changed."""

    def row(self, attack: Attack, recorded: bool) -> dict[str, Any]:
        """Return it JSON-ready."""
        caught, effective = self.suspicious, self.effective
        return {
            "attack": attack.name, "recorded": recorded, "frames": self.frames, "effective": effective,
            "recall_after": None if attack.victim is None else round(1 - effective / max(1, self.frames), 3),
            "suspicious_of_effective": caught, "tpr": round(caught / effective, 4) if effective else None,
            "tpr_interval": [round(value, 4) for value in wilson_interval(caught, effective)],
            "told_what_changed": self.named,
        }  # fmt: skip


def trial_rows(guard: ObjectGuard, plain: ObjectFinder, frames: Sequence[Picture], attack: Attack,
               control: torch.Tensor, most: int) -> list[dict[str, Any]]:  # fmt: skip
    """Lay the patch into frames, as it is and as recorded, and guard them; return a row of counts for each.

    An effect: the wearer is not found as what it is any more (IoU 0.5); in a corner: a box appears or vanishes.
    `control`: a benign picture of the same size, which says how often the mere paper hides the wearer, and alarms.
    """
    counts, controls = {False: Count(), True: Count()}, Count()
    for index, frame in enumerate(frames):
        before = plain(frame)
        for victim in wearers_of(plain, before, frame, attack):
            for recorded, count in counts.items():
                patch = printed_patch(attack.patch, index) if recorded else attack.patch
                judge(guard, laid(frame, victim, patch, attack).picture, before, victim, count)
            judge(guard, laid(frame, victim, control, attack).picture, before, victim, controls, every=True)
        if controls.frames >= most:
            break
    told = {"control_effective": controls.effective, "control_suspicious": controls.suspicious}
    return [count.row(attack, recorded) | told for recorded, count in counts.items()]


def judge(guard: ObjectGuard, picture: Picture, before: Sequence[FoundObject], victim: FoundObject | None,
          count: Count, every: bool = False) -> None:  # fmt: skip
    """Count one picture; `every`: alarms count with and without an effect."""
    guarded = guard(picture)
    effective = has_effect(before, guarded.objects, victim)
    alarm = guarded.score > guard.threshold and (effective or every)
    count.frames += 1
    count.effective += effective
    count.suspicious += alarm
    count.named += alarm and guarded.change is not None and guarded.change.size >= 0.25


def wearers_of(
    plain: ObjectFinder, found: Sequence[FoundObject], frame: Picture, attack: Attack
) -> Sequence[FoundObject | None]:
    """Return who wears the patch in a frame: the surest object of the class that is large enough, or nobody."""
    return [None] if attack.victim is None else large_objects(plain, found, frame, attack.victim, attack.least)[:1]


def laid(frame: Picture, victim: FoundObject | None, patch: torch.Tensor, attack: Attack) -> AttackedPicture:
    """Lay a patch on a victim, or into the corner where there is none; camouflage is painted on."""
    if victim is None:
        return corner_patch(frame, patch, attack.size)
    return painted_object(frame, victim, patch) if attack.camouflage else worn_patch(frame, victim, patch, attack.size)


def has_effect(before: Sequence[FoundObject], after: Sequence[FoundObject], victim: FoundObject | None) -> bool:
    """Say whether the victim is not found any more; of a corner patch whether any box appeared or vanished."""
    if victim is not None:
        return not _answers(victim, after)
    lost = any(not _answers(each, after) for each in before)
    return lost or any(not _answers(each, before) for each in after)


def _answers(wanted: FoundObject, found: Sequence[FoundObject]) -> bool:
    return any(each.label == wanted.label and _overlap(each.box, wanted.box) >= 0.5 for each in found)


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / max(1e-6, first[2] * first[3] + second[2] * second[3] - shared)


def benign_row(guard: ObjectGuard, frames: Sequence[Picture]) -> dict[str, Any]:
    """Guard benign frames, later in time than what was learnt from."""
    looked = guard.looked
    alarms = sum(guard(frame).score > guard.threshold for frame in frames)
    return {
        "frames": len(frames), "suspicious": int(alarms), "fpr": round(alarms / len(frames), 4),
        "fpr_interval": [round(value, 4) for value in wilson_interval(int(alarms), len(frames))],
        "looked_again": round((guard.looked - looked) / len(frames), 4),
    }  # fmt: skip


def ratio_gated(guard: ObjectGuard, plain: ObjectFinder, frames: Sequence[Picture], rounds: int = 3) -> dict[str, Any]:
    """Time the plain and the guarded detector on the same frames in turn; the smallest of some rounds counts.

    Processor time, on one thread: a wall clock on a busy machine says nothing.
    """
    times: dict[str, list[float]] = {"plain": [], "guarded": []}
    for _ in range(rounds):
        for name, run in (("plain", plain), ("guarded", guard)):
            start = time.process_time()
            for frame in frames:
                run(frame)
            times[name].append(time.process_time() - start)
    best = {name: min(values) for name, values in times.items()}
    return {
        "frames": len(frames), "ratio": round(best["guarded"] / best["plain"], 3),
        "frames_per_second": {name: round(len(frames) / value, 1) for name, value in best.items()},
        "spread": {name: round(max(values) / min(values), 2) for name, values in times.items()},
        "objects_per_frame": round(float(np.mean([len(plain(frame)) for frame in frames])), 1),
    }  # fmt: skip
