"""What checks cost beside the plain forward, each figure with its spread, all calls of a batch in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.default_check import DefaultCheck, Footage
from benchmarks.speed.timing import WARM_UP, clock_for, interleaved
from taintwatch_models.detection.reference import Reference
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.graph.verification import check_inputs
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["CHECKS", "PLAIN", "Checks", "WholePaper", "measure"]

PLAIN = ("plain_best", "plain_file")
CHECKS = ("default", "default_worst", "tight", "paper")
_BLOCKS = 8
Inputs = NDArray[np.float32]
Times = Mapping[str, NDArray[np.float64]]


class WholePaper:
    """`paper` with all its three forwards, whatever the picture.

    In use the third is left out where the intersection of the K masks is empty. That is so for all pictures of many
    networks with random weights, and a ratio of 2 would say nothing of a trained one.
    """

    def __init__(self, paper: OnnxRadar, forward: Callable[[Inputs], Any]) -> None:
        self._paper, self._forward = paper, forward
        self.rows = self.third = 0

    def __call__(self, inputs: Inputs) -> None:
        """Run the check, and the forward that it left out."""
        third = np.asarray(self._paper(inputs)["paper_mask"].any(axis=(1, 2)))
        if not third.all():
            self._forward(inputs if not third.any() else inputs[~third])
        self.rows += len(third)
        self.third += int(third.sum())

    def third_share(self) -> float:
        """Return the share of pictures for which it ran the third forward by itself."""
        return round(self.third / max(1, self.rows), 4)


class Checks:
    """All that is timed of one model on one device."""

    def __init__(
        self, radar: RadarFile, model: Path | None, reference: Reference, session: SessionSettings, share: float
    ) -> None:
        """`model`: the file as the user has it; None: there is only the prepared one."""
        self.radar, self._reference, self._session, self._share = radar, reference, session, share
        self.clock = clock_for(session)
        best, _ = open_session(keep_outputs(radar.proto, ["logits"]).SerializeToString(), session)
        self.plain: dict[str, Callable[[Inputs], Any]] = {
            "plain_best": lambda inputs: best.run(["logits"], {radar.info.input: inputs})
        }
        if model is not None:
            self.plain["plain_file"] = _file_forward(model, session)
        self.inputs = check_inputs(radar.info.preprocessing, 16)
        self.paper = WholePaper(OnnxRadar(radar, ("paper",), session=session), self.plain["plain_best"])
        tight = OnnxRadar(radar, ("tight",), session=session)
        self.fixed: dict[str, Callable[[Inputs], Any]] = {"tight": tight, "paper": self.paper}

    def default(self, *, worst: bool) -> DefaultCheck:
        """Return a default check that has seen nothing; on benign footage nothing bounds its second looks."""
        share = self._share if worst else None
        return DefaultCheck(self.radar, self._reference, self._session, worst=worst, share=share, clock=self.clock)


def measure(checks: Checks, footage: Footage, batch: int, frames: int, rounds: int) -> dict[str, Any]:
    """Time everything at one batch size; JSON-ready.

    `default` and `default_worst` are means over `frames` frames of footage; the others are medians on fixed inputs, of
    `rounds` rounds at batch 1 and fewer at larger ones.
    """
    load = [round(os.getloadavg()[0], 2)]
    plays, shares = _on_footage(checks, footage, batch, max(_BLOCKS, frames // batch))
    times = _on_fixed(checks, batch, max(5, round(rounds / batch**0.5)))
    found: dict[str, Any] = {}
    for name in PLAIN:
        if name in times:
            found[f"{name}_ms"] = round(float(np.median(times[name])) / batch, 4)
            found[f"{name}_ms_quartiles"] = _quartiles(times[name] / batch)
    for name in ("default", "default_worst"):
        mean = round(float(plays[name].mean()) / batch, 4)
        found[name] = {"ms": mean, "ms_quartiles": _quartiles(plays[name] / batch), **_mean_ratios(plays, name)}
        found[name] |= shares[name]
    for name in ("tight", "paper"):
        median = round(float(np.median(times[name])) / batch, 4)
        found[name] = {"ms": median, "ms_quartiles": _quartiles(times[name] / batch), **_median_ratios(times, name)}
    found["paper"]["third_share"] = checks.paper.third_share()
    return {**found, "load_1min": [*load, round(os.getloadavg()[0], 2)]}


def _on_footage(checks: Checks, footage: Footage, batch: int, steps: int) -> tuple[Times, dict[str, dict[str, float]]]:
    """Time the plain forwards and the default checks, moment by moment; milliseconds, (steps,) each, and shares."""
    judges = {name: checks.default(worst=name == "default_worst") for name in ("default", "default_worst")}
    times: dict[str, list[float]] = {name: [] for name in (*checks.plain, *judges)}
    for step in range(-WARM_UP, steps):
        pixels, frames = footage.batch(max(step, 0), batch)
        inputs = checks.radar.info.preprocessing.normalise(pixels)
        calls: dict[str, Callable[[], Any]] = {name: partial(call, inputs) for name, call in checks.plain.items()}
        calls |= {name: partial(judge, inputs, frames) for name, judge in judges.items()}
        for name, call in calls.items():
            start = checks.clock()
            call()
            if step >= 0:
                times[name].append((checks.clock() - start) * 1e3)
    return {name: np.array(values) for name, values in times.items()}, {n: j.shares() for n, j in judges.items()}


def _on_fixed(checks: Checks, batch: int, rounds: int) -> Times:
    """Time the plain forwards, `tight` and `paper`; milliseconds, (rounds,) each."""
    inputs = checks.inputs[np.arange(batch) % len(checks.inputs)]
    calls = {name: partial(call, inputs) for name, call in (checks.plain | checks.fixed).items()}
    return interleaved(calls, rounds, checks.clock)


def _file_forward(model: Path, session: SessionSettings) -> Callable[[Inputs], Any]:
    """Return the forward of the file as the user has it; one exported for one picture runs once for each."""
    file, _ = open_session(model.read_bytes(), session)
    given, output = file.get_inputs()[0], file.get_outputs()[0].name
    if given.shape[0] == 1:
        return lambda inputs: [file.run([output], {given.name: inputs[i : i + 1]}) for i in range(len(inputs))]
    return lambda inputs: file.run([output], {given.name: inputs})


def _mean_ratios(times: Times, name: str) -> dict[str, Any]:
    """Ratios of sums, with the quartiles of blocks in time: what a frame costs on average, second looks included."""
    found: dict[str, Any] = {}
    for plain in PLAIN:
        if plain in times:
            short = plain.removeprefix("plain_")
            count = min(_BLOCKS, len(times[name]))
            blocks = zip(np.array_split(times[name], count), np.array_split(times[plain], count), strict=True)
            found[f"ratio_{short}"] = round(float(times[name].sum() / times[plain].sum()), 3)
            found[f"ratio_{short}_quartiles"] = _quartiles([own.sum() / base.sum() for own, base in blocks])
    return found


def _median_ratios(times: Times, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for plain in PLAIN:
        if plain in times:
            ratios = times[name] / times[plain]
            short = plain.removeprefix("plain_")
            found[f"ratio_{short}"] = round(float(np.median(ratios)), 3)
            found[f"ratio_{short}_quartiles"] = _quartiles(ratios)
    return found


def _quartiles(values: Any) -> list[float]:
    return [round(float(value), 4) for value in np.percentile(values, (25, 75))]
