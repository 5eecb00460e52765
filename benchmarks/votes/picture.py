"""The picture: false alarms a camera-day against frames to the alarm, one point for each policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taintwatch_models.errors import UsageError

__all__ = ["draw"]

_MARKS = {
    "k-of-n": ("o", "#0072b2"),
    "exponentially-weighted": ("s", "#d55e00"),
    "sequential-probability-ratio": ("^", "#009e73"),
}
_NAMED = "#000000"
_LEAST = 1e-3  # a day: the formula goes on far below
_MOST = 20  # frames: slower policies are not looked for


def draw(path: Path, document: Mapping[str, Any]) -> None:
    """Draw a comparison beside `path`, as SVG and PNG. Raises `UsageError` where matplotlib is missing."""
    try:
        from benchmarks.figures import new_figure, save
    except ImportError:
        raise UsageError("the picture needs matplotlib: pip install 'taintwatch[bench]', or --no-picture") from None
    figure, panel = new_figure(figsize=(8.4, 5.6))
    for kind, (mark, colour) in _MARKS.items():
        rows = [row for row in document["rows"] if row["policy"] == kind and _frames(row) is not None]
        x = [_frames(row) for row in rows]
        panel.plot(x, [_a_day(row) for row in rows], mark, color=colour, alpha=0.55, markersize=5, label=kind)
    _formula(panel, document["rows"])
    _label_axes(panel, document)
    panel.axhline(1, color="grey", linestyle=":", linewidth=1)
    panel.axvline(10, color="grey", linestyle=":", linewidth=1)
    panel.set(
        yscale="log", xlabel="frames to the alarm, median over attacks (the first fooled frame is 1)",
        ylabel="false alarms a camera-day", xlim=(0, _MOST), ylim=(_LEAST, None),
        title="Vote policies on streams that they were not chosen on",
    )  # fmt: skip
    panel.grid(alpha=0.25)
    panel.legend(loc="lower right", fontsize=8)
    save(figure, path)


def _frames(row: Mapping[str, Any]) -> float | None:
    value: float | None = row["reporting"]["attack"]["median"]
    return value


def _a_day(row: Mapping[str, Any]) -> float:
    """Alarms a day; where none was seen, the upper end of the interval."""
    benign = row["reporting"]["benign"]
    return float(benign["a_day"] or benign["upper_a_day"])


def _formula(panel: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    known = [row for row in rows if row["policy"] == "k-of-n" and _frames(row) is not None]
    shown = [row for row in known if row["independent_a_day"] >= _LEAST]
    x, y = [_frames(row) for row in shown], [row["independent_a_day"] for row in shown]
    panel.plot(x, y, "x", color=_MARKS["k-of-n"][1], alpha=0.5, markersize=5, label="k-of-n, were frames independent")


def _label_axes(panel: Any, document: Mapping[str, Any]) -> None:
    names = {document["default"]: "default"}
    names[document["chosen"]] = "chosen, and the default" if document["chosen"] in names else "chosen"
    if document["chosen_by_formula"] is not None:
        names.setdefault(document["chosen_by_formula"], "a formula would choose")
    aways = iter(((16, 44), (20, 24), (24, -30)))  # the policies are close together
    white = {"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.85, "edgecolor": "none"}
    arrow = {"arrowstyle": "-", "color": _NAMED, "lw": 0.8}
    for row in document["rows"]:
        if row["name"] in names and _frames(row) is not None:
            at = (_frames(row), _a_day(row))
            panel.plot(*at, "o", markersize=13, fillstyle="none", color=_NAMED, markeredgewidth=2)
            words = f"{names[row['name']]}: {row['name']}"
            away = next(aways)
            panel.annotate(words, at, xytext=away, textcoords="offset points", fontsize=9, color=_NAMED, bbox=white,
                           arrowprops=arrow)  # fmt: skip
