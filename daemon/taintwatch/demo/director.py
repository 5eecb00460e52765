"""Who knows what is in the picture: of the drawn scene exactly, before a webcam by having asked for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from taintwatch.demo.annotation import GroundTruth
from taintwatch.demo.frame_record import FrameHistory, FrameRecord
from taintwatch.demo.play import DemoAttack, Play
from taintwatch.demo.verdict import Chapter
from taintwatch.records import Alert, AlertState
from taintwatch_models.signs import SIGN_NAMES

__all__ = ["CameraDirector", "Director", "Script", "SimulatedDirector", "Step"]


@dataclass(frozen=True, slots=True)
class Script:
    """The state of a run at one moment, for people."""

    headline: str
    instruction: str
    """What to do now; empty where there is nothing to do."""


class Director(Protocol):
    """Says what really happens, and when it is over."""

    def script(self, index: int) -> Script: ...

    def truth(self, index: int) -> GroundTruth: ...

    def see(self, seen: FrameRecord) -> None:
        """A frame was judged."""
        ...

    def hear(self, alert: Alert) -> None:
        """The subscriber received an alert. Comes from another thread."""
        ...

    @property
    def over(self) -> bool:
        """Whether no further frame is needed."""
        ...

    def chapters(self, reel: FrameHistory) -> Sequence[Chapter]:
        """Return what happened, once it is over."""
        ...

    def words(self, chapter: Chapter) -> str:
        """Return what the attack of a chapter is, for people."""
        ...


class SimulatedDirector:
    """Knows the drawn scene's ground truth."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self.over = False

    def script(self, index: int) -> Script:
        act = self._play.act(index)
        number = self._play.acts.index(act) + 1
        return Script(f"{number} of {len(self._play.acts)}: {act.attack.words}", "")

    def truth(self, index: int) -> GroundTruth:
        act, truth = self._play.act(index), self._play.ground_truth(index)
        return GroundTruth(SIGN_NAMES[act.attack.placement.sign], act.attack.placement.sign, truth.attacked, truth.box)

    def see(self, seen: FrameRecord) -> None:
        """The scene goes on by itself."""

    def hear(self, alert: Alert) -> None:
        """The scene goes on by itself."""

    def chapters(self, reel: FrameHistory) -> Sequence[Chapter]:
        return [
            Chapter(
                name=act.attack.name,
                attacked=act.attacked,
                frames=range(act.first, act.first + act.frames),
                sign=act.attack.placement.sign,
                labels=tuple(seen.label for seen in reel.all() if seen.index in act.attacked),
            )
            for act in self._play.acts
        ]

    def words(self, chapter: Chapter) -> str:
        return next(act.attack.words for act in self._play.acts if act.attack.name == chapter.name)


STEADY = 8  # frames in a row with the right label before anything begins
BENIGN = 45  # frames that must pass without an alert
PATIENCE_S = 60.0


class Step(StrEnum):
    """What is waited for."""

    FIND = "find"
    """The sign to be seen steadily."""
    BENIGN = "benign"
    """A while in which nothing may happen."""
    ATTACK = "attack"
    """The alert."""
    LEAVE = "leave"
    """The end of the alert."""
    OVER = "over"


@dataclass(slots=True)
class _Marks:
    """Frames at which the steps began; None where they never did."""

    benign: int | None = None
    fooled: int | None = None
    """First frame with a wrong label since the patch was asked for."""
    raised: int | None = None
    right: int | None = None
    """First frame with the right label again, of the steady ones, after the alert was raised."""
    last: int = 0


class CameraDirector:
    """A small machine of steps, driven by what the classifier says and what the subscriber receives.

    Nobody tells it when the patch really enters: it is taken to be there from the first wrong label after it was asked
    for, until the label is steadily right again.
    """

    def __init__(self, attack: DemoAttack, *, patience_s: float = PATIENCE_S, fps: float = 15.0) -> None:
        """`patience_s`: how long each step may take, at about `fps` frames a second."""
        self._attack = attack
        self._patience = max(1, round(patience_s * fps))
        self._step = Step.FIND
        self._since = 0
        self._steady = 0
        self._marks = _Marks()
        self._lock = threading.Lock()
        self._cleared = False
        self._raised = False

    @property
    def step(self) -> Step:
        """Where it stands."""
        return self._step

    @property
    def over(self) -> bool:
        return self._step is Step.OVER

    def script(self, index: int) -> Script:
        sign = SIGN_NAMES[self._attack.placement.sign]
        left = max(0, BENIGN - (index - self._since))
        instruction = {
            Step.FIND: f"hold the card '{sign}' upright before the camera; let it fill most of the picture's height",
            Step.BENIGN: f"keep it there, without the patch ({left} more frames)",
            Step.ATTACK: f"now add {self._attack.words}: {_place(self._attack)}",
            Step.LEAVE: "alert! Now take the patch away and leave the card",
            Step.OVER: "done",
        }[self._step]
        return Script(self._attack.words, instruction)

    def truth(self, index: int) -> GroundTruth:
        placement = self._attack.placement
        return GroundTruth(SIGN_NAMES[placement.sign], placement.sign, index in self._attacked(), None)

    def see(self, seen: FrameRecord) -> None:
        """Go on to the next step where this frame, or what was received meanwhile, allows it."""
        self._marks.last = seen.index
        right = seen.label == self._attack.placement.sign
        self._steady = self._steady + 1 if right else 0
        with self._lock:
            raised, cleared = self._raised, self._cleared
        self._note(seen.index, right)
        if self._step is Step.FIND and self._steady >= STEADY:
            self._marks.benign = seen.index
            self._go(Step.BENIGN, seen.index)
        elif self._step is Step.BENIGN and seen.index - self._since >= BENIGN:
            self._go(Step.ATTACK, seen.index)
        elif self._step is Step.ATTACK and raised:
            self._marks.raised = seen.index
            self._go(Step.LEAVE, seen.index)
        elif (self._step is Step.LEAVE and cleared) or seen.index - self._since > self._patience:
            self._go(Step.OVER, seen.index)

    def hear(self, alert: Alert) -> None:
        with self._lock:
            self._raised |= alert.state is AlertState.RAISED and self._step is Step.ATTACK
            self._cleared |= alert.state is AlertState.CLEARED

    def chapters(self, reel: FrameHistory) -> Sequence[Chapter]:
        """Return the one attack; none where the sign was never found."""
        if self._marks.benign is None:
            return []
        attacked = self._attacked()
        labels = tuple(seen.label for seen in reel.all() if seen.index in attacked)
        frames = range(self._marks.benign, self._marks.last + 1)
        return [Chapter(self._attack.name, attacked, frames, self._attack.placement.sign, labels)]

    def words(self, chapter: Chapter) -> str:
        return self._attack.words

    def _note(self, index: int, right: bool) -> None:
        marks = self._marks
        if self._step is Step.ATTACK and not right and marks.fooled is None:
            marks.fooled = index
        if self._step is Step.LEAVE:
            # The first of the frames that are right without a break: later wrong ones start the count anew.
            marks.right = (marks.right or index) if right else None

    def _go(self, step: Step, index: int) -> None:
        self._step, self._since = step, index

    def _attacked(self) -> range:
        marks = self._marks
        if marks.fooled is None:
            return range(0)
        return range(marks.fooled, marks.right if marks.right is not None else marks.last + 1)


def _place(attack: DemoAttack) -> str:
    placement = attack.placement
    share = placement.patch_side / placement.card_side
    side = "left" if placement.patch_x < placement.card_x else "right"
    if abs(placement.patch_x - placement.card_x) > placement.card_side / 2:
        return f"close to the card's {side} edge, at half its height; its side is {share:.0%} of the card's"
    down = 0.5 + (placement.patch_y - placement.card_y) / placement.card_side
    return f"its centre {down:.0%} down the card, in the middle; its side is {share:.0%} of the card's"
