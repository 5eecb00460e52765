"""The evaluation as one self-contained HTML page: the worst cells first, then every cell, then the ROC curves."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.rates import roc

__all__ = ["Curves", "draw_roc", "html_page", "worst"]

Curves = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""For each detector its scores of benign pictures and of successful attacks."""

_LEAST = 20
"""Attacks that a cell needs to be called the worst."""
_STYLE = """
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1b1f24;background:#f4f5f7;margin:0}
main{max-width:1240px;margin:0 auto;padding:24px 20px 60px}h1{font-size:26px;margin:0 0 4px}h2{margin:34px 0 8px}
.scroll{overflow-x:auto}table{border-collapse:collapse;background:#fff;font-size:13px;border:1px solid #d8dce2}
th,td{padding:4px 9px;border-bottom:1px solid #e4e7eb;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}img{max-width:100%;background:#fff;border:1px solid #d8dce2}
.few{color:#7a828d}small{color:#555e6b}
"""


def worst(cells: Sequence[dict[str, Any]], family: str, detector: str, rate: float) -> dict[str, Any] | None:
    """Return the cell of a family that a detector sees least of; cells of fewer than 20 attacks do not count."""
    judged = [
        cell for cell in cells
        if cell["attack_family"] == family and cell["detector"] == detector and cell["target_fpr"] == rate
        and cell["tpr"] is not None and cell["n"] >= _LEAST
    ]  # fmt: skip
    return min(judged, key=lambda cell: cell["tpr"]) if judged else None


def draw_roc(models: Mapping[str, Curves], title: str) -> bytes:
    """Return a PNG: one panel for each model, one line for each detector, false alarms from 0 to 20%."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.6 * rows), squeeze=False, layout="constrained")
    everyone = list(dict.fromkeys(detector for curves in models.values() for detector in curves))
    for panel in axes.flat[len(models) :]:
        panel.set_visible(False)
    for panel, (name, curves) in zip(axes.flat, models.items(), strict=False):
        for detector, (benign, attacked) in curves.items():
            index = everyone.index(detector)
            if len(attacked):
                width = 2.6 if detector == "default" else 1.2
                style = "-" if index < 6 else "--"
                false, true = roc(benign, attacked)
                colour = f"C{index % 10}"
                panel.step(false, true, colour, where="post", label=detector, linewidth=width, linestyle=style)
        panel.set(title=name, xlim=(0, 0.2), ylim=(0, 1.01))
        panel.grid(alpha=0.3)
    lines = {line.get_label(): line for panel in axes.flat for line in panel.get_lines()}
    if lines:
        figure.legend(list(lines.values()), list(lines), loc="outside right center", fontsize=8)
    figure.suptitle(title)
    figure.supxlabel("false-positive rate per frame")
    figure.supylabel("successful attacks seen")
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100, format="png")
    plt.close(figure)
    return stream.getvalue()


def html_page(document: Mapping[str, Any], pictures: Mapping[str, bytes], rate: float) -> str:
    """Return the page; nothing in it is fetched from anywhere. `pictures`: PNGs by their titles."""
    cells = document["cells"]
    detectors = list(dict.fromkeys(cell["detector"] for cell in cells))
    parts = [
        "<h1>Detection, side by side</h1>",
        f"<p>Share of the <b>successful</b> attacks that is seen, at the threshold that gives {rate:.0%} false alarms "
        "on benign calibration pictures; <small>false alarms on held-out ones in brackets.</small></p>",
        _families(cells, detectors, rate),
    ]
    for model in dict.fromkeys(cell["model"] for cell in cells):
        mine = [cell for cell in cells if cell["model"] == model and cell["target_fpr"] == rate]
        about = next((entry["about"] for entry in document["models"] if entry["name"] == model), "")
        parts += [f"<h2>{escape(model)}</h2><p><small>{escape(about)}</small></p>", _table(mine, detectors)]
    for title, picture in pictures.items():
        source = base64.b64encode(picture).decode()
        parts.append(f'<h2>{escape(title)}</h2><img alt="{escape(title)}" src="data:image/png;base64,{source}">')
    head = f'<meta charset="utf-8"><title>Detection</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{"".join(parts)}</main></body></html>\n'


def _families(cells: Sequence[dict[str, Any]], detectors: Sequence[str], rate: float) -> str:
    families = dict.fromkeys(cell["attack_family"] for cell in cells)
    rows = []
    for family in families:
        found = (worst(cells, family, detector, rate) for detector in detectors)
        rows.append(
            [
                escape(family.replace("_", " ")),
                *(f"{_rate(cell)} <small>{escape(_where(cell))}</small>" for cell in found),
            ]
        )
    return "<h2>The worst cell of each family</h2>" + _html(["family", *detectors], rows)


def _table(cells: Sequence[dict[str, Any]], detectors: Sequence[str]) -> str:
    rows = []
    for attack in dict.fromkeys(cell["attack"] for cell in cells):
        mine = {cell["detector"]: cell for cell in cells if cell["attack"] == attack}
        first = next(iter(mine.values()))
        default = mine.get("default", first)
        row = [escape(attack), f"{first['successes']} of {first['attempts']}"]
        row += [_rate(mine.get(detector), few=True) for detector in detectors]
        rows.append([*row, _share(default.get("iou")), _share(default.get("recovered"))])
    times = {cell["detector"]: cell["ms_per_frame"] for cell in cells}
    spent = ["ms for one frame", ""] + [f"{times[d]:.2f}" if times.get(d) else "" for d in detectors]
    heads = ["attack", "succeeds", *detectors, "region's IoU", "recovered"]
    return _html(heads, [*rows, [*spent, "", ""]])


def _rate(cell: Mapping[str, Any] | None, *, few: bool = False) -> str:
    if cell is None or cell["tpr"] is None:
        return "-"
    text = f"{cell['tpr']:.1%} ({cell['fpr']:.1%})"
    return f'<span class="few">{text}, n={cell["n"]}</span>' if few and cell["n"] < _LEAST else text


def _where(cell: Mapping[str, Any] | None) -> str:
    return "" if cell is None else f"{cell['model']}, {cell['attack']}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _html(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'
