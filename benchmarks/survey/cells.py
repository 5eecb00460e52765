"""What is measured and not measured again: a file for each attack on a network, and for each detector on it."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.survey.attacks import ATTACKS, Attacked, Printed, Scale
from benchmarks.survey.subject import Pixels, Subject, as_tensor
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.craft.attack_folder import Folder, as_picture
from taintwatch_calibration.craft.measurement import faintness
from taintwatch_calibration.results import write_json
from taintwatch_models.storage import write_atomically

__all__ = ["attack_cell", "attacked_pictures", "keep_printed", "key_of", "network_cell", "share_of", "stored_cells"]

Cell = dict[str, Any]


def key_of(*parts: object) -> str:
    """Return what changes with any of the parts."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]


def share_of(hits: NDArray[np.bool_]) -> Cell:
    """Return count, n, share and its 95% Wilson interval, JSON-ready."""
    count, total = int(hits.sum()), len(hits)
    low, high = wilson_interval(count, total)
    share = round(count / total, 4) if total else None
    return {"count": count, "n": total, "share": share, "interval": [round(low, 4), round(high, 4)]}


def attack_cell(subject: Subject, name: str, scale: Scale, work: Path, *, keep: Path | None = None) -> Cell:
    """Attack a network, or read what it came to; the pictures lie beside the cell."""
    path = _path(subject, name, work)
    identity = key_of(subject.radar.info.source_sha256, name, astuple(scale), ATTACKS[name].left_out)
    if path.is_file():
        stored: Cell = json.loads(path.read_text(encoding="utf-8"))
        if stored["identity"] == identity:
            return stored
    began, spent = time.perf_counter(), time.process_time()
    made = ATTACKS[name].run(subject, scale)
    seconds = {"wall": time.perf_counter() - began, "cpu": time.process_time() - spent}
    cell = {
        "identity": identity, "network": subject.name, "attack": name, "steps": scale.steps,
        **measure_cell(subject, made),
    }  # fmt: skip
    cell["cpu_seconds_per_picture"] = round(seconds["cpu"] / len(made.after), 3)
    if keep is not None and made.printed is not None:
        keep_printed(keep / f"{subject.name}_{name}", subject, name, made.printed, made.target)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, before=made.before, after=made.after, success=_success(subject, made))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path.with_suffix(".npz"), buffer.getvalue())
    write_json(path, cell)
    return cell


def network_cell(subject: Subject, work: Path) -> Cell:
    """Return what a network gets right of its held-out pictures, and leave it beside the cells."""
    right = subject.labels_of(subject.held_out) == subject.held_out_truth
    cell = {"network": subject.name, "model_sha256": subject.radar.info.source_sha256, "right": share_of(right)}
    write_json(work / "networks" / f"{subject.name}.json", cell)
    return cell


def measure_cell(subject: Subject, made: Attacked) -> Cell:
    """Return success, accuracy under the control, and how faint the change is; JSON-ready."""
    own, success = made.own.numpy(), _success(subject, made)
    cell: Cell = {"success": share_of(success), "wrong": share_of(subject.labels_of(made.after) != own)}
    if made.control is not None:
        cell["control_wrong"] = share_of(subject.labels_of(made.control) != own)
    faint = faintness(as_tensor(made.before), as_tensor(made.after))
    cell["faintness"] = {k: round(getattr(faint, k), 4) for k in ("l0", "l1", "l2", "linf", "ssim", "psnr")}
    return {**cell, "more": dict(made.more)}


def _success(subject: Subject, made: Attacked) -> NDArray[np.bool_]:
    seen = subject.labels_of(made.after)
    return np.asarray(seen != made.own.numpy() if made.target is None else seen == made.target)


def attacked_pictures(subject: Subject, name: str, work: Path) -> tuple[Pixels, Pixels, NDArray[np.bool_]]:
    """Return an attack's pictures before and after, and which succeed."""
    with np.load(_path(subject, name, work).with_suffix(".npz")) as stored:
        return stored["before"], stored["after"], stored["success"]


def stored_cells(folder: Path, network: str, names: Sequence[str]) -> list[Cell]:
    """Return the cells of a network that are there, in the order of `names`; without names, the network's own."""
    paths = [folder / f"{network}_{name}.json" for name in names] or [folder / f"{network}.json"]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def _path(subject: Subject, name: str, work: Path) -> Path:
    return work / "attacks" / f"{subject.name}_{name}.json"


def keep_printed(path: Path, subject: Subject, name: str, printed: Printed, target: int | None) -> None:
    """Write a pattern as `taintwatch craft` leaves one, for `taintwatch print attack`."""
    folder = Folder.at(path)
    alpha = as_picture(printed.mask)
    entry = folder.picture("pattern1.png", np.dstack([as_picture(printed.colours), alpha]))
    info = subject.radar.info
    named: Mapping[str, Any] = {"name": None if target is None else info.labels[target]}
    folder.recipe(
        {
            "attack": {"kind": name},
            "model": {"name": info.name, "sha256": info.source_sha256},
            "target": named,
            "pattern": {"placement": printed.placement},
            "files": {"pictures": [entry]},
        }
    )
