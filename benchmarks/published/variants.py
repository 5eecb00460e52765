"""TaintRadar's further attacks (sections VI and VII): two patches at once, other shapes, a label of high rank.

    python -m benchmarks.published.variants --model MODEL.onnx --images FOLDER --target LABEL --json r.json

Two patches lie in the lower corners; a star and a lightning lie anywhere; a label of high rank is one that the pictures
nearly show by themselves, so that its fall changes the ranks least: for all pictures (universal) and for each by itself
(partial).
"""

from __future__ import annotations

import sys
from typing import Any

import click

from benchmarks.published.patch_bench import PatchBench
from benchmarks.published.patch_command import PatchRun, patch_command
from benchmarks.scripts import run_script
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.placement import Placement

__all__ = ["PUBLISHED", "main"]

_LEFT, _RIGHT, _ANYWHERE = (0.0, 1.0), (1.0, 1.0), (None,)
PUBLISHED: dict[str, tuple[float, float]] = {
    "two corners": (100.0, 91.5), "star": (78.0, 92.31), "lightning": (79.0, 90.5),
    "high rank, universal": (95.75, 91.78), "high rank, partial": (98.63, 68.44),
}  # fmt: skip
"""Success and what TaintRadar sees of it, in percent."""


def variants(bench: PatchBench, size: float, schedule: Schedule, partial: int) -> list[dict[str, Any]]:
    """Return a row for each attack, a square of one place and the given target first."""
    anywhere = Placement(_ANYWHERE, (size,), rotation_degrees=0.0)
    corner, corners = (Placement(places, (size,), rotation_degrees=0.0) for places in ((_RIGHT,), (_LEFT, _RIGHT)))
    rows = [
        bench.row("one corner", schedule, corner),
        bench.row("two corners", schedule, corners),
        bench.row("square", schedule, anywhere),
        bench.row("star", schedule, anywhere, shape="star"),
        bench.row("lightning", schedule, anywhere, shape="lightning"),
        bench.row("high rank, universal", schedule, anywhere, target=bench.high_rank()),
        bench.each("high rank, partial", schedule, anywhere, partial),
    ]
    return [row | {"published": PUBLISHED.get(row["attacker"])} for row in rows]


@patch_command(size=0.4, iterations=200)
@click.option("--partial", default=16, show_default=True, help="Pictures that get a patch of their own.")
def main(run: PatchRun, partial: int) -> None:
    """Craft every variant on the same pictures, and count what `paper` and `tight` miss."""
    run.write(variants(run.bench, run.size, run.schedule, partial))


if __name__ == "__main__":
    sys.exit(run_script(main, "published.variants"))
