"""The figures of a trial: rates with Wilson intervals by cell and over all, ROC curves, times to the alarm."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.rates import area_under_roc
from taintwatch_calibration.trial.matrix import Cell, nearest_cell
from taintwatch_calibration.trial.scored import ScoredClip, Trial

__all__ = ["Alarm", "Figures", "Rate", "Roc", "figures_of"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95% Wilson interval. JSON-ready."""

    count: int
    total: int
    share: float | None
    low: float
    high: float

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> Rate:
        """Count what is true."""
        listed = list(outcomes)
        count, total = sum(listed), len(listed)
        low, high = wilson_interval(count, total)
        return cls(count, total, count / total if total else None, low, high)


@dataclass(frozen=True, slots=True)
class Roc:
    """A detector on frames of successful attacks against benign frames. JSON-ready."""

    detector: str
    area: float | None
    false_positive: list[float]
    true_positive: list[float]
    at: tuple[float, float] | None
    """(false-, true-positive rate) at the calibrated threshold."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """The vote's result on one clip. JSON-ready."""

    video: str
    condition: str
    cell: str
    fooled: float | None
    """Share of the attacked frames whose label was wrong."""
    alarm_s: float | None
    """From the attack's first frame that fooled the classifier (a benign clip: from its start) to the alarm."""
    raised: bool
    """An attack: whether an alarm *rose* while it was in the picture."""
    standing: bool = False
    """Whether an alarm stood already when the attack came: then nothing can be said of its detection."""


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of a trial. JSON-ready."""

    recognised: Rate
    """Clean frames with the right label."""
    success: Rate
    """Attacked frames with a wrong label (the wanted one, where the attack wants one)."""
    detected: dict[str, Rate]
    """By detector: frames of successful attacks that are suspicious."""
    false_positives: dict[str, Rate]
    """By detector: benign frames that are."""
    by_cell: dict[str, list[tuple[Cell, Rate]]]
    """The same by place; keys `recognised`, `success`, `detected`, `false_positives` of the detector that votes."""
    rocs: list[Roc]
    alarms: list[Alarm]
    alarmed: Rate
    """Clips with a successful attack (half of its frames or more) in which an alarm rose while it was there."""
    standing: int
    """Such clips in which an alarm stood before the attack came: counted nowhere else."""
    false_alarms: int
    benign_s: float
    median_alarm_s: float | None
    poses: Rate
    """Frames whose pose is known."""

    def headline(self) -> dict[str, Rate]:
        """The rates by what they are, for people."""
        rows = {"recognised when clean": self.recognised, "attack succeeds": self.success}
        rows |= {f"{name} detects the successful attack": rate for name, rate in self.detected.items()}
        rows |= {f"{name} false alarms, per benign frame": rate for name, rate in self.false_positives.items()}
        return rows | {"clips with a successful attack that raise an alarm": self.alarmed}


@dataclass(frozen=True, slots=True)
class _Row:
    clip: ScoredClip
    index: int

    @property
    def attacked(self) -> bool:
        return self.clip.attacked[self.index]

    @property
    def succeeded(self) -> bool | None:
        right, hit = self.clip.right[self.index], self.clip.hit[self.index]
        return None if right is None else (not right if hit is None else hit and not right)

    def suspicious(self, detector: str, threshold: float) -> bool:
        return self.clip.scores[detector][self.index] > threshold


def figures_of(trial: Trial) -> Figures:
    """Work out everything that a report shows."""
    rows = [_Row(clip, index) for clip in trial.clips for index in range(len(clip.time_s))]
    benign = [row for row in rows if not row.attacked]
    clean = [row for row in benign if row.clip.info.condition != "control" and row.clip.right[row.index] is not None]
    attacked = [row for row in rows if row.attacked and row.succeeded is not None]
    won = [row for row in attacked if row.succeeded]
    voting = trial.detectors[0]
    told: Callable[[_Row], bool] = lambda row: row.suspicious(voting, trial.thresholds[voting])  # noqa: E731
    right: Callable[[_Row], bool] = lambda row: bool(row.clip.right[row.index])  # noqa: E731
    succeeded: Callable[[_Row], bool] = lambda row: bool(row.succeeded)  # noqa: E731
    alarms = [_alarm(clip) for clip in trial.clips]
    strong = [alarm for alarm in alarms if alarm.condition == "attack" and (alarm.fooled or 0.0) >= 0.5]
    rising = [alarm for alarm in strong if not alarm.standing]
    times = [alarm.alarm_s for alarm in rising if alarm.alarm_s is not None]
    return Figures(
        recognised=Rate.of(map(right, clean)),
        success=Rate.of(map(succeeded, attacked)),
        detected={
            name: Rate.of(row.suspicious(name, limit) for row in won) for name, limit in trial.thresholds.items()
        },
        false_positives={
            name: Rate.of(row.suspicious(name, limit) for row in benign) for name, limit in trial.thresholds.items()
        },
        by_cell={
            "recognised": list(_by_cell(trial, clean, right)),
            "success": list(_by_cell(trial, attacked, succeeded)),
            "detected": list(_by_cell(trial, won, told)),
            "false_positives": list(_by_cell(trial, benign, told)),
        },
        rocs=[_roc(name, limit, won, benign) for name, limit in trial.thresholds.items()],
        alarms=alarms,
        alarmed=Rate.of(alarm.raised for alarm in rising),
        standing=len(strong) - len(rising),
        false_alarms=sum(_raises(clip) for clip in trial.clips),
        benign_s=round(sum(_benign_seconds(clip) for clip in trial.clips), 3),
        median_alarm_s=round(statistics.median(times), 3) if times else None,
        poses=Rate.of(row.clip.distance_m[row.index] is not None for row in rows),
    )


def _by_cell(trial: Trial, rows: list[_Row], outcome: Callable[[_Row], bool]) -> Iterator[tuple[Cell, Rate]]:
    """Frames go to the cell that their *found* pose is nearest to, whatever was planned."""
    cells = trial.cells or _cells_of(rows)
    sorted_in: dict[Cell, list[bool]] = {cell: [] for cell in cells}
    for row in rows:
        distance, angle = row.clip.distance_m[row.index], row.clip.angle_deg[row.index]
        if distance is None or angle is None:
            continue
        cell = nearest_cell(cells, row.clip.info.light, distance, angle)
        if cell is not None:
            sorted_in[cell].append(outcome(row))
    for cell, outcomes in sorted_in.items():
        yield cell, Rate.of(outcomes)


def _cells_of(rows: list[_Row]) -> tuple[Cell, ...]:
    """Where nothing was planned: cells of about 20% in distance and 15 degrees, round the poses that were found."""
    found = set()
    for row in rows:
        distance, angle = row.clip.distance_m[row.index], row.clip.angle_deg[row.index]
        if distance is not None and angle is not None:
            step = round(np.log(distance) / np.log(1.25))
            found.add(Cell(row.clip.info.light, float(f"{1.25**step:.2g}"), 15.0 * round(angle / 15)))
    return tuple(sorted(found))


def _roc(detector: str, limit: float, won: list[_Row], benign: list[_Row]) -> Roc:
    positive = np.array([row.clip.scores[detector][row.index] for row in won])
    negative = np.array([row.clip.scores[detector][row.index] for row in benign])
    if not len(positive) or not len(negative):
        return Roc(detector, None, [], [], None)
    steps = np.unique(np.concatenate([positive, negative]))[::-1]
    if len(steps) > 400:
        steps = steps[np.linspace(0, len(steps) - 1, 400).astype(int)]
    false, true = _above(negative, steps), _above(positive, steps)
    at = (float((negative > limit).mean()), float((positive > limit).mean()))
    area = round(area_under_roc(negative, positive), 4)
    return Roc(detector, area, [0.0, *false.tolist(), 1.0], [0.0, *true.tolist(), 1.0], at)


def _above(scores: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    below = np.searchsorted(np.sort(scores), steps, side="left")
    return np.asarray(np.round(1.0 - below / len(scores), 5))


def _alarm(clip: ScoredClip) -> Alarm:
    attack = clip.info.condition == "attack"
    wrong = [right is False for right, there in zip(clip.right, clip.attacked, strict=True) if there]
    known = attack and any(right is not None for right in clip.right)
    starts = [i for i, there in enumerate(clip.attacked) if there and clip.right[i] is False] if attack else [0]
    begins = clip.attacked.index(True) if attack and any(clip.attacked) else 0
    standing = attack and begins > 0 and clip.raised[begins - 1]
    rises = [i for i, up in enumerate(clip.raised) if up and not (i and clip.raised[i - 1])]
    raised = [i for i in rises if not attack or clip.attacked[i]]
    alarm_s = None
    if raised and starts and not standing:
        alarm_s = round(max(0.0, clip.time_s[raised[0]] - clip.time_s[starts[0]]), 4)
    cell = clip.info.cell.words if clip.info.cell is not None else ""
    fooled = round(sum(wrong) / len(wrong), 4) if known and wrong else None
    return Alarm(clip.video, clip.info.condition, cell, fooled, alarm_s, bool(raised) and not standing, standing)


def _raises(clip: ScoredClip) -> int:
    """How often the vote went up while there was no attack (nor had been one)."""
    before, count = False, 0
    for up, attacked in zip(clip.raised, clip.attacked, strict=True):
        if attacked:
            break
        count += up and not before
        before = up
    return count


def _benign_seconds(clip: ScoredClip) -> float:
    if len(clip.time_s) < 2:
        return 0.0
    step = (clip.time_s[-1] - clip.time_s[0]) / (len(clip.time_s) - 1)
    return step * sum(not attacked for attacked in clip.attacked)
