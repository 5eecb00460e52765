"""Signs followed through streets that nothing was trained on: is the patched one alerted on, and no other?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.street.patches import StreetPatch, with_patch
from benchmarks.street.player import play, simulate, street_plan, street_stack
from taintwatch.alarm_rates import wilson_interval
from taintwatch.demo.street_scene import StreetScene
from taintwatch.detection_stack import DetectionStack
from taintwatch.pipeline import Step
from taintwatch.records import AlertState
from taintwatch.sources.scene import SceneSettings
from taintwatch.subjects.regions import CropBox
from taintwatch_models.records import Prediction
from taintwatch_models.storage import write_atomically

__all__ = ["measure_tracks"]

_SECONDS, _START, _END = 0.8, 0.2, 0.8
_FIRST_SEED = 60_000
"""Of the streets that are counted; the detector and its target rate were chosen in those from 20,000 on."""


@dataclass(slots=True)
class _Sign:
    """What became of one sign of one street."""

    frames: int = 0
    """In view."""
    found: int = 0
    under_patch: int = 0
    fooled: int = 0
    suspicious: int = 0
    suspicious_under_patch: int = 0
    right: int = 0
    alerts: int = 0


def measure_tracks(patches: Sequence[StreetPatch], streets: int, work: Path) -> dict[str, Any]:
    """Play `streets` streets of three signs, with a patch on one for half of the time, and count by track.

    A patch counts where the recogniser is wrong in at least half of the frames that have it. Returns rows by patch, and
    the untouched signs' alerts. What each street gave is kept in `work`.
    """
    rows: dict[str, list[_Sign]] = {patch.name: [] for patch in patches}
    others: list[_Sign] = []
    elsewhere = 0
    make = cache(street_stack)
    for number in range(streets):
        patch = patches[number % len(patches)]
        found = played(number, patch, make, work)
        signs = [_Sign(**each) for each in found["signs"]]
        rows[patch.name].append(signs.pop(found["patched"]))
        others += signs
        elsewhere += found["elsewhere"]
    attacked = [sign for signs in rows.values() for sign in signs]
    return {
        "streets": streets,
        "first_seed": _FIRST_SEED,
        "frames": round(_SECONDS * SceneSettings().fps) * streets,
        "attacked": {name: _attacked_row(signs) for name, signs in rows.items()},
        "all_attacked": _attacked_row(attacked),
        "untouched": _untouched_row(others),
        "alerts_where_no_sign_is": elsewhere,
    }


def played(number: int, patch: StreetPatch, make: Callable[[], DetectionStack], work: Path) -> dict[str, Any]:
    """Return what was counted of each sign of one street, as it is kept in `work`, or played now and kept there."""
    path = work / f"street-{_FIRST_SEED + number}.json"
    if not path.is_file():
        scene = _street(_FIRST_SEED + number, patch)
        signs = [_Sign() for _ in scene.plan.signs]
        subjects: list[set[str]] = [set() for _ in signs]
        elsewhere = sum(
            _count(scene, signs, subjects, steps) for steps in play(make(), scene, f"street-{number}")
        )  # fmt: skip
        found = {"signs": [asdict(sign) for sign in signs], "patched": scene.plan.patched, "elsewhere": elsewhere}
        work.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found).encode())
    kept: dict[str, Any] = json.loads(path.read_text())
    return kept


def _street(seed: int, patch: StreetPatch) -> StreetScene:
    settings = SceneSettings(seed=seed, duration=_SECONDS, start=_START, end=_END)
    return simulate(with_patch(street_plan(seed, settings, patch.sign), patch), settings, patch.picture)


def _count(scene: StreetScene, signs: list[_Sign], subjects: list[set[str]], steps: Sequence[Step]) -> int:
    """Count one frame's steps with their signs; return the alerts on what is no sign."""
    elsewhere = 0
    index = steps[0].frame.index
    boxes = scene.sign_boxes(index)
    for sign, box in zip(signs, boxes, strict=True):
        sign.frames += box is not None
    for step in steps:
        number = _which(step, boxes)
        if number is not None and isinstance(step.outcome, Prediction):
            subjects[number].add(step.outcome.frame.subject or "")
            _count_verdict(signs[number], step, scene.plan.signs[number].sign,
                    number == scene.plan.patched and scene.ground_truth(index).attacked)  # fmt: skip
        if step.alert is not None and step.alert.state is AlertState.RAISED:
            owner = next((index for index, names in enumerate(subjects) if step.alert.subject in names), None)
            if owner is None:
                elsewhere += 1
            else:
                signs[owner].alerts += 1
    return elsewhere


def _count_verdict(sign: _Sign, step: Step, true_label: int, attacked: bool) -> None:
    if not isinstance(step.outcome, Prediction):
        return
    suspicious = any(verdict.suspicious for verdict in step.verdicts)
    sign.found += 1
    sign.right += step.outcome.label == true_label
    sign.suspicious += suspicious
    sign.under_patch += attacked
    sign.fooled += attacked and step.outcome.label != true_label
    sign.suspicious_under_patch += attacked and suspicious


def _which(step: Step, boxes: Sequence[tuple[int, int, int, int] | None]) -> int | None:
    crop = None if step.subject_frame is None else step.subject_frame.transform
    if not isinstance(crop, CropBox):
        return None
    x, y = crop.x + crop.width / 2, crop.y + crop.height / 2
    near = [
        (abs(box[0] + box[2] / 2 - x) + abs(box[1] + box[3] / 2 - y), number)
        for number, box in enumerate(boxes)
        if box is not None and box[0] <= x <= box[0] + box[2] and box[1] <= y <= box[1] + box[3]
    ]
    return min(near)[1] if near else None


def _attacked_row(signs: Sequence[_Sign]) -> dict[str, Any]:
    effective = [sign for sign in signs if sign.under_patch and sign.fooled >= sign.under_patch / 2]
    alerted = sum(sign.alerts > 0 for sign in effective)
    return {
        "tracks": len(signs),
        "found": round(sum(sign.found for sign in signs) / max(1, sum(sign.frames for sign in signs)), 4),
        "effective": len(effective),
        "alerted_of_effective": alerted,
        "tpr": round(alerted / len(effective), 4) if effective else None,
        "tpr_interval": [round(value, 4) for value in wilson_interval(alerted, len(effective))] if effective else None,
        "frame_tpr": round(
            sum(sign.suspicious_under_patch for sign in effective) / max(1, sum(s.under_patch for s in effective)), 4
        ),
    }


def _untouched_row(signs: Sequence[_Sign]) -> dict[str, Any]:
    found = sum(sign.found for sign in signs)
    alerted = sum(sign.alerts > 0 for sign in signs)
    return {
        "tracks": len(signs),
        "found": round(found / max(1, sum(sign.frames for sign in signs)), 4),
        "right": round(sum(sign.right for sign in signs) / max(1, found), 4),
        "suspicious_frames": round(sum(sign.suspicious for sign in signs) / max(1, found), 5),
        "alerted": alerted,
        "alerted_interval": [round(value, 4) for value in wilson_interval(alerted, len(signs))],
    }
