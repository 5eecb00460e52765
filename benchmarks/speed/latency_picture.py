"""The picture of the latency table: each network's ratios at batch 1, and their medians by batch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.speed.ratios import CHECKS
from taintwatch_models.storage import write_atomically

__all__ = ["draw"]

BATCHES = (1, 4, 16)


def draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw beside `path`, as SVG and PNG."""
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "taintwatch"  # the same picture is the same file
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6), width_ratios=(2, 1), layout="constrained")
    places = np.arange(len(rows))
    for index, name in enumerate(CHECKS):
        found = [row["cpu"]["batch1"][name] for row in rows]
        ratios = np.array([one["ratio_best"] for one in found])
        low, high = np.array([one["ratio_best_quartiles"] for one in found]).T
        errors = np.maximum([ratios - low, high - ratios], 0)
        left.bar(places + (index - 1.5) * 0.2, ratios, 0.2, yerr=errors, label=name, error_kw={"lw": 0.8})
    left.set_xticks(places, [row["name"].replace("_", "\n", 1) for row in rows], fontsize=7)
    left.set(ylabel="times the best plain forward", title="batch 1, one thread; bars: quartiles")
    for name in CHECKS:
        values = np.array([[row["cpu"][f"batch{batch}"][name]["ratio_best"] for batch in BATCHES] for row in rows])
        right.plot(BATCHES, np.median(values, axis=0), "o-", label=name)
        right.fill_between(BATCHES, values.min(axis=0), values.max(axis=0), alpha=0.12)
    right.set(xlabel="batch", xscale="log", title="median and range of the networks")
    right.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
    for axes in (left, right):
        axes.axhline(1.0, color="grey", lw=0.8)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(fontsize=8)
    for suffix in (".svg", ".png"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], dpi=110, metadata={"Date": None} if suffix == ".svg" else None)
        write_atomically(path.with_suffix(suffix), buffer.getvalue())
    plt.close(figure)
