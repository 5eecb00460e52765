"""The whole grid: craft, show, judge, cell by cell; what is done is kept and not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.craft.engine import Step
from taintwatch_calibration.craft.materials import Labelled, classify, differentiable, to_pictures
from taintwatch_calibration.craft.physical import Model, Pictures
from taintwatch_calibration.grid.cells import Cell, plan_of
from taintwatch_calibration.grid.crafting import craft_once, decode_patch, with_patch
from taintwatch_calibration.grid.judging import Judge
from taintwatch_calibration.grid.parts import Parts
from taintwatch_calibration.rates import wilson_interval
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.storage import write_atomically

__all__ = ["Grid", "GridOptions", "rows_of"]


@dataclass(frozen=True, slots=True)
class GridOptions:
    """What varies from one grid to another."""

    target: int
    iterations: int = 300
    placements: int = 1
    """How often each test image is attacked."""
    seed: int = 0
    device: str = "cpu"


class Grid:
    """One model, one split of pictures, one folder of results."""

    def __init__(self, radar: RadarFile, parts: Parts, judge: Judge, options: GridOptions, work: Path) -> None:
        self._radar, self._parts, self._judge, self._options, self._work = radar, parts, judge, options, work
        self._plain = OnnxRadar(radar, (), session=SessionSettings(threads=1))
        self._model: Model | None = None
        self._pictures: Pictures | None = None
        self._identity = hashlib.sha256(
            json.dumps(
                [asdict(options), radar.info.source_sha256, parts.fingerprint, asdict(judge.calibration),
                 judge.target_fpr, sorted(judge.chosen_on)]
            ).encode()
        ).hexdigest()  # fmt: skip

    def cell(self, cell: Cell, report: Callable[[Step], None] | None = None) -> dict[str, Any]:
        """Return one cell's record: from the folder where it is there, else worked out and kept."""
        name = f"cell_{cell.position}_{cell.sizes}_{cell.batch_size}_{cell.patch_size:g}.json"
        kept = self._work / "cells" / name
        done = self._read(kept)
        if done is not None:
            return done
        patch = self.patch(cell, report)
        return self._keep(kept, {**asdict(cell), **self.attack(patch, cell)})

    def patch(self, cell: Cell, report: Callable[[Step], None] | None = None) -> NDArray[np.uint8]:
        """Return the cell's patch, crafted where it is not there yet."""
        options = self._options
        plan = plan_of(cell, options.target, options.iterations, options.seed)
        key = plan.key(self._radar.info.source_sha256, self._parts.fingerprint)
        kept = self._work / "patches" / f"{cell.position}_{cell.sizes}_{cell.batch_size}_{key}.png"
        kept.parent.mkdir(parents=True, exist_ok=True)
        preprocessing = self._radar.info.preprocessing
        with denormals_flushed():
            return craft_once(plan, self._differentiable, self._craft_on, preprocessing, kept, report)

    def ready_made(self, path: Path, cell: Cell) -> dict[str, Any]:
        """Return the record of a patch from a file, shown as the cell says."""
        kept = self._work / "cells" / f"{path.stem}_{cell.position}_{cell.patch_size:g}.json"
        done = self._read(kept)
        if done is not None:
            return done
        shown = {"patch": path.name, "patch_size": cell.patch_size, "position": cell.position}
        return self._keep(kept, {**shown, **self.attack(decode_patch(path), cell)})

    def attack(self, patch: NDArray[np.uint8], cell: Cell) -> dict[str, Any]:
        """Show the patch on the test images; count what succeeds, and what of that the detectors find."""
        pixels = np.concatenate([self._with_patch(patch, cell, turn) for turn in range(self._options.placements)])
        success = classify(self._plain, pixels) == self._options.target
        record: dict[str, Any] = {
            "attempts": len(success),
            "successes": int(success.sum()),
            "success_rate": float(success.mean()),
            "success_interval": wilson_interval(int(success.sum()), len(success)),
        }
        scores = self._judge.scores(pixels[success]) if success.any() else {}
        return {**record, "detectors": self._judge.rates(scores)}

    def _with_patch(self, patch: NDArray[np.uint8], cell: Cell, turn: int) -> NDArray[np.uint8]:
        seed = 1000 + 17 * turn + self._options.seed
        return with_patch(self._parts.test_images, patch, cell.placement, self._radar.info.preprocessing, seed)

    def _differentiable(self) -> Model:
        if self._model is None:
            self._model = differentiable(self._radar, self._options.device)
        return self._model

    def _craft_on(self) -> Pictures:
        if self._pictures is None:
            craft: Labelled = self._parts.craft
            self._pictures = to_pictures(craft, self._radar.info.preprocessing, self._options.device)
        return self._pictures

    def _read(self, kept: Path) -> dict[str, Any] | None:
        if not kept.is_file():
            return None
        try:
            document: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return document["record"] if document.get("identity") == self._identity else None

    def _keep(self, kept: Path, record: dict[str, Any]) -> dict[str, Any]:
        kept.parent.mkdir(parents=True, exist_ok=True)
        document = {"identity": self._identity, "record": record}
        write_atomically(kept, (json.dumps(document, indent=1) + "\n").encode())
        return record


def rows_of(records: Sequence[dict[str, Any]], detectors: Sequence[str], target_fpr: float) -> list[dict[str, Any]]:
    """Flatten records to one row for each cell and detector; `tpr` and `fpr` are at the target rate.

    A cell whose patch never succeeds has no TPR: None.
    """
    rows = []
    for record in records:
        head = {key: value for key, value in record.items() if key != "detectors"}
        for name in detectors:
            found = record["detectors"].get(name)
            at = found["at"][f"{target_fpr:g}"] if found else None
            rates = {key: at[key] if at else None for key in ("tpr", "tpr_interval", "fpr", "threshold")}
            others = found["at"] if found else {}
            rows.append(
                {**head, "detector": name, **rates, "target_fpr": target_fpr,
                 "auc": found["auc"] if found else None, "at": others}
            )  # fmt: skip
    return rows
