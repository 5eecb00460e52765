"""The picture of the latency table: each network's ratios at batch 1, and their medians by batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import COLOURS, MARKS, new_figure, save
from benchmarks.speed.ratios import CHECKS

__all__ = ["draw"]

BATCHES = (1, 4, 16)


def draw(path: Path, document: dict[str, Any]) -> None:
    """Draw beside `path`, as SVG and PNG."""
    rows = document["rows"]
    figure, (left, right) = new_figure(1, 2, figsize=(13, 4.6), width_ratios=(2, 1))
    places = np.arange(len(rows))
    for index, name in enumerate(CHECKS):
        found = [row["cpu"]["batch1"][name] for row in rows]
        ratios = np.array([one["ratio_best"] for one in found])
        low, high = np.array([one["ratio_best_quartiles"] for one in found]).T
        errors = np.maximum([ratios - low, high - ratios], 0)
        left.bar(places + (index - 1.5) * 0.2, ratios, 0.2, yerr=errors, label=name, error_kw={"lw": 0.8})
    left.set_xticks(places, [row["name"].replace("_", "\n", 1) for row in rows], fontsize=8)
    left.set(ylabel="times the best plain forward", title="batch 1, one thread; bars: quartiles")
    for index, (name, mark) in enumerate(zip(CHECKS, MARKS, strict=False)):
        values = np.array([[row["cpu"][f"batch{batch}"][name]["ratio_best"] for batch in BATCHES] for row in rows])
        middle = np.median(values, axis=0)
        spread = [middle - values.min(axis=0), values.max(axis=0) - middle]
        beside = np.array(BATCHES) * 1.07 ** (index - 1.5)  # bars that do not cover each other
        right.errorbar(beside, middle, yerr=spread, fmt=f"{mark}-", color=COLOURS[index], label=name, elinewidth=1)
    right.set(xlabel="batch", xscale="log", title="median and range of the networks")
    right.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
    right.minorticks_off()
    for axes in (left, right):
        axes.axhline(1.0, color="grey", lw=0.8)
        axes.grid(axis="y", alpha=0.3)
    left.legend(fontsize=8)
    save(figure, path)
