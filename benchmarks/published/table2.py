"""TaintRadar's Table II as published: patches generated from 1, 4 or 16 pictures, shown on those and on others.

    python -m benchmarks.published.table2 --model ../shared/data/models/mobilenet_v2_imagenet.onnx \
        --images ../shared/data/imagenet --target toaster --rounds 1 --json docs/results/published_table2_mobilenet.json

Each round takes 16 other pictures: sixteen patches of one picture, four of four, one of sixteen, for each place and
size. SentiNet (`benchmarks.peers`) stands beside `paper` and `tight` at 4%, as in the paper; `--no-sentinet` saves its
82 forwards a picture.
Patches, cells and benign ranks are kept in --work, so that an interrupted run goes on, and another round adds to it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.published.groups import MULTIPLE, PLACES, Cell, all_cells
from benchmarks.published.rounds import ROUND, SENTINET_FPR, Table
from benchmarks.published.sources import TABLE_2
from benchmarks.scripts import run_script
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.craft.materials import (
    find_label,
    load_classifier,
    read_pictures,
)
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import markdown_table, write_json, write_text
from taintwatch_calibration.torch_tuning import keep_freed_memory

_SEEN = ("sentinet", "paper", "tight")


def rows_of(table: Table, rounds: int, target_fpr: float, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return one row for each cell: success on own and on other pictures, and what `paper` and `tight` see."""
    chosen, (limit, _) = table.paper(target_fpr)[0].chosen, table.threshold("tight", target_fpr)
    distance = np.inf if table.peer is None else table.threshold("sentinet", SENTINET_FPR)[0]
    rows = []
    for cell in cells:
        records = [table.cell(cell, turn) for turn in range(rounds)]
        row: dict[str, Any] = asdict(cell)
        for shown in ("own", "held_out"):
            parts = [record[shown] for record in records]
            ranks = [rank for part in parts if part["ranks"] for rank in part["ranks"][str(chosen.labels)]]
            scores, distances = ([score for part in parts for score in part[key]] for key in ("tight", "sentinet"))
            attempts, wins = (sum(part[key] for part in parts) for key in ("attempts", "successes"))
            row[shown] = {
                "attempts": attempts, "successes": wins,
                "paper": _share([rank > chosen.rank_change for rank in ranks]),
                "tight": _share([score > limit for score in scores]),
                "sentinet": None if table.peer is None else _share([score > distance for score in distances]),
            }  # fmt: skip
        row["source"] = TABLE_2[(cell.place, cell.size, cell.sizes, cell.group)]
        rows.append(row)
    return rows


def _share(hits: list[bool]) -> dict[str, Any] | None:
    if not hits:
        return None
    return {"tpr": round(sum(hits) / len(hits), 4), "interval": wilson_interval(sum(hits), len(hits))}


@click.command()
@click.option("--model", required=True, help="ONNX file.")
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of labelled pictures.")
@click.option("--target", default="toaster", show_default=True, help="Class that the patches show.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1), help="Times 16 pictures.")
@click.option("--iterations", default=100, show_default=True, type=click.IntRange(1), help="Steps for each patch.")
@click.option("--place", "places", multiple=True, default=PLACES, show_default=True, type=click.Choice(PLACES),
              help="Only the 18 cells of this place; repeat.")  # fmt: skip
@click.option("--most", default=0, show_default=True, help="Read so many of the pictures; 0: all.")
@click.option("--sentinet/--no-sentinet", default=True, show_default=True, help="Judge by SentiNet too, at 4%.")
@click.option("--work", default=Path("build/published/table2"), show_default=True, type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Seed of the split, the patches and the places.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the benign surface here.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here, in Markdown.")
def main(
    model: str, images: Path, target: str, rounds: int, iterations: int, places: tuple[str, ...], most: int,
    sentinet: bool, work: Path, seed: int, document: Path | None, picture: Path | None, markdown: Path | None,
) -> None:  # fmt: skip
    """Craft, show and judge all 36 cells, or those of one place."""
    torch.set_num_threads(1)
    keep_freed_memory()
    radar = load_classifier(model)
    pictures = read_pictures(images, radar, most=most, seed=seed)
    work.mkdir(parents=True, exist_ok=True)
    table = Table(radar, pictures, find_label(target, radar.info.labels), work, iterations, seed,
                  sentinet)  # fmt: skip
    surface, held = table.paper(0.06)
    print(f"K = {surface.chosen.labels}, dR = {surface.chosen.rank_change}, k_max = {surface.k_max}; "
          f"{held['held_out']:.1%} of held-out pictures alarm", flush=True)  # fmt: skip
    if picture is not None:
        from benchmarks.published.surface_figure import draw_surface

        draw_surface(surface, picture, title=f"{radar.info.name}, {len(table.choose)} benign pictures")
    started, cells = time.monotonic(), all_cells(places)
    for turn in range(rounds):
        for index, cell in enumerate(cells):
            record = table.cell(cell, turn)["own"]
            where = f"{cell.place} {cell.size:g} {cell.sizes} {cell.group}"
            counts = f"{record['successes']}/{record['attempts']}, {time.monotonic() - started:.0f} s"
            print(f"round {turn + 1}, {index + 1}/{len(cells)} {where}: {counts}", flush=True)
    result = {
        **machine(), "model": radar.info.name, "model_sha256": radar.info.source_sha256, "target": target,
        "rounds": rounds, "pictures": rounds * ROUND, "iterations": iterations, "multiple_sizes": MULTIPLE,
        "seed": seed,
        "at": {f"{rate:g}": _at(table, rounds, rate, cells) for rate in (0.06, 0.03)},
    }  # fmt: skip
    if table.peer is not None:
        result["sentinet"] = dict(
            zip(("threshold", "held_out"), table.threshold("sentinet", SENTINET_FPR), strict=True)
        )
    if document is not None:
        write_json(document, result)
    if markdown is not None:
        write_text(markdown, markdown_of(result["at"]["0.06"]["cells"]))


def markdown_of(rows: list[dict[str, Any]]) -> str:
    """Return the table's rows: ours on the pictures that a patch was made from and on others, beside the paper's."""

    def sees(part: dict[str, Any]) -> str:
        return ", ".join("-" if part[name] is None else f"{100 * part[name]['tpr']:.0f}" for name in _SEEN)

    lines = []
    for row in rows:
        own, others, source = row["own"], row["held_out"], row["source"]
        figures = ("-" if value is None else f"{value:.2f}" for value in source.values())
        lines.append([f"{row['place']} {row['size']:g}, {row['sizes']}", str(row["group"]),
                      f"{own['successes']} of {own['attempts']}", sees(own),
                      f"{others['successes']} of {others['attempts']}", sees(others), ", ".join(figures)])  # fmt: skip
    heads = ["place, side, sizes", "pictures a patch", "succeeds on its own", "seen: SentiNet, `paper`, `tight`",
             "on others", "seen", "the paper: success, SentiNet, TaintRadar"]  # fmt: skip
    return markdown_table(heads, lines)


def _at(table: Table, rounds: int, rate: float, cells: Sequence[Cell]) -> dict[str, Any]:
    surface, held = table.paper(rate)
    return {
        "paper": {"labels": surface.chosen.labels, "rank_change": surface.chosen.rank_change, "k_max": surface.k_max}
        | held,
        "tight": dict(zip(("threshold", "held_out"), table.threshold("tight", rate), strict=True)),
        "cells": rows_of(table, rounds, rate, cells),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_script(main, "published.table2"))
