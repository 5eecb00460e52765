"""All policies over all streams: chosen on one half, reported on the other; JSON-ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.votes.choice import ACCEPTED_A_DAY, RULE, Measured, choose
from benchmarks.votes.independence import expected_a_day
from benchmarks.votes.outcome import attack_outcome, benign_outcome, fewer_a_day
from benchmarks.votes.policies import Candidate, candidates, default_candidate
from benchmarks.votes.replay import raised, rises
from benchmarks.votes.scenes import FPS
from benchmarks.votes.streams import Halves, Stream, halves
from taintwatch.alarm_rates import wilson_interval
from taintwatch.vote.policies import POLICIES
from taintwatch_calibration.rates import threshold_for
from taintwatch_models.errors import UsageError

__all__ = ["compare"]

STRICTER = (0.01, 0.005, 0.002, 0.001, 0.0)
"""Shares of the choosing half's benign frames that a stricter threshold leaves suspicious."""
_LATER = {"1 frame": 1, "1 s": round(FPS), "10 s": round(10 * FPS)}


@dataclass(frozen=True, slots=True, eq=False)
class _Replay:
    """The two halves at one threshold."""

    halves: Halves
    threshold: float

    def measure(self, candidate: Candidate, half: int) -> Measured:
        part, policy = self.halves[half], candidate.policy
        return Measured(
            candidate,
            benign_outcome(policy, part.benign, self.threshold),
            attack_outcome(policy, part.attacks, self.threshold),
        )

    def row(self, chosen: Measured, share: float) -> dict[str, Any]:
        reported = self.measure(chosen.candidate, 1)
        return {
            "name": chosen.candidate.name,
            "policy": chosen.candidate.kind,
            "settings": dict(chosen.candidate.settings),
            "independent_a_day": expected_a_day(chosen.candidate.policy, share),
            "choosing": _plain(chosen),
            "reporting": _plain(reported),
        }


def compare(
    streams: Sequence[Stream], threshold: float, report: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Replay everything at the calibrated `threshold`, choose, and look at stricter thresholds.

    `report` is told how many policies are done, of how many. Raises `UsageError` where a half has no benign stream or
    no attack that succeeds.
    """
    parts = halves(streams)
    for part in parts:
        if not part.benign or not any(stream.succeeds for stream in part.attacks):
            raise UsageError(
                "each half needs a benign stream and an attack that succeeds; give more --hours, --attacks"
            )
    replay, grid = _Replay(parts, threshold), candidates()
    share = _share(parts[0].benign, threshold)
    measured = []
    for number, candidate in enumerate(grid, 1):
        measured.append(replay.measure(candidate, 0))
        report(number, len(grid))
    best = choose(measured)
    kinds = {kind: choose([one for one in measured if one.candidate.kind == kind]) for kind in POLICIES}
    default = next(one for one in measured if one.candidate == default_candidate())
    believed = _by_formula(measured, share)
    named = tuple(one.candidate for one in (best, default, believed) if one is not None)
    return {
        "rule": RULE,
        "chosen": best.candidate.name,
        "default": default.candidate.name,
        "chosen_of_each_kind": {kind: one.candidate.name for kind, one in kinds.items()},
        "chosen_by_formula": None if believed is None else believed.candidate.name,
        "against_default": _against(best, default, parts[1].benign, threshold),
        "frames": _frames(parts, threshold),
        "correlation": _correlation(parts[0].benign, threshold, named),
        "footage": _footage(streams, threshold, named),
        "stricter": [_stricter(parts, target_fpr, named) for target_fpr in STRICTER],
        "rows": [replay.row(one, share) for one in measured],
    }


def _by_formula(measured: Sequence[Measured], share: float) -> Measured | None:
    """The fastest k-of-n that would keep to the accepted alarms a day if frames were independent."""
    expected = [
        (one, expected_a_day(one.candidate.policy, share)) for one in measured if one.candidate.kind == "k-of-n"
    ]
    good = [one for one, a_day in expected if a_day is not None and a_day <= ACCEPTED_A_DAY]
    return min(good, key=lambda one: one.slowness, default=None)


def _against(best: Measured, default: Measured, streams: Sequence[Stream], threshold: float) -> dict[str, Any]:
    """Whether the chosen policy is quieter than the default on the half that it was not chosen on."""
    fewer, interval = fewer_a_day(best.candidate.policy, default.candidate.policy, streams, threshold)
    return {"fewer_a_day": fewer, "by_stream": interval, "quieter": interval[0] > 0}


def _plain(one: Measured) -> dict[str, Any]:
    attack = asdict(one.attack)
    attack["missed"] = one.attack.missed
    return {"benign": {**asdict(one.benign), "upper_a_day": one.benign.upper}, "attack": attack}


def _share(streams: Iterable[Stream], threshold: float) -> float:
    return float(np.concatenate([stream.suspicious(threshold) for stream in streams]).mean())


def _frames(parts: Halves, threshold: float) -> dict[str, Any]:
    """How often single frames are suspicious: in each half, in each light, in real footage, under attack."""
    benign = [stream for part in parts for stream in part.benign]
    attacks = [stream for part in parts for stream in part.attacks]
    groups = {"choosing": parts[0].benign, "reporting": parts[1].benign}
    for light in sorted({stream.light for stream in benign if stream.light}):
        groups[f"simulated, {light}"] = tuple(stream for stream in benign if stream.light == light)
    groups["footage"] = tuple(stream for stream in benign if stream.kind == "footage")
    found: dict[str, Any] = {}
    for name, group in groups.items():
        flags = [stream.suspicious(threshold) for stream in group]
        found[name] = _rate(flags)
        found[name]["streams"], found[name]["streams_with_any"] = len(flags), sum(bool(f.any()) for f in flags)
    successful = [stream for stream in attacks if stream.succeeds]
    found["fooled"] = _rate([stream.suspicious(threshold)[np.array(stream.fooled)] for stream in successful])
    found["attacks"] = {"scenes": len(attacks), "successful": len(successful)}
    return found


def _rate(flags: Sequence[np.ndarray[Any, np.dtype[np.bool_]]]) -> dict[str, Any]:
    count, total = sum(int(each.sum()) for each in flags), sum(len(each) for each in flags)
    return {"suspicious": count, "frames": total, "share": count / total if total else None,
            "wilson_if_independent": wilson_interval(count, total)}  # fmt: skip


def _correlation(streams: Sequence[Stream], threshold: float, policies: Sequence[Candidate]) -> dict[str, Any]:
    """How alike neighbouring frames are, and what the same frames in another order would have given."""
    flags = [stream.suspicious(threshold) for stream in streams]
    again = {}
    for words, step in _LATER.items():
        both = sum(int((each[step:] & each[:-step]).sum()) for each in flags)
        first = sum(int(each[:-step].sum()) for each in flags)
        again[words] = both / first if first else None
    whole = np.concatenate(flags)
    shuffled = np.random.default_rng(0).permutation(whole)
    share, rows = float(whole.mean()), []
    for candidate in policies:
        policy = candidate.policy
        rows.append({
            "name": candidate.name,
            "hours": len(whole) / FPS / 3600,
            "alarms": sum(len(rises(raised(each, policy))) for each in flags),
            "alarms_shuffled": len(rises(raised(shuffled, policy))),
            "formula_a_day": expected_a_day(policy, share),
        })  # fmt: skip
    return {"suspicious_share": share, "suspicious_again_after": again, "policies": rows}


def _footage(streams: Sequence[Stream], threshold: float, policies: Sequence[Candidate]) -> list[dict[str, Any]]:
    """The real footage by itself, both halves: it is short."""
    real = [stream for stream in streams if stream.kind == "footage"]
    return [{"name": one.name, **asdict(benign_outcome(one.policy, real, threshold))} for one in policies if real]


def _stricter(parts: Halves, target_fpr: float, policies: Sequence[Candidate]) -> dict[str, Any]:
    """The same policies where the detector's threshold leaves fewer benign frames suspicious."""
    scores = np.concatenate([np.asarray(stream.scores) for stream in parts[0].benign])
    threshold = threshold_for(scores, target_fpr)
    replay = _Replay(parts, threshold)
    rows = [{"name": one.name, **_plain(replay.measure(one, 1))} for one in policies]
    attacks = [stream for stream in parts[1].attacks if stream.succeeds]
    fooled = _rate([stream.suspicious(threshold)[np.array(stream.fooled)] for stream in attacks])
    return {"target_fpr": target_fpr, "threshold": threshold, "fooled": fooled, "reporting": rows}
