"""Simulated videos: a photograph that moves before a camera, bare-faced and then with the crafted glasses on.

Everything from the frame on is the daemon's own: finding, following and aligning the face, model, detector, vote. The
glasses are worn in the frame, on the eyes as the face finder saw them without glasses, and turn with the head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.face_trials.attacks import TARGET, Attacks
from benchmarks.face_trials.glasses_craft import GlassesRecipe, Photos, craft_glasses
from benchmarks.face_trials.model import FaceModel, pictures, pixels
from benchmarks.face_trials.people import People
from benchmarks.face_trials.worn import PoseLimits, draw_poses, wear
from taintwatch.alerts.incidents import AlertTracker
from taintwatch.pipeline import Step, watch
from taintwatch.records import AlertState
from taintwatch.subjects.faces import FaceExpander
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Hold, Voter
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.faces.glasses_shape import GlassesShape
from taintwatch_models.classifier import Classifier
from taintwatch_models.faces.align import alignment_of
from taintwatch_models.faces.finder import HaarFaces
from taintwatch_models.records import Detector, Frame, Prediction, read_only

__all__ = ["FPS", "VideoTrial", "Watching", "record_all", "summary"]

FPS = 5.0
BARE, WORN = 25, 20
PHOTOS = 3
_WIDTH, _HEIGHT = 640, 480
_ENLARGED = 3
_WORN_AS = PoseLimits(yaw_degrees=4.0, pitch_degrees=3.0, roll_degrees=1.0, shift=0.01, light=0.05)
_CRAFTED_OVER = PoseLimits(yaw_degrees=4.0, pitch_degrees=3.0, roll_degrees=2.0, shift=0.04, scale=0.03, light=0.08)


@dataclass(frozen=True, slots=True, eq=False)
class VideoTrial:
    """What came of one wearer's video; one entry for each frame with a face."""

    frames: NDArray[np.int64]
    worn: NDArray[np.bool_]
    labels: NDArray[np.int64]
    """-1: a stranger."""
    suspicious: NDArray[np.bool_]
    raised: NDArray[np.int64]
    """Frames at which an alert was raised."""


@dataclass(frozen=True, slots=True)
class _Supply:
    """One frame after the other."""

    source: Iterator[Frame]
    left: list[int]

    @property
    def finished(self) -> bool:
        return self.left[0] <= 0

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        self.left[0] -= 1
        return [next(self.source)]


@dataclass(frozen=True, slots=True, eq=False)
class Watching:
    """What watches the videos."""

    classifier: Classifier
    detectors: Sequence[Detector]
    stranger_below: float


def record_all(
    people: People, attacks: Attacks, model: FaceModel, watching: Watching, work: Path, *, videos: int
) -> list[VideoTrial]:
    """Craft glasses for each wearer's video, record it, and watch it; what was done is kept."""
    cache, find = Cache(work), HaarFaces()
    stranger_below = watching.stranger_below
    trials = []
    for index, wearer in enumerate(attacks.wearers[:videos]):
        file = str(work / "photographs" / people.files[attacks.rows[index]])
        photograph = np.asarray(cv2.imread(file), np.uint8)

        def glasses(index: int = index, photograph: NDArray[np.uint8] = photograph) -> dict[str, NDArray[Any]]:
            return _craft(photograph, find, model, int(attacks.wearers[index]), index, people.faces.shape[1])

        pattern = cache.arrays(f"video-glasses/{int(wearer):03d}", (), glasses)["pattern"]

        def trial(
            index: int = index, photograph: NDArray[np.uint8] = photograph, pattern: NDArray[np.float32] = pattern
        ) -> dict[str, NDArray[Any]]:
            frames = _record(photograph, find, torch.from_numpy(pattern), index)
            expander = FaceExpander(find, size=people.faces.shape[1])
            voter = Voter(KofN(3, 5), detectors=["face"], hold=Hold(1.0, 2.0))
            batches = watch(
                _Supply(frames, [BARE + WORN]), watching.classifier, watching.detectors, voter, AlertTracker(),
                expander, max_batch=1, wait_s=0.0, stopping=lambda: False,
            )  # fmt: skip
            print(f"video of {attacks.wearers[index]}", flush=True)
            return _statistics_of([step for batch in batches for step in batch], stranger_below)

        arrays = cache.arrays(f"videos/{int(wearer):03d}", (), trial)
        trials.append(VideoTrial(**arrays))
    return trials


def _craft(
    photograph: NDArray[np.uint8], find: HaarFaces, model: FaceModel, wearer: int, seed: int, size: int
) -> dict[str, NDArray[Any]]:
    """Craft over frames of the wearer's own bare video, as the attacker would record them, with shifts between them."""
    large, eyes = _enlarged(photograph, find)
    faces, places = [], []
    for index in range(4, BARE, BARE // PHOTOS):
        matrix = _motion(large.shape, index, _drift(seed))
        frame = _shot(large, matrix, index, np.random.default_rng(index))
        face = find(frame)
        if not face:
            continue
        alignment = alignment_of(face[0], size)
        faces.append(alignment.warp(frame))
        seen = eyes.numpy() @ matrix[:, :2].T + matrix[:, 2]
        places.append([alignment.to_aligned(float(x), float(y)) for x, y in seen])
    photos = Photos(pixels(np.stack(faces)), torch.tensor(places).float(), wearer)
    recipe = GlassesRecipe(target=TARGET, limits=_CRAFTED_OVER, printability=0.0, iterations=200, seed=seed)
    crafted = craft_glasses(model.torch_model, photos, GlassesShape(), recipe)
    print(f"glasses for the video of {wearer}: {crafted.probability:.3f} after {crafted.iterations}", flush=True)
    return {"pattern": crafted.pattern.numpy()}


def _enlarged(photograph: NDArray[np.uint8], find: HaarFaces) -> tuple[NDArray[np.uint8], torch.Tensor]:
    """Return the photograph as large as it is recorded, and where its eyes are, (2, 2)."""
    large = cv2.resize(photograph, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.uint8), torch.tensor(find(photograph)[0].eyes).float() * _ENLARGED


def _drift(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0, 2 * np.pi, 4)


def _record(photograph: NDArray[np.uint8], find: HaarFaces, pattern: torch.Tensor, seed: int) -> Iterator[Frame]:
    """Yield BARE frames without and WORN frames with the glasses, at FPS."""
    rng = np.random.default_rng(seed + 1000)
    generator = torch.Generator().manual_seed(seed)
    large, eyes = _enlarged(photograph, find)
    for index in range(BARE + WORN):
        shown = large
        if index >= BARE:
            poses = draw_poses(1, _WORN_AS, generator)
            shown = pictures(wear(pixels(large[None]), eyes[None], pattern, GlassesShape(), poses)[0])[0]
        at_ns = round(index / FPS * 1e9)
        image = _shot(shown, _motion(shown.shape, index, _drift(seed)), index, rng)
        yield Frame("door", index, read_only(image), at_ns, at_ns, index / FPS)


def _motion(shape: tuple[int, ...], index: int, drift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the photograph is in the frame: it sways, nears and turns slowly; (2, 3)."""
    x, y, scale, turn = np.sin(drift + index * np.array([0.35, 0.27, 0.19, 0.23]))
    middle = (shape[1] / 2, shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(middle, float(4 * turn), float(0.85 + 0.12 * scale))
    matrix[:, 2] += (_WIDTH / 2 - middle[0] + 40 * x, _HEIGHT / 2 - middle[1] + 15 * y)
    return np.asarray(matrix, np.float64)


def _shot(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], index: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the camera's frame: light, focus and noise vary."""
    frame = cv2.warpAffine(image, matrix, (_WIDTH, _HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    frame = cv2.GaussianBlur(frame, (0, 0), float(rng.uniform(0.3, 0.9)))
    light = 1 + 0.08 * np.sin(index * 0.3) + rng.normal(0, 0.01)
    return np.asarray(np.clip(frame * light + rng.normal(0, 2.0, frame.shape), 0, 255), np.uint8)


def _statistics_of(steps: list[Step], stranger_below: float) -> dict[str, NDArray[Any]]:
    seen = [step for step in steps if isinstance(step.outcome, Prediction) and step.verdicts]
    labels = []
    for step in seen:
        outcome = step.outcome
        known = isinstance(outcome, Prediction) and outcome.confidence >= stranger_below
        labels.append(outcome.label if known and isinstance(outcome, Prediction) else -1)
    raised = [step.frame.index for step in steps if step.alert is not None and step.alert.state is AlertState.RAISED]
    frames = np.array([step.frame.index for step in seen], np.int64)
    return {
        "frames": frames,
        "worn": frames >= BARE,
        "labels": np.array(labels, np.int64),
        "suspicious": np.array([any(v.suspicious for v in step.verdicts) for step in seen], np.bool_),
        "raised": np.array(raised, np.int64),
    }


def summary(trials: list[VideoTrial], attacks: Attacks) -> dict[str, Any]:
    """Return what a person wants to know of all videos, JSON-ready."""
    bare_frames = sum(int((~trial.worn).sum()) for trial in trials)
    false_alarms = sum(int((trial.raised < BARE).sum()) for trial in trials)
    fooled = [(trial.worn & (trial.labels == TARGET)) for trial in trials]
    taken = [index for index, hits in enumerate(fooled) if hits.sum() >= 3]
    waits = []
    for index in taken:
        first = trials[index].frames[fooled[index]][0]
        after = trials[index].raised[trials[index].raised >= BARE]
        waits.append(float((after[0] - first) / FPS) if len(after) else None)
    alarmed = [wait for wait in waits if wait is not None]
    hours = len(trials) * BARE / FPS / 3600
    return {
        "videos": len(trials),
        "frames_per_second": FPS,
        "bare_frames": bare_frames,
        "bare_suspicious": int(sum((t.suspicious & ~t.worn).sum() for t in trials)),
        "hours_bare": round(hours, 4),
        "false_alarms": false_alarms,
        "false_alarms_per_hour": round(false_alarms / hours, 1),
        "worn_frames": int(sum(t.worn.sum() for t in trials)),
        "worn_frames_as_target": int(sum(hits.sum() for hits in fooled)),
        "worn_frames_as_target_suspicious": int(
            sum((hits & t.suspicious).sum() for hits, t in zip(fooled, trials, strict=True))
        ),
        "wearers_taken_for_the_target": len(taken),
        "of_these_alarmed": len(alarmed),
        "seconds_to_alarm_median": float(np.median(alarmed)) if alarmed else None,
        "seconds_to_alarm_worst": max(alarmed) if alarmed else None,
        "own_name_bare": round(
            float(
                np.mean(np.concatenate([t.labels[~t.worn] == w for t, w in zip(trials, attacks.wearers, strict=False)]))
            ),
            4,
        ),
    }
