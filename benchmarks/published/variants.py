"""TaintRadar's further attacks (sections VI and VII): two patches at once, other shapes, a label of high rank.

    python -m benchmarks.published.variants --model MODEL.onnx --images FOLDER --target LABEL --json r.json

Two patches lie in the lower corners; a star and a lightning lie anywhere; a label of high rank is one that the pictures
nearly show by themselves, so that its fall changes the ranks least: for all pictures (universal) and for each by itself
(partial).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.published.patch_bench import PatchBench
from benchmarks.scripts import run_script
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.placement import Placement
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json

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


@click.command()
@click.option("--model", required=True, help="ONNX file.")
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of labelled pictures.")
@click.option("--target", required=True, help="The label that the patches show, by name or number.")
@click.option("--count", default=40, show_default=True, help="Pictures to attack.")
@click.option("--partial", default=16, show_default=True, help="Pictures that get a patch of their own.")
@click.option("--size", default=0.4, show_default=True, help="Side of the patches.")
@click.option("--iterations", default=200, show_default=True, help="Steps of each patch.")
@click.option("--seed", default=0, show_default=True, help="Seed of the pictures and the patches.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows here.")
def main(
    model: str, images: Path, target: str, count: int, partial: int, size: float, iterations: int, seed: int,
    document: Path | None,
) -> None:  # fmt: skip
    """Craft every variant on the same pictures, and count what `paper` and `tight` miss."""
    torch.set_num_threads(1)
    bench = PatchBench(model, images, target, count, seed)
    rows = variants(bench, size, Schedule(iterations, 0.03, "adam", seed=seed), partial)
    if document is not None:
        write_json(document, {**machine(), **bench.about(), "size": size, "iterations": iterations, "seed": seed,
                              "rows": rows})  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_script(main, "published.variants"))
