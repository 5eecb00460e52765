"""What the gate loses: TaintRadar's detections on successful attacks, with every frame checked and with the gate.

    python -m benchmarks.gate signs --attacks build/sign_attacks [--json docs/results/gate_signs.json]
    python -m benchmarks.gate photographs --model MODEL.onnx --images FOLDER --patches FOLDER [--json F]

`signs` takes the pictures and the attacks that `benchmarks.sign_attacks` keeps in its --work; `photographs` takes
the patches that `benchmarks.detection_table` keeps in its --patches, or crafts them. Both the threshold of `tight` and
the gate's come from one part of the benign pictures; the share that is checked is measured on another, the loss on the
attacks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.photographs import patch_recipes, split_photographs
from benchmarks.scripts import run_main
from benchmarks.sign_attacks.attack import Attack, cached_attack
from benchmarks.sign_attacks.pictures import SignPictures, cached_pictures
from benchmarks.sign_attacks.plans import attack_specs
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.bench.attacks import pixels_of
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.craft.materials import classify, find_label
from taintwatch_calibration.gate import scores_of_pixels
from taintwatch_calibration.machine import machine
from taintwatch_calibration.rates import threshold_for
from taintwatch_calibration.results import write_json
from taintwatch_models.bundled import bundled_calibration_path, bundled_radar
from taintwatch_models.calibration_file import Calibration, GateCalibration, TightCalibration, read_calibration
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.errors import UsageError
from taintwatch_models.gated import GateScorer
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import describe, read_labels
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["main", "photograph_sets"]

SHARES = (0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3)
Pixels = NDArray[np.uint8]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What `tight` and the gate say of some pictures, (pictures,) each."""

    tight: Scores
    gate: Scores


class GateScores:
    """Runs both on pixels (N, H, W, 3) in the model's channel order."""

    def __init__(self, radar: RadarFile, tight: TightCalibration) -> None:
        self._tight = tight
        self._normalise = radar.info.preprocessing.normalise
        self._run = OnnxRadar(
            radar, ("tight",), Calibration(tight=tight), session=SessionSettings(threads=1, device="cpu")
        )
        self._scorer = GateScorer(radar, SessionSettings(threads=1, device="cpu"))
        self._gate = GateCalibration(0.0, 0.0, tight.swing_weight, tight.anomaly_weight)

    def __call__(self, pixels: Pixels) -> Scored:
        tight = [
            tight_scores_of(self._run(self._normalise(pixels[i : i + 16])), self._tight)
            for i in range(0, len(pixels), 16)
        ]
        return Scored(np.concatenate(tight), scores_of_pixels(self._scorer, pixels, self._gate))


def loss_table(choosing: Scored, held: Scored, attacks: dict[str, Scored], target_fpr: float) -> dict[str, Any]:
    """Return, for each share, what is checked and what is detected with and without the gate; JSON-ready."""
    threshold = threshold_for(choosing.tight, target_fpr)
    detected = {name: judged.tight > threshold for name, judged in attacks.items()}
    rows = []
    for share in SHARES:
        gate = threshold_for(choosing.gate, share)
        checked = int((held.gate > gate).sum())
        lost = {name: int((detected[name] & (judged.gate <= gate)).sum()) for name, judged in attacks.items()}
        total = sum(len(judged.gate) for judged in attacks.values())
        low, high = wilson_interval(sum(lost.values()), total)
        rows.append({
            "share": share, "threshold": gate, "checked_of_held_out": checked / len(held.gate),
            "lost": sum(lost.values()), "attacks": total, "loss": sum(lost.values()) / total,
            "loss_interval": [low, high], "lost_by_attack": lost,
        })  # fmt: skip
    hits = sum(int(found.sum()) for found in detected.values())
    return {
        "target_fpr": target_fpr,
        "tight_threshold": threshold,
        "held_out_fpr": float((held.tight > threshold).mean()),
        "tpr_without_gate": hits / sum(len(found) for found in detected.values()),
        "benign_choosing": len(choosing.gate),
        "benign_held_out": len(held.gate),
        "successes": {name: len(found) for name, found in detected.items()},
        "rows": rows,
    }


def signs(options: argparse.Namespace) -> dict[str, Any]:
    """Measure on the bundled recogniser, on the strong attacks that are kept."""
    radar = bundled_radar()
    tight = read_calibration(bundled_calibration_path(), model_hash=radar.info.source_sha256).tight
    judge = GateScores(radar, tight)
    attacks, cache, model_hash = {}, Cache(options.attacks), radar.info.source_sha256
    for spec in attack_specs():
        if spec.strong and (options.attacks / f"{spec.key(model_hash)}.npz").is_file():
            attack = cached_attack(cache, spec, model_hash, _no_attack)
            pixels = attack.pixels[attack.success][: options.most]
            if len(pixels):
                how = " camera model" if spec.camera_model else ""
                attacks[f"{spec.name} {spec.size}{how} {spec.seed}"] = judge(pixels)
    if not attacks:
        raise UsageError(f"{options.attacks} keeps no attack on the bundled model; run benchmarks.sign_attacks")
    pictures = cached_pictures(cache, _no_pictures)
    choosing, held = (
        judge(part.pixels[np.random.default_rng(0).permutation(len(part.pixels))[: options.benign]])
        for part in (pictures.tuning, pictures.reporting)
    )
    return {"model": radar.info.name, "tight": asdict(tight), **loss_table(choosing, held, attacks, options.fpr)}


def _no_attack() -> Attack:
    raise UsageError("an attack of benchmarks.sign_attacks cannot be read; run it again")


def _no_pictures() -> SignPictures:
    raise UsageError("the pictures of benchmarks.sign_attacks are missing; run it first")


def photograph_sets(options: argparse.Namespace, radar: RadarFile) -> tuple[Pixels, Pixels, dict[str, Pixels]]:
    """Return pictures to choose thresholds on, held-out ones, and the successful attacks of each patch of the table."""
    target = find_label(options.target, read_labels(options.model.with_name("imagenet_labels.json")))
    photographs, attacks = split_photographs(radar, options.images, target), {}
    for recipe in patch_recipes(target, options.iterations, seed=0):
        shown = photographs.show(recipe, photographs.patch(recipe, Cache(options.patches)))
        pixels = pixels_of(shown, radar.info.preprocessing)
        attacks[recipe.name] = pixels[classify(photographs.plain, pixels) == target]
    return photographs.pixels[photographs.calibrate], photographs.pixels[photographs.held_out], attacks


def photographs(options: argparse.Namespace) -> dict[str, Any]:
    """Measure on a model of photographs, with the patches of `detection_table.py` and its split."""
    radar = prepare(options.model, describe(options.model)).radar
    tight = TightCalibration()
    choose, held, attacks = photograph_sets(options, radar)
    judge = GateScores(radar, tight)
    judged = {name: judge(pixels) for name, pixels in attacks.items()}
    table = loss_table(judge(choose), judge(held), judged, options.fpr)
    return {"model": radar.info.name, "tight": asdict(tight), **table}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    on_signs, on_photographs = kinds.add_parser("signs"), kinds.add_parser("photographs")
    on_signs.add_argument("--attacks", type=Path, required=True, help="--work of benchmarks.sign_attacks")
    on_signs.add_argument("--most", type=int, default=150, help="successful attacks of each kind")
    on_signs.add_argument("--benign", type=int, default=1500, help="benign pictures of each half")
    on_photographs.add_argument("--model", type=Path, required=True)
    on_photographs.add_argument("--images", type=Path, required=True, help="folder with a labels.csv")
    on_photographs.add_argument("--patches", type=Path, required=True, help="--patches of benchmarks.detection_table")
    on_photographs.add_argument("--target", default="toaster")
    on_photographs.add_argument("--iterations", type=int, default=300, help="of the patches")
    for each in (on_signs, on_photographs):
        each.add_argument("--fpr", type=float, default=0.02, help="target of `tight`")
        each.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table; raises `TaintwatchError` for missing files."""
    options = _options(arguments)
    torch.set_num_threads(1)
    found = signs(options) if options.kind == "signs" else photographs(options)
    print(f"{found['model']}: without a gate {found['tpr_without_gate']:.1%} of {sum(found['successes'].values())} "
          f"successful attacks detected, held-out false alarms {found['held_out_fpr']:.1%}")  # fmt: skip
    for row in found["rows"]:
        low, high = row["loss_interval"]
        print(f"share {row['share']:.0%}: {row['checked_of_held_out']:.1%} of held-out benign frames checked, "
              f"{100 * row['loss']:.2f} points lost ({100 * low:.2f} to {100 * high:.2f})")  # fmt: skip
    if options.json:
        write_json(options.json, {**machine(), **found})


if __name__ == "__main__":
    sys.exit(run_main(main, "gate"))
