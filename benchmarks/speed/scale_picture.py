"""The picture of `python -m benchmarks.scale`: cameras that are kept up with, by frames a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import COLOURS, new_figure, save

__all__ = ["draw"]


def draw(path: Path, document: dict[str, Any]) -> None:
    """Draw beside `path`, as SVG and PNG: each run by its delay, and the most cameras that kept up."""
    figure, axes = new_figure(figsize=(6.4, 4.2))
    rows = document["rows"]
    for row in rows:
        late = row["delay_ms"]["p99"] > 100 or row["dropped_share"] > 0.01
        axes.plot(row["fps_each"], row["cameras"], "x" if late else "o", color=COLOURS[1] if late else COLOURS[0], ms=6)
        axes.annotate(
            f" {row['delay_ms']['p99']:.0f} ms", (row["fps_each"], row["cameras"]), fontsize=7, va="center"
        )  # fmt: skip
    best = {float(rate): cameras for rate, cameras in document["cameras"].items() if cameras}
    axes.plot(list(best), list(best.values()), "-", color=COLOURS[0], lw=1)
    loads = [row["load_1min"] for row in rows]
    axes.set(
        xscale="log", yscale="log", xlabel="frames a second of each camera", ylabel="cameras",
        title=f"kept up with (p99 of capture to verdict at most 100 ms), {document['cores']} cores\n"
        f"{document['model'] or 'bundled model'}; load of the machine {min(loads):.0f} to {max(loads):.0f}",
    )  # fmt: skip
    ticks = sorted({row["cameras"] for row in rows})
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    rates = sorted({row["fps_each"] for row in rows})
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    save(figure, path)
