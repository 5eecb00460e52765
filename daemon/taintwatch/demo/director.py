"""Who knows what is in the picture: of the drawn scene exactly, before a camera by having asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from taintwatch.demo.annotated import Scenery
from taintwatch.demo.observed import Reel, Seen
from taintwatch.demo.play import Play
from taintwatch.demo.verdict import Chapter
from taintwatch.records import Alert
from taintwatch_models.signs import SIGN_NAMES

__all__ = ["Director", "Script", "SimulatedDirector"]


@dataclass(frozen=True, slots=True)
class Script:
    """What a person should know at one moment."""

    headline: str
    instruction: str
    """What to do now; empty where there is nothing to do."""


class Director(Protocol):
    """Says what really happens, and when it is over."""

    def script(self, index: int) -> Script: ...

    def truth(self, index: int) -> Scenery: ...

    def see(self, seen: Seen) -> None:
        """A frame was judged."""
        ...

    def hear(self, alert: Alert) -> None:
        """The subscriber received an alert. Comes from another thread."""
        ...

    @property
    def over(self) -> bool:
        """Whether no further frame is needed."""
        ...

    def chapters(self, reel: Reel) -> Sequence[Chapter]:
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

    def truth(self, index: int) -> Scenery:
        act, truth = self._play.act(index), self._play.ground_truth(index)
        return Scenery(SIGN_NAMES[act.attack.placement.sign], act.attack.placement.sign, truth.attacked, truth.box)

    def see(self, seen: Seen) -> None:
        """The scene goes on by itself."""

    def hear(self, alert: Alert) -> None:
        """The scene goes on by itself."""

    def chapters(self, reel: Reel) -> Sequence[Chapter]:
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
