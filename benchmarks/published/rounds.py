"""Table II's rounds on one model: pictures split, patches crafted, shown and judged; each kept once it is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers import PEERS, Peer
from benchmarks.published.groups import Cell, craft_groups, show_groups
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.materials import (
    Labelled,
    classify,
    differentiable,
    to_pictures,
)
from taintwatch_calibration.paper_thresholds import LABEL_COUNTS, PaperSurface, choose_paper, ranks_of_pixels
from taintwatch_calibration.rates import threshold_for
from taintwatch_calibration.thresholds import scalar_outputs
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.calibration_file import PaperCalibration, TightCalibration
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.errors import UsageError
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.storage import write_atomically

__all__ = ["ROUND", "SENTINET_FPR", "Table"]

ROUND = 16
STORED_LABELS = (3, 5, 6, 7, 9, 12, 15)
SENTINET_FPR = 0.04
"""The paper's operating point for SentiNet."""


class Table:
    """One model with its pictures split: rounds to attack, others to show on, benign ones to calibrate and to check."""

    def __init__(
        self, radar: RadarFile, pictures: Labelled, target: int, work: Path, iterations: int, seed: int,
        sentinet: bool = False,
    ) -> None:  # fmt: skip
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
        self.peer: Peer | None = (
            PEERS["sentinet"](radar, self.choose.pixels, threads=1, seed=seed) if sentinet else None
        )

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
            return {"attempts": len(pixels), "successes": 0, "tight": [], "sentinet": [], "ranks": {}}
        labels = sorted({*STORED_LABELS, self.paper(0.06)[0].chosen.labels, self.paper(0.03)[0].chosen.labels})
        ranks = ranks_of_pixels(self.radar, won, PaperCalibration(), labels, threads=1)
        scores = {name: [round(float(s), 4) for s in score(won)] for name, score in self._scorers().items()}
        return {"attempts": len(pixels), "successes": len(won), "sentinet": [], **scores,
                "ranks": {str(k): v.tolist() for k, v in ranks.items()}}  # fmt: skip

    def _scorers(self) -> Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.float64]]]:
        def tight(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
            return tight_scores_of(scalar_outputs(self.tight, pixels), TightCalibration())

        return {"tight": tight} | ({"sentinet": self.peer.scores} if self.peer is not None else {})

    def threshold(self, name: str, target_fpr: float) -> tuple[float, float]:
        """Return the threshold of `tight` or `sentinet` for a rate, and the rate that it gives on held-out pictures."""
        path = self.work / f"benign_{name}.json"
        if not path.is_file():
            scores = [self._scorers()[name](part.pixels).tolist() for part in (self.choose, self.check)]
            write_atomically(path, json.dumps(scores).encode())
        choose, check = (np.array(values) for values in json.loads(path.read_text()))
        threshold = threshold_for(choose, target_fpr)
        return threshold, float((check > threshold).mean())
