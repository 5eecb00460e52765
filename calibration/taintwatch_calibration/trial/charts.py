"""Drawings of a report, as SVG and tables within the page: heat maps, timelines, ROC curves. No script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from taintwatch.sources.colour_profile import linear
from taintwatch_calibration.html import draw
from taintwatch_calibration.trial.figures import Rate, Roc
from taintwatch_calibration.trial.matrix import Cell
from taintwatch_calibration.trial.scored import ScoredClip

__all__ = ["COLOURS", "heat_map", "roc_chart", "timeline"]

COLOURS = ("#0b62a3", "#b8570b", "#2c7a4b", "#7b4397")
_BLUE, _RED = (11, 98, 163), (178, 34, 34)
_W, _H = 560, 84
_SIDE, _EDGE = 260, 36


def heat_map(title: str, cells: Sequence[tuple[Cell, Rate]], light: str, *, bad: bool = False) -> Markup:
    """Return a table: a row for each distance, a column for each angle; `bad` paints high shares red, not blue."""
    rates = {(cell.distance_m, cell.angle_deg): rate for cell, rate in cells if cell.light == light}
    distances = sorted({distance for distance, _ in rates})
    angles = sorted({angle for _, angle in rates})
    colour = _RED if bad else _BLUE
    rows = [(f"{d:g}", [_shade(rates.get((d, angle)), colour) for angle in angles]) for d in distances]
    return draw("heat_map", f"{title}, {light}", [f"{angle:g}" for angle in angles], rows)


def timeline(clip: ScoredClip, detector: str, threshold: float) -> Markup:
    """Return a clip's scores over time, with the threshold, the attack, the wrong labels and the alarm."""
    end = max([*clip.time_s, 0.1])
    scores = clip.scores[detector]
    low, high = min([*scores, threshold]), max([*scores, threshold])
    room = max(high - low, 1e-6)
    x = [round(6 + (_W - 12) * time_s / end, 1) for time_s in clip.time_s]
    y = [round(62 - 52 * (score - low) / room, 1) for score in scores]
    at = round(62 - 52 * (threshold - low) / room, 1)
    wrong = [right is False for right in clip.right]
    spans = _spans(x, clip.attacked, 4, 62, "#f6e3c5") + _spans(x, wrong, 66, 6, "#b22222")
    spans += _spans(x, clip.raised, 75, 6, "#333")
    points = " ".join(f"{a},{b}" for a, b in zip(x, y, strict=True))
    label = f"{detector} score of {clip.video} over {end:.1f} seconds"
    return draw("timeline", label, _W, _H, spans, at, points, COLOURS[0])


def roc_chart(rocs: Sequence[Roc]) -> Markup:
    """Return the curves of all detectors, each with a dot at its threshold."""
    curves = []
    for roc, colour in zip(rocs, COLOURS, strict=False):
        pairs = zip(roc.false_positive, roc.true_positive, strict=True)
        dot = None if roc.at is None else _place(*roc.at)
        curves.append({"points": " ".join(",".join(_place(*pair)) for pair in pairs), "dot": dot, "colour": colour})
    label = "ROC curves: " + ", ".join(f"{roc.detector} area {roc.area}" for roc in rocs)
    return draw("roc", label, _SIDE, _EDGE, curves)


def _place(false_positive: float, true_positive: float) -> tuple[str, str]:
    return f"{_EDGE + _SIDE * false_positive:.1f}", f"{8 + _SIDE * (1 - true_positive):.1f}"


def _shade(rate: Rate | None, colour: tuple[int, int, int]) -> dict[str, Any] | None:
    if rate is None or rate.share is None:
        return None
    share = rate.share
    paint = tuple(round(255 + (channel - 255) * (0.06 + 0.94 * share)) for channel in colour)
    light = float(linear(np.array(paint) / 255.0) @ (0.2126, 0.7152, 0.0722))
    ink = "#fff" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "#000"  # the better contrast (WCAG 2)
    detail = f"{rate.count} of {rate.total}; 95% {rate.low:.0%} to {rate.high:.0%}"
    return {"paint": paint, "ink": ink, "detail": detail, "share": f"{share:.0%}", "count": rate.count,
            "total": rate.total}  # fmt: skip


def _spans(x: Sequence[float], on: Sequence[bool], top: float, height: float, colour: str) -> list[dict[str, Any]]:
    """Return a rectangle for every run of frames that are on."""
    step = (x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else 8.0
    runs: list[dict[str, Any]] = []
    start: float | None = None
    for place, value in [*zip(x, on, strict=True), (x[-1] + step if x else 0.0, False)]:
        if value and start is None:
            start = place
        elif not value and start is not None:
            width = max(1.0, place - start)
            runs.append({"x": f"{start:.1f}", "top": top, "width": f"{width:.1f}", "height": height, "colour": colour})
            start = None
    return runs
