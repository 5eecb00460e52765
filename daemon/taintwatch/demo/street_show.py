"""Runs the street: the service with a sign finder before the recogniser, and whether the patched sign alone alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch.config.line_map import KeyPath
from taintwatch.config.load import load_config
from taintwatch.config.sections import Config
from taintwatch.demo.frame_record import ScoreReading
from taintwatch.demo.show import play_service
from taintwatch.demo.street_play import STREET_ATTACK
from taintwatch.demo.street_scene import StreetScene
from taintwatch.demo.verdict import ActResult, Chapter, judge_act
from taintwatch.evidence.media import decode_jpeg, encode_jpeg
from taintwatch.pipeline import Step
from taintwatch.records import Alert, AlertState
from taintwatch.status import Summary
from taintwatch.subjects.regions import CropBox
from taintwatch.vote.voter import OVERALL
from taintwatch_models.records import Prediction
from taintwatch_models.signs import SIGN_NAMES

__all__ = ["SeenSign", "SignResult", "StreetFrame", "StreetResult", "perform_street", "street_config"]

FOUND_AT_LEAST = 0.8
"""Share of the frames in which each sign must be found, for the street to count as watched."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class SeenSign:
    """One sign in one frame, as the daemon judged it."""

    subject: str
    box: Box
    """x, y, width and height of what was cut out, in the frame's pixels."""
    place: int | None
    """Which of the street's signs it is; None: none of them is there."""
    label: int
    label_name: str
    score: float
    threshold: float
    raised: bool

    def row(self) -> tuple[str, str, ScoreReading, bool]:
        """Return it as the screen shows it."""
        reading = ScoreReading(self.score, self.threshold, self.score > self.threshold)
        return self.subject, self.label_name, reading, self.raised


@dataclass(frozen=True, slots=True, eq=False)
class StreetFrame:
    """One frame and what was found in it."""

    index: int
    signs: tuple[SeenSign, ...]
    jpeg: bytes

    def image(self) -> NDArray[np.uint8]:
        """Return the frame: (height, width, 3) uint8 blue-green-red."""
        return decode_jpeg(self.jpeg)


@dataclass(frozen=True, slots=True)
class SignResult:
    """How one of the signs went. JSON-ready."""

    sign: str
    patched: bool
    found: float
    """Share of the frames in which it was found."""
    right: float
    """Share of those in which the recogniser named it."""
    alerts: int


@dataclass(frozen=True, slots=True, eq=False)
class StreetResult:
    """The whole street."""

    act: ActResult
    signs: tuple[SignResult, ...]
    stray: tuple[int, ...]
    """Frames at which an alert was raised on another sign, or without the patch."""
    alerts: tuple[Alert, ...]
    summary: Summary
    frames: tuple[StreetFrame, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what went wrong, one sentence each."""
        said = [f"{self.act.attack}: {problem}" for problem in self.act.problems]
        said += [f"an alert was raised in frame {frame} without a patch on that sign" for frame in self.stray]
        said += [
            f"the sign '{each.sign}' was found in only {each.found:.0%} of the frames"
            for each in self.signs
            if each.found < FOUND_AT_LEAST
        ]
        return tuple(said)

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "kind": "demo",
            "scene": "street",
            "ok": not self.problems,
            "acts": [asdict(self.act)],
            "signs": [asdict(each) for each in self.signs],
            "stray_alerts": list(self.stray),
            "problems": list(self.problems),
            "received": [alert.state.value for alert in self.alerts],
            "run": asdict(self.summary),
        }


def street_config(source: str, *, realtime: bool, evidence: Path | None) -> Config:
    """Return the daemon's configuration for the street: the bundled finder before the bundled recogniser."""
    flags: dict[KeyPath, tuple[str, Any]] = {
        ("site",): ("demo", "demo"),
        ("camera",): ("--camera", [{"name": "street", "source": source, "realtime": realtime}]),
        ("objects", "model"): ("demo", "bundled:signs"),
        ("objects", "overlap"): ("demo", 0.2),  # signs stand side by side: what overlaps at all is one
        ("detect", "detectors"): ("demo", ["combined"]),
        ("detect", "target_fpr"): ("demo", 0.02),  # a sign moves, and its frames differ: the vote does the rest
        ("vote", "clear_after_s"): ("demo", 0.0),
        ("publish", "bind"): ("demo", "tcp://127.0.0.1:*"),
        ("publish", "heartbeat_s"): ("demo", 0.5),
    }
    if evidence is not None:
        flags["evidence", "folder"] = ("--out", str(evidence))
    return load_config(None, flags)


def perform_street(
    config: Config,
    scene: StreetScene,
    hear: Callable[[Alert], None] = lambda alert: None,
    show: Callable[[StreetFrame], None] = lambda frame: None,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> StreetResult:
    """Run the service as `taintwatch run` does until the scene's end or `stopping`. Raises what a service raises."""
    frames: dict[int, StreetFrame] = {}
    places: dict[str, int] = {}  # by subject: the sign that it was seen at last

    def observe(step: Step) -> None:
        index = step.frame.index
        before = frames.get(index)
        seen = _seen(step, scene)
        signs = (*(() if before is None else before.signs), *(() if seen is None else (seen,)))
        frames[index] = StreetFrame(index, signs, encode_jpeg(step.frame.image) if before is None else before.jpeg)
        if seen is not None and seen.place is not None:
            places[seen.subject] = seen.place
        if before is None and index:
            show(frames.get(index - 1, frames[index]))

    summary, alerts = play_service(config, observe, hear, stopping=stopping)
    return _result(scene, tuple(frames.values()), places, alerts, summary)


def _seen(step: Step, scene: StreetScene) -> SeenSign | None:
    if not isinstance(step.outcome, Prediction) or step.subject_frame is None or not step.verdicts:
        return None
    crop = step.subject_frame.transform
    if not isinstance(crop, CropBox):
        return None
    box = crop.x, crop.y, crop.width, crop.height
    combined = next((vote for vote in step.votes if vote.detector == OVERALL), None)
    verdict = step.verdicts[0]
    return SeenSign(
        subject=step.outcome.frame.subject or "",
        box=box,
        place=_place(box, scene.sign_boxes(step.frame.index)),
        label=step.outcome.label,
        label_name=step.outcome.label_name,
        score=verdict.score,
        threshold=verdict.threshold,
        raised=combined is not None and combined.raised,
    )


def _place(box: Box, signs: Sequence[Box | None]) -> int | None:
    """Return which sign's middle lies in the box, the middles nearest to each other first."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    best: list[tuple[float, int]] = []
    for number, sign in enumerate(signs):
        if sign is None:
            continue
        sx, sy = sign[0] + sign[2] / 2, sign[1] + sign[3] / 2
        if abs(sx - x) < box[2] / 2 and abs(sy - y) < box[3] / 2:
            best.append(((sx - x) ** 2 + (sy - y) ** 2, number))
    return min(best)[1] if best else None


def _result(
    scene: StreetScene,
    frames: tuple[StreetFrame, ...],
    places: dict[str, int],
    alerts: tuple[Alert, ...],
    summary: Summary,
) -> StreetResult:
    patched = scene.plan.patched
    attacked = [frame.index for frame in frames if scene.ground_truth(frame.index).attacked]
    span = range(attacked[0], attacked[-1] + 1) if attacked else range(0)
    at = [[sign for frame in frames for sign in frame.signs if sign.place == number]
          for number in range(len(scene.plan.signs))]  # fmt: skip
    under = [sign.label for frame in frames if frame.index in span for sign in frame.signs if sign.place == patched]
    chapter = Chapter(
        STREET_ATTACK, span, range(frames[0].index, frames[-1].index + 1) if frames else range(0),
        scene.plan.signs[patched].sign, tuple(under),
    )  # fmt: skip
    on_it = [alert for alert in alerts if places.get(alert.subject or "") == patched]
    stray = tuple(
        alert.raised_frame_index
        for alert in alerts
        if alert.state is AlertState.RAISED and (alert not in on_it or alert.raised_frame_index not in span)
    )
    raised = [alert for alert in alerts if alert.state is AlertState.RAISED]
    signs = tuple(
        SignResult(
            SIGN_NAMES[each.sign],
            number == patched,
            round(len(at[number]) / max(1, len(frames)), 4),
            round(sum(seen.label == each.sign for seen in at[number]) / max(1, len(at[number])), 4),
            sum(places.get(alert.subject or "") == number for alert in raised),
        )
        for number, each in enumerate(scene.plan.signs)
    )
    return StreetResult(judge_act(chapter, on_it), signs, stray, alerts, summary, frames)
