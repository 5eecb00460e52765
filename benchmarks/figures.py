"""How figures look, and where they go: colours that the colour-blind tell apart, PNG and SVG side by side.

    python -m benchmarks.figures

draws those of docs/results again from the JSON that lies beside each; nothing is measured.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler

from taintwatch_models.storage import write_atomically

__all__ = ["COLOURS", "MARKS", "new_figure", "save"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#f0e442")
"""Okabe and Ito (2008), darkest first."""
MARKS = "osD^vPX*"
_RESULTS = Path(__file__).parents[1] / "docs" / "results"
_DRAWN = {
    "latency.json": "benchmarks.speed.latency_picture",
    "scale_signs.json": "benchmarks.speed.scale_picture",
    "sign_attacks.json": "benchmarks.sign_attacks.picture",
    "throughput_mobilenet_v2.json": "benchmarks.speed.picture",
    "throughput_signs.json": "benchmarks.speed.picture",
    "votes.json": "benchmarks.votes.picture",
}


def new_figure(*panels: int, **more: Any) -> tuple[Any, Any]:
    """Return a figure and its axes, as matplotlib's `subplots` does, in this project's colours."""
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "taintwatch"  # the same picture is the same file
    mpl.rcParams["axes.prop_cycle"] = cycler(color=COLOURS)
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(*panels, layout="constrained", **more)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write a figure beside `path`, as SVG and PNG, and close it."""
    from matplotlib import pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".svg", ".png"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], dpi=110, metadata={"Date": None} if suffix == ".svg" else None)
        write_atomically(path.with_suffix(suffix), buffer.getvalue())
    plt.close(figure)


def main() -> None:
    """Draw all of docs/results that is a picture of one JSON."""
    for name, module in _DRAWN.items():
        draw: Callable[[Path, Any], None] = import_module(module).draw
        draw(_RESULTS / name, json.loads((_RESULTS / name).read_text()))
        print(f"{name}: drawn", flush=True)


if __name__ == "__main__":
    main()
