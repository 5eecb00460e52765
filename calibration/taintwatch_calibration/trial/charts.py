"""Drawings of a report, as SVG and tables within the page: heat maps, timelines, ROC curves. No script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from taintwatch.sources.colour_profile import linear
from taintwatch_calibration.trial.figures import Rate, Roc
from taintwatch_calibration.trial.matrix import Cell
from taintwatch_calibration.trial.scored import ScoredClip

__all__ = ["COLOURS", "heat_map", "roc_chart", "timeline"]

COLOURS = ("#0b62a3", "#b8570b", "#2c7a4b", "#7b4397")
_BLUE, _RED = (11, 98, 163), (178, 34, 34)
_W, _H = 560, 84


def heat_map(title: str, cells: Sequence[tuple[Cell, Rate]], light: str, *, bad: bool = False) -> str:
    """Return a table: a row for each distance, a column for each angle; `bad` paints high shares red, not blue."""
    rates = {(cell.distance_m, cell.angle_deg): rate for cell, rate in cells if cell.light == light}
    distances = sorted({distance for distance, _ in rates})
    angles = sorted({angle for _, angle in rates})
    head = "".join(f'<th scope="col">{angle:g}°</th>' for angle in angles)
    body = ""
    for distance in distances:
        row = "".join(_heat(rates.get((distance, angle)), _RED if bad else _BLUE) for angle in angles)
        body += f'<tr><th scope="row">{distance:g} m</th>{row}</tr>'
    caption = f"<caption>{escape(title)}, {escape(light)}</caption>"
    return f'<table class="heat">{caption}<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'


def timeline(clip: ScoredClip, detector: str, threshold: float) -> str:
    """Return a clip's scores over time, with the threshold, the attack, the wrong labels and the alarm."""
    end = max([*clip.time_s, 0.1])
    scores = clip.scores[detector]
    low, high = min([*scores, threshold]), max([*scores, threshold])
    room = max(high - low, 1e-6)
    x = [round(6 + (_W - 12) * time_s / end, 1) for time_s in clip.time_s]
    y = [round(62 - 52 * (score - low) / room, 1) for score in scores]
    at = round(62 - 52 * (threshold - low) / room, 1)
    parts = [f'<rect x="0" y="0" width="{_W}" height="{_H}" fill="#fff"/>']
    parts += _spans(x, clip.attacked, 4, 62, "#f6e3c5")
    wrong = [right is False for right in clip.right]
    parts += _spans(x, wrong, 66, 6, "#b22222")
    parts += _spans(x, clip.raised, 75, 6, "#333")
    parts.append(f'<line x1="6" x2="{_W - 6}" y1="{at}" y2="{at}" stroke="#777" stroke-dasharray="4 3"/>')
    points = " ".join(f"{a},{b}" for a, b in zip(x, y, strict=True))
    parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.6"/>')
    words = f"{detector} score of {clip.video} over {end:.1f} seconds"
    return f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{escape(words)}">{"".join(parts)}</svg>'


def roc_chart(rocs: Sequence[Roc]) -> str:
    """Return the curves of all detectors, each with a dot at its calibrated threshold."""
    side, edge = 260, 36
    parts = [
        f'<rect x="{edge}" y="8" width="{side}" height="{side}" fill="#fff" stroke="#999"/>',
        f'<line x1="{edge}" y1="{8 + side}" x2="{edge + side}" y2="8" stroke="#ccc" stroke-dasharray="4 3"/>',
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(f'<text x="{edge - 5}" y="{12 + side * (1 - tick):.0f}" text-anchor="end">{tick:g}</text>')
        parts.append(f'<text x="{edge + side * tick:.0f}" y="{side + 24}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{edge + side / 2}" y="{side + 40}" text-anchor="middle">false-positive rate</text>')
    for roc, colour in zip(rocs, COLOURS, strict=False):
        pairs = zip(roc.false_positive, roc.true_positive, strict=True)
        points = " ".join(f"{edge + side * fpr:.1f},{8 + side * (1 - tpr):.1f}" for fpr, tpr in pairs)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if roc.at is not None:
            cx, cy = edge + side * roc.at[0], 8 + side * (1 - roc.at[1])
            parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4.5" fill="{colour}"/>')
    label = "ROC curves: " + ", ".join(f"{roc.detector} area {roc.area}" for roc in rocs)
    frame = f'viewBox="0 0 {side + 50} {side + 48}" class="roc" role="img"'
    return f'<svg {frame} aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _heat(rate: Rate | None, colour: tuple[int, int, int]) -> str:
    if rate is None or rate.share is None:
        return '<td class="none" title="no frame">none</td>'
    share = rate.share
    mixed = tuple(round(255 + (channel - 255) * (0.06 + 0.94 * share)) for channel in colour)
    light = float(linear(np.array(mixed) / 255.0) @ (0.2126, 0.7152, 0.0722))
    ink = "#fff" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "#000"  # the better contrast (WCAG 2)
    detail = f"{rate.count} of {rate.total}; 95% {rate.low:.0%} to {rate.high:.0%}"
    style = f"background:rgb{mixed};color:{ink}"
    return f'<td style="{style}" title="{detail}">{share:.0%}<small>{rate.count}/{rate.total}</small></td>'


def _spans(x: Sequence[float], on: Sequence[bool], top: float, height: float, colour: str) -> list[str]:
    """Return a rectangle for every run of frames that are on."""
    step = (x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else 8.0
    found: list[str] = []
    start: float | None = None
    for place, value in [*zip(x, on, strict=True), (x[-1] + step if x else 0.0, False)]:
        if value and start is None:
            start = place
        elif not value and start is not None:
            width = max(1.0, place - start)
            found.append(f'<rect x="{start:.1f}" y="{top}" width="{width:.1f}" height="{height}" fill="{colour}"/>')
            start = None
    return found
