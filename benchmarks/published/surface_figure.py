"""The picture of TaintRadar's Fig. 3: how many benign pictures alarm, over K and dR."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taintwatch_calibration.paper_thresholds import PaperSurface

__all__ = ["draw_surface"]

_DRAWN_RATES = (0.02, 0.06, 0.1)
_DRAWN_CHANGES = (0, 1, 2, 5, 10, 20, 50)


def draw_surface(surface: PaperSurface, path: Path, *, title: str) -> None:
    """Draw the paper's Fig. 3: the rate over K at several dR, and the K that a rate takes over dR. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    counts = sorted(surface.ranks)
    for change in _DRAWN_CHANGES:
        left.plot(counts, [surface.rate(count, change) for count in counts], marker=".", label=f"dR = {change}")
    chosen = surface.chosen
    left.axvline(surface.k_max, color="#777", linestyle="--")
    left.annotate(f"k_max = {surface.k_max}", (surface.k_max + 0.2, left.get_ylim()[1] * 0.9))
    left.plot(chosen.labels, surface.rate(chosen.labels, chosen.rank_change), "k*", markersize=12)
    left.set(xlabel="K", ylabel="benign frames that alarm", title=title)
    left.legend(fontsize=8)
    largest = max(int(rank.max()) for rank in surface.ranks.values())
    changes = sorted({0, *np.unique(np.geomspace(1, max(largest, 2), 40).astype(int)).tolist()})
    for rate in _DRAWN_RATES:
        needed = [(change, surface.labels_needed(change, rate)) for change in changes]
        known = [(change, count) for change, count in needed if count is not None]
        if known:
            right.step(*zip(*known, strict=True), where="post", label=f"{rate:.0%}")
    right.plot(chosen.rank_change, chosen.labels, "k*", markersize=12)
    right.set(xlabel="dR", ylabel="K that the rate takes", xscale="symlog")
    right.legend(title="target FPR", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
