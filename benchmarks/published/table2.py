"""TaintRadar's Table II as published: patches generated from 1, 4 or 16 pictures, shown on those and on others.

    python -m benchmarks.published.table2 --model ../shared/data/models/mobilenet_v2_imagenet.onnx \
        --images ../shared/data/imagenet --target toaster --rounds 1 --json docs/results/published_table2_mobilenet.json

Each round takes 16 other pictures: sixteen patches of one picture, four of four, one of sixteen, for each place and
size.
Patches, cells and benign ranks are kept in --work, so that an interrupted run goes on, and another round adds to it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.published.groups import MULTIPLE, Cell, all_cells, craft_groups, show_groups
from benchmarks.published.sources import TABLE_2
from benchmarks.scripts import run_script
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.materials import (
    Labelled,
    classify,
    differentiable,
    find_label,
    load_classifier,
    read_pictures,
    to_pictures,
)
from taintwatch_calibration.machine import machine
from taintwatch_calibration.paper_thresholds import LABEL_COUNTS, PaperSurface, choose_paper, ranks_of_pixels
from taintwatch_calibration.rates import threshold_for, wilson_interval
from taintwatch_calibration.results import write_json
from taintwatch_calibration.thresholds import scalar_outputs
from taintwatch_calibration.torch_tuning import denormals_flushed, keep_freed_memory
from taintwatch_models.calibration_file import PaperCalibration, TightCalibration
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.errors import UsageError
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.storage import write_atomically

ROUND = 16
STORED_LABELS = (3, 5, 6, 7, 9, 12, 15)


class Table:
    """One model with its pictures split: rounds to attack, others to show on, benign ones to calibrate and to check."""

    def __init__(
        self, radar: RadarFile, pictures: Labelled, target: int, work: Path, iterations: int, seed: int
    ) -> None:
        self.radar, self.target, self.work, self.iterations, self.seed = radar, target, work, iterations, seed
        usable = pictures.subset(np.flatnonzero(pictures.labels != target))
        order = np.random.default_rng(seed).permutation(len(usable))
        if len(order) < 4 * ROUND:
            raise UsageError(f"{len(order)} pictures that the model gets right are too few; give at least {4 * ROUND}")
        quarter = len(order) // 4
        parts = np.split(order, [quarter, 2 * quarter, 3 * quarter])
        self.choose, self.check, self.attacked, self.others = (usable.subset(part) for part in parts)
        self.plain = OnnxRadar(radar, (), session=SessionSettings(threads=1))
        self.tight = OnnxRadar(radar, ("tight",), session=SessionSettings(threads=1))
        self.model: Any = None

    def paper(self, target_fpr: float) -> tuple[PaperSurface, dict[str, float]]:
        """Return the benign surface with K and dR, and the rates that they give on held-out pictures."""
        found = {
            name: self._benign_ranks(name, part) for name, part in (("choose", self.choose), ("check", self.check))
        }
        surface = choose_paper(found["choose"], target_fpr, PaperCalibration())
        chosen = surface.chosen
        held = float((found["check"][chosen.labels] > chosen.rank_change).mean())
        return surface, {"held_out": held, "frames": len(self.check)}

    def _benign_ranks(self, name: str, part: Labelled) -> dict[int, NDArray[np.int64]]:
        path = self.work / f"benign_{name}.json"
        if not path.is_file():
            print(f"benign ranks: {len(part)} pictures, every K from 1 to 20", flush=True)
            ranks = ranks_of_pixels(self.radar, part.pixels, PaperCalibration(), LABEL_COUNTS, threads=1)
            write_atomically(path, json.dumps({str(k): v.tolist() for k, v in ranks.items()}).encode())
        return {int(k): np.array(v, np.int64) for k, v in json.loads(path.read_text()).items()}

    def patches(self, cell: Cell, turn: int) -> torch.Tensor:
        """Return the round's patches for a cell, crafted where they are not there yet."""
        size = "multiple" if cell.sizes == "multiple" else f"{cell.size:g}"
        path = self.work / "patches" / f"{turn}_{cell.place.replace(' ', '-')}_{size}_{cell.group}_{self.iterations}.pt"
        if path.is_file():
            loaded: torch.Tensor = torch.load(path, weights_only=True)
            return loaded
        self.model = self.model or differentiable(self.radar)
        pictures = to_pictures(self._round(turn), self.radar.info.preprocessing)
        schedule = Schedule(self.iterations, seed=self.seed + turn)
        with denormals_flushed():
            made = craft_groups(self.model, pictures, self.radar.info.preprocessing, cell, self.target, schedule,
                                checkpoint=path.with_suffix(".checkpoint"))  # fmt: skip
        made = (made * 255).round() / 255
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(made, path)
        path.with_suffix(".checkpoint").unlink(missing_ok=True)
        return made

    def _round(self, turn: int) -> Labelled:
        if (turn + 1) * ROUND > len(self.attacked):
            raise UsageError(f"there are pictures for {len(self.attacked) // ROUND} rounds only; give fewer --rounds")
        return self.attacked.subset(range(turn * ROUND, (turn + 1) * ROUND))

    def cell(self, cell: Cell, turn: int) -> dict[str, Any]:
        """Return what a round's patches do in a cell, and what the detectors score of that."""
        name = f"{turn}_{cell.place.replace(' ', '-')}_{cell.size:g}_{cell.sizes}_{cell.group}_{self.iterations}.json"
        path = self.work / "cells" / name
        if path.is_file():
            stored: dict[str, Any] = json.loads(path.read_text())
            return stored
        patches, order = self.patches(cell, turn), self.radar.info.preprocessing.order
        own = to_pictures(self._round(turn), self.radar.info.preprocessing).pixels
        chosen = self.others.subset(np.random.default_rng(turn).permutation(len(self.others))[:ROUND])
        strangers = to_pictures(chosen, self.radar.info.preprocessing).pixels
        record = {
            "own": self._attack(show_groups(own, patches, cell, order, 100 + turn)),
            "held_out": self._attack(show_groups(strangers, patches, cell, order, 500 + turn)),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(record).encode())
        return record

    def _attack(self, pixels: NDArray[np.uint8]) -> dict[str, Any]:
        won = pixels[classify(self.plain, pixels) == self.target]
        if not len(won):
            return {"attempts": len(pixels), "successes": 0, "tight": [], "ranks": {}}
        labels = sorted({*STORED_LABELS, self.paper(0.06)[0].chosen.labels, self.paper(0.03)[0].chosen.labels})
        ranks = ranks_of_pixels(self.radar, won, PaperCalibration(), labels, threads=1)
        scores = tight_scores_of(scalar_outputs(self.tight, won), TightCalibration())
        return {"attempts": len(pixels), "successes": len(won), "tight": [round(float(s), 4) for s in scores],
                "ranks": {str(k): v.tolist() for k, v in ranks.items()}}  # fmt: skip

    def tight_threshold(self, target_fpr: float) -> tuple[float, float]:
        """Return `tight`'s threshold for a rate, and the rate that it gives on held-out pictures."""
        path = self.work / "benign_tight.json"
        if not path.is_file():
            scores = [tight_scores_of(scalar_outputs(self.tight, part.pixels), TightCalibration()).tolist()
                      for part in (self.choose, self.check)]  # fmt: skip
            write_atomically(path, json.dumps(scores).encode())
        choose, check = (np.array(values) for values in json.loads(path.read_text()))
        threshold = threshold_for(choose, target_fpr)
        return threshold, float((check > threshold).mean())


def rows_of(table: Table, rounds: int, target_fpr: float) -> list[dict[str, Any]]:
    """Return one row for each cell: success on own and on other pictures, and what `paper` and `tight` see."""
    chosen, (limit, _) = table.paper(target_fpr)[0].chosen, table.tight_threshold(target_fpr)
    rows = []
    for cell in all_cells():
        records = [table.cell(cell, turn) for turn in range(rounds)]
        row: dict[str, Any] = asdict(cell)
        for shown in ("own", "held_out"):
            parts = [record[shown] for record in records]
            ranks = [rank for part in parts if part["ranks"] for rank in part["ranks"][str(chosen.labels)]]
            scores = [score for part in parts for score in part["tight"]]
            attempts, wins = (sum(part[key] for part in parts) for key in ("attempts", "successes"))
            row[shown] = {
                "attempts": attempts, "successes": wins,
                "paper": _share([rank > chosen.rank_change for rank in ranks]),
                "tight": _share([score > limit for score in scores]),
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
@click.option("--most", default=0, show_default=True, help="Read so many of the pictures; 0: all.")
@click.option("--work", default=Path("build/published/table2"), show_default=True, type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Seed of the split, the patches and the places.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the benign surface here.")
def main(
    model: str, images: Path, target: str, rounds: int, iterations: int, most: int, work: Path, seed: int,
    document: Path | None, picture: Path | None,
) -> None:  # fmt: skip
    """Craft, show and judge all 36 cells."""
    torch.set_num_threads(1)
    keep_freed_memory()
    radar = load_classifier(model)
    pictures = read_pictures(images, radar, most=most, seed=seed)
    work.mkdir(parents=True, exist_ok=True)
    table = Table(radar, pictures, find_label(target, radar.info.labels), work, iterations, seed)
    surface, held = table.paper(0.06)
    print(f"K = {surface.chosen.labels}, dR = {surface.chosen.rank_change}, k_max = {surface.k_max}; "
          f"{held['held_out']:.1%} of held-out pictures alarm", flush=True)  # fmt: skip
    if picture is not None:
        from taintwatch_calibration.paper_thresholds import draw_surface

        draw_surface(surface, picture, title=f"{radar.info.name}, {len(table.choose)} benign pictures")
    started, cells = time.monotonic(), all_cells()
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
        "at": {f"{rate:g}": _at(table, rounds, rate) for rate in (0.06, 0.03)},
    }  # fmt: skip
    if document is not None:
        write_json(document, result)


def _at(table: Table, rounds: int, rate: float) -> dict[str, Any]:
    surface, held = table.paper(rate)
    return {
        "paper": {"labels": surface.chosen.labels, "rank_change": surface.chosen.rank_change, "k_max": surface.k_max}
        | held,
        "tight": dict(zip(("threshold", "held_out"), table.tight_threshold(rate), strict=True)),
        "cells": rows_of(table, rounds, rate),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_script(main, "published.table2"))
