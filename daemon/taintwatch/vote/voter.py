"""The vote over consecutive frames: per subject and per detector, then combined. The only owner of that state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from taintwatch.records import Moment, Vote, elapsed_ns, moment_of
from taintwatch.vote.agreement import Agreement, Sighting, agreement_after_gap, next_agreement, sighting_of
from taintwatch.vote.policies import KofN
from taintwatch.vote.policy import Policy, Standing, check_number
from taintwatch_models.errors import ConfigError
from taintwatch_models.records import Frame, Verdict

__all__ = ["OVERALL", "Combine", "Hold", "HoldStanding", "Voter"]

LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class HoldStanding:
    """Whether the decision stands, and since when."""

    raised: bool = False
    changed_ns: int | None = None
    """Time of the last change; None before the first."""
    wanted_ns: int | None = None
    """When the vote itself was last raised; None: never."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keeps a raised decision for `minimum_hold_s` at least, and a cleared one for `cool_down_s` at least.

    It is cleared once the vote has been down for `clear_after_s`: an attack whose scores flicker stays one alert.
    Seconds, each in [0, 86400], or `ConfigError`. An attack that outlasts the cool-down raises at its end: nothing is
    suppressed for longer.
    """

    minimum_hold_s: float = 1.0
    cool_down_s: float = 2.0
    clear_after_s: float = 0.0

    def __post_init__(self) -> None:
        check_number("minimum_hold_s", self.minimum_hold_s, 0, LONGEST_S)
        check_number("cool_down_s", self.cool_down_s, 0, LONGEST_S)
        check_number("clear_after_s", self.clear_after_s, 0, LONGEST_S)

    def __call__(self, standing: HoldStanding, wanted: bool, now_ns: int) -> HoldStanding:
        """Return the standing at `now_ns`, where the decision itself is `wanted`. `now_ns` never decreases."""
        wanted_ns = now_ns if wanted else standing.wanted_ns
        if wanted == standing.raised or self._waits(standing, now_ns):
            return HoldStanding(standing.raised, standing.changed_ns, wanted_ns)
        return HoldStanding(wanted, now_ns, wanted_ns)

    def _waits(self, standing: HoldStanding, now_ns: int) -> bool:
        """Whether it is too early to change."""
        wait_s = self.minimum_hold_s if standing.raised else self.cool_down_s
        early = standing.changed_ns is not None and now_ns - standing.changed_ns < round(wait_s * 1e9)
        if not standing.raised or standing.wanted_ns is None:
            return early
        return early or now_ns - standing.wanted_ns < round(self.clear_after_s * 1e9)


_ANYTHING = Sighting(0, None)
"""What all suspicious frames point at where they need not agree."""

OVERALL = "overall"
"""The `detector` of the vote over all detectors."""

Combine = Literal["all", "any"]

SLOW_FACTOR = 4
"""A pause is a gap only when it is also so many times longer than the one before it; where the camera went on
meanwhile, only when it is so many times longer than a gap.
"""


@dataclass(slots=True)
class _Subject:
    """What is remembered of one subject of one camera: as much after a year as after a minute."""

    moment: Moment
    index: int
    """Of its newest frame, among all that the camera gave."""
    now_ns: int = 0
    """The vote's own clock for this subject: the sum of the times between frames; never goes back."""
    interval_ns: int | None = None
    standings: dict[str, Agreement] = field(default_factory=dict)
    hold: HoldStanding = field(default_factory=HoldStanding)


class Voter:
    """Turns the verdicts of one frame after the other into votes. Used by one thread only.

    `policy`: one for every detector, or one for each by name. `combine`: whether `any` or `all` of the detectors must
    be raised. `detectors`: those that count (others are ignored); None counts every detector that gives a verdict.
    `agree`: suspicious frames count together only where they agree, in their label or with overlapping regions.
    `hold`: minimum hold and cool-down of the combined vote. `gap_s`: a longer pause between two frames is a gap, and so
    is time that runs backwards; unless the camera is that slow anyhow (not more than four times the pause before it),
    or gave frames meanwhile that were not judged (then up to four times `gap_s`): evidence is lost with the camera,
    not because we are slow.

    After a gap (and after `gap`) the decisions stay and the evidence goes: an attack that outlasts a reconnection
    stays one alert, and frames from before and after it never add up to a new one.

    Raises `ConfigError` for limits that are nonsense.
    """

    def __init__(
        self,
        policy: Policy[Any] | Mapping[str, Policy[Any]] | None = None,
        *,
        combine: Combine = "any",
        detectors: Sequence[str] | None = None,
        hold: Hold | None = None,
        gap_s: float = 3.0,
        agree: bool = True,
    ) -> None:
        if combine not in ("all", "any"):
            raise ConfigError(f"Vote setting 'combine' has value {combine!r}. Give one of: all, any.")
        if detectors is not None and (not detectors or OVERALL in detectors):
            raise ConfigError(f"Vote setting 'detectors' has value {list(detectors)!r}. Name at least one detector.")
        self._policy: Policy[Any] | Mapping[str, Policy[Any]] = KofN() if policy is None else policy
        self._combine = any if combine == "any" else all
        self._level = max if combine == "any" else min
        self._detectors = None if detectors is None else tuple(detectors)
        self._hold = hold or Hold()
        self._agree = agree
        self._gap_ns = round(check_number("gap_s", gap_s, 0, 86_400, open_ends=True) * 1e9)
        self._subjects: dict[tuple[str, str | None], _Subject] = {}
        for name in self._detectors or ():
            self._policy_of(name)

    def __call__(self, frame: Frame, verdicts: Iterable[Verdict]) -> tuple[Vote, ...]:
        """Return the votes after `frame`: one for each detector that counts, in the verdicts' order, then the combined.

        A detector that counts but says nothing of this frame keeps its standing. Raises `ConfigError` for a detector
        that has no policy.
        """
        subject = self._advance(frame)
        votes = []
        for verdict in verdicts:
            if self._detectors is None or verdict.detector in self._detectors:
                standing = self._step(subject, verdict)
                votes.append(_vote(frame, verdict.detector, standing.raised, standing.level))
        return (*votes, self._combined(frame, subject))

    def gap(self, camera: str) -> None:
        """Drop the evidence of all subjects of `camera`, keep the decisions: to be called when it was opened anew."""
        for (name, _), subject in self._subjects.items():
            if name == camera:
                self._drop_evidence(subject)

    def forget(self, camera: str) -> None:
        """Drop everything about `camera`, decisions too: to be called when it is gone for good. Never raises."""
        for key in [key for key in self._subjects if key[0] == camera]:
            del self._subjects[key]

    def forget_subject(self, camera: str, subject: str | None) -> None:
        """Drop everything about one subject: to be called when it has left the picture. Never raises."""
        self._subjects.pop((camera, subject), None)

    def _policy_of(self, detector: str) -> Policy[Any]:
        if isinstance(self._policy, Policy):
            return self._policy
        if detector not in self._policy:
            raise ConfigError(
                f"Detector '{detector}' has no vote policy. Policies are set for: {', '.join(self._policy)}."
            )
        return self._policy[detector]

    def _advance(self, frame: Frame) -> _Subject:
        moment, key = moment_of(frame), (frame.camera, frame.subject)
        subject = self._subjects.get(key)
        if subject is None:
            subject = self._subjects[key] = _Subject(moment, frame.index)
            return subject
        interval_ns = elapsed_ns(subject.moment, moment)
        if interval_ns < 0 or self._is_gap(interval_ns, subject.interval_ns, frame.index - subject.index):
            self._drop_evidence(subject)
        subject.moment, subject.index = moment, frame.index
        subject.interval_ns = max(0, interval_ns)
        subject.now_ns += subject.interval_ns
        return subject

    def _is_gap(self, interval_ns: int, before_ns: int | None, given: int) -> bool:
        """Whether the camera was away; `given`: how many frames it gave meanwhile, the newest included."""
        if interval_ns <= self._gap_ns:
            return False
        # A camera that is limited to a frame every five seconds could otherwise never gather evidence at all, and
        # neither could one that gives ten a second to a machine that is too busy to judge them.
        slow_camera = before_ns is not None and interval_ns <= SLOW_FACTOR * before_ns
        slow_judge = given > 1 and interval_ns <= min(given, SLOW_FACTOR) * self._gap_ns
        return not (slow_camera or slow_judge)

    def _drop_evidence(self, subject: _Subject) -> None:
        for name, standing in subject.standings.items():
            subject.standings[name] = agreement_after_gap(self._policy_of(name), standing)

    def _step(self, subject: _Subject, verdict: Verdict) -> Standing:
        sighting = sighting_of(verdict)
        if sighting is not None and not self._agree:
            sighting = _ANYTHING
        policy, before = self._policy_of(verdict.detector), subject.standings.get(verdict.detector)
        standing = next_agreement(policy, before, sighting)
        subject.standings[verdict.detector] = standing
        return standing

    def _combined(self, frame: Frame, subject: _Subject) -> Vote:
        names = self._detectors or tuple(subject.standings)
        standings = [subject.standings.get(name, Standing()) for name in names]
        wanted = bool(standings) and self._combine(standing.raised for standing in standings)
        subject.hold = self._hold(subject.hold, wanted, subject.now_ns)
        level: float = self._level((standing.level for standing in standings), default=0.0)
        return _vote(frame, OVERALL, subject.hold.raised, level)


def _vote(frame: Frame, detector: str, raised: bool, level: float) -> Vote:
    return Vote(frame.camera, frame.index, detector, raised, level, frame.subject)
