"""The picture of a throughput run: the stages' shares by batch, and delays by the number of cameras."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl

from taintwatch_models.storage import write_atomically

__all__ = ["draw"]

STAGES = ("preprocess", "forward", "head_products", "masks", "fill", "second_forward")


def draw(path: Path, document: dict[str, Any]) -> None:
    """Draw the stages (CPU) and, where they were measured, the cameras."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = 2 if document.get("cameras") else 1
    figure, axes = plt.subplots(1, panels, figsize=(6.4 * panels, 4.2), squeeze=False, layout="constrained")
    stages, left = document["stages"]["cpu"], axes[0][0]
    names = list(stages)
    bottom = [0.0] * len(names)
    for stage in STAGES:
        heights = [max(0.0, stages[name][stage]["p50"]) for name in names]
        left.bar([name.removeprefix("batch") for name in names], heights, bottom=bottom, label=stage.replace("_", " "))
        bottom = [low + high for low, high in zip(bottom, heights, strict=True)]
    left.set(xlabel="batch", ylabel="milliseconds a frame (median)", title=f"one tight check, {document['model']}, CPU")
    left.legend()
    if panels == 2:
        right, runs = axes[0][1], document["cameras"]
        for name in ("p50", "p95", "p99"):
            right.plot([run["cameras"] for run in runs], [run["delay_ms"][name] for run in runs], "o-", label=name)
        right.set(xlabel="cameras at 10 fps", ylabel="capture to verdict (ms)", xscale="log", yscale="log",
                  title="live cameras, newest frame only")  # fmt: skip
        right.axhline(100, color="grey", linestyle=":", linewidth=1)
        right.set_xticks([run["cameras"] for run in runs], [str(run["cameras"]) for run in runs])
        right.grid(alpha=0.3)
        right.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    plt.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
