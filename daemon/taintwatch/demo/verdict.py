"""Whether the demo showed what it is to show: decided from the alerts that the subscriber received."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taintwatch.records import Alert, AlertState

__all__ = ["FOOLED_AT_LEAST", "WITHIN", "ActResult", "Chapter", "judge_act", "stray_alerts"]

WITHIN = 10
"""Frames from the patch's first within which the alert must be raised."""
FOOLED_AT_LEAST = 0.8
"""Share of attacked frames with a wrong label from which an attack counts as successful."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One attack as it really happened."""

    name: str
    attacked: range
    """Frames with the patch."""
    frames: range
    """All frames of the act."""
    sign: int
    labels: tuple[int, ...]
    """What the classifier said in each attacked frame that was judged."""
    within: int = WITHIN


@dataclass(frozen=True, slots=True)
class ActResult:
    """How one attack went. JSON-ready."""

    attack: str
    entered: int | None
    left: int | None
    """First frame with the patch, and the first without it; None where it never came."""
    fooled: float
    """Share of attacked frames with a wrong label."""
    raised: int | None
    cleared: int | None
    """Frames at which the alert was raised and cleared."""
    delay: int | None
    """Frames from the patch's first to the alert's."""
    problems: tuple[str, ...]
    """What went wrong, one sentence each; none where all went right."""


def judge_act(chapter: Chapter, alerts: Sequence[Alert]) -> ActResult:
    """Return how the alerts fit one attack."""
    attacked = chapter.attacked
    problems: list[str] = []
    if not attacked:
        return ActResult(chapter.name, None, None, 0.0, None, None, None, ("the patch never came",))
    wrong = sum(label != chapter.sign for label in chapter.labels)
    fooled = wrong / len(chapter.labels) if chapter.labels else 0.0
    if fooled < FOOLED_AT_LEAST:
        problems.append(f"the patch fooled the classifier in only {fooled:.0%} of its frames")
    raised = next((a for a in alerts if a.state is AlertState.RAISED and a.raised_frame_index in attacked), None)
    delay = None if raised is None else raised.raised_frame_index - attacked.start
    if raised is None or delay is None:
        problems.append("no alert was raised while the patch was there")
    elif delay >= chapter.within:
        problems.append(f"the alert came {delay} frames after the patch, not within {chapter.within}")
    cleared = None if raised is None else _end_of(raised, alerts)
    if raised is not None and cleared is None:
        problems.append("the alert was not cleared")
    elif cleared is not None and cleared < attacked.stop:
        problems.append(f"the alert was cleared in frame {cleared}, before the patch left in {attacked.stop}")
    elif cleared is not None and cleared not in chapter.frames:
        problems.append("the alert was not cleared before the scene changed")
    return ActResult(
        attack=chapter.name,
        entered=attacked.start,
        left=attacked.stop,
        fooled=round(fooled, 4),
        raised=None if raised is None else raised.raised_frame_index,
        cleared=cleared,
        delay=delay,
        problems=tuple(problems),
    )


def stray_alerts(chapters: Sequence[Chapter], alerts: Sequence[Alert]) -> tuple[int, ...]:
    """Return the frames at which alerts were raised though nothing was there to alert of."""
    return tuple(
        alert.raised_frame_index
        for alert in alerts
        if alert.state is AlertState.RAISED
        and not any(alert.raised_frame_index in chapter.attacked for chapter in chapters)
    )


def _end_of(raised: Alert, alerts: Sequence[Alert]) -> int | None:
    for alert in alerts:
        if alert.event_id == raised.event_id and alert.state is AlertState.CLEARED:
            return alert.frame_index
    return None
