"""The picture of a throughput run: the stages' shares by batch, and delays by the number of cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import COLOURS, MARKS, new_figure, save

__all__ = ["draw"]

STAGES = ("preprocess", "forward", "head_products", "masks", "fill", "second_forward")


def draw(path: Path, document: dict[str, Any]) -> None:
    """Draw beside `path`, as SVG and PNG, the stages (CPU) and, where they were measured, the cameras."""
    panels = 2 if document.get("cameras") else 1
    figure, axes = new_figure(1, panels, figsize=(6.4 * panels, 4.2), squeeze=False)
    _stages(axes[0][0], document)
    if panels == 2:
        _cameras(axes[0][1], document["cameras"])
    save(figure, path)


def _stages(panel: Any, document: dict[str, Any]) -> None:
    stages = document["stages"]["cpu"]
    names = list(stages)
    bottom = [0.0] * len(names)
    for stage, colour in zip(STAGES, COLOURS, strict=False):
        heights = [max(0.0, stages[name][stage]["p50"]) for name in names]
        panel.bar([name.removeprefix("batch") for name in names], heights, bottom=bottom, color=colour,
                  label=stage.replace("_", " "), edgecolor="white", linewidth=0.5)  # fmt: skip
        bottom = [low + high for low, high in zip(bottom, heights, strict=True)]
    panel.set(xlabel="batch", ylabel="milliseconds a frame (median)", ylim=(0, 1.45 * max(bottom)),
              title=f"one tight check, {document['model']}, CPU")  # fmt: skip
    panel.legend(ncols=3, fontsize=8, loc="upper center")


def _cameras(panel: Any, runs: list[dict[str, Any]]) -> None:
    for name, mark in zip(("p50", "p95", "p99"), MARKS, strict=False):
        panel.plot([run["cameras"] for run in runs], [run["delay_ms"][name] for run in runs], f"{mark}-", label=name)
    panel.set(xlabel="cameras at 10 fps", ylabel="capture to verdict (ms)", xscale="log", yscale="log",
              title="live cameras, newest frame only")  # fmt: skip
    panel.axhline(100, color="grey", linestyle=":", linewidth=1)
    panel.set_xticks([run["cameras"] for run in runs], [str(run["cameras"]) for run in runs])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend()
