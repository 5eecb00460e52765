"""Attack the bundled sign recogniser in every way that the crafting loop knows, and see what the detectors make of it.

    python -m benchmarks.sign_attacks --data ../shared/data/signs [--model signs.onnx] [--plain plain.onnx]

Patches are crafted on training pictures and shown on test pictures. Thresholds come from one half of the benign test
pictures (and simulated scenes), false alarms and detections are reported on the other half. What was made is kept in
--work, so that a run that was stopped goes on where it was. `--tune` looks at settings instead, with other patches on
the pictures that thresholds are chosen on.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from benchmarks.scripts import run_main
from benchmarks.sign_attacks.attack import Attack, cached_attack, craftable, make_attack
from benchmarks.sign_attacks.picture import draw
from benchmarks.sign_attacks.pictures import SignPictures, cached_pictures, load_pictures
from benchmarks.sign_attacks.plans import AttackSpec, attack_specs, tuning_specs
from benchmarks.sign_attacks.scores import pool, rates, score, success_rate
from benchmarks.signs.bundle import ANOMALY_SHARE, TIGHT
from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.bench.detectors import paper_of
from taintwatch_calibration.bench.records import Scores
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.craft.engine import Step
from taintwatch_calibration.craft.materials import classify
from taintwatch_calibration.machine import machine
from taintwatch_calibration.rates import area_under_roc, threshold_for
from taintwatch_calibration.results import write_json
from taintwatch_calibration.thresholds import tight_outputs, weigh_anomaly
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.bundled import bundled_path
from taintwatch_models.errors import UsageError
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import describe
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile, is_radar, read_radar
from taintwatch_models.storage import write_atomically

__all__ = ["main"]

MISSES = 36


@dataclass(frozen=True, eq=False)
class Bench:
    """One model with everything that is tried on it."""

    path: Path
    radar: RadarFile
    pictures: SignPictures
    work: Path
    attempts: int
    plain: Path | None
    every: int = 1
    """Only every so many of the attacks."""

    def attack(self, spec: AttackSpec, *, tuning: bool = False) -> Attack | None:
        """Return the kept attack, or make it; None for a transferred one without a plain model."""
        if spec.transferred and (self.plain is None or self.plain == self.path):
            return None
        model_hash = self.radar.info.source_sha256
        return cached_attack(Cache(self.work), spec, model_hash, lambda: self._make(spec, tuning=tuning))

    def _make(self, spec: AttackSpec, *, tuning: bool) -> Attack:
        source = _radar(self.plain) if spec.transferred and self.plain is not None else self.radar
        test_images = self.pictures.tuning if tuning else self.pictures.reporting
        start = time.process_time()

        def report(step: Step) -> None:
            iteration, loss, fooled = step.iteration, step.loss, step.success
            if iteration % 50 == 0:
                spent = time.process_time() - start
                print(f"    {iteration}/{spec.iterations} loss {loss:.2f} fooled {fooled:.0%}, {spent:.0f} s",
                      file=sys.stderr, flush=True)  # fmt: skip

        return make_attack(
            spec, craftable(source), self.judge, self.pictures.crafting, test_images, attempts=self.attempts,
            report=report,
        )  # fmt: skip

    @cached_property
    def judge(self) -> OnnxRadar:
        """The product's own classifier."""
        return OnnxRadar(self.radar, (), session=SessionSettings(threads=1, device="cpu"))


def measure(bench: Bench, target_fpr: float) -> dict[str, Any]:
    """Make all attacks on one model; return what is reported."""
    choosing, held = bench.pictures.tuning.pixels, bench.pictures.reporting.pixels
    paper = paper_of(bench.radar, choosing[:: max(1, len(choosing) // 600)], target_fpr)
    learnt = BenignFrames(np.concatenate([choosing, bench.pictures.further.pixels]), False, 0, "tuning pictures")
    # As the bundle's is, on none of the reported pictures.
    fitted = fit_anomaly(bench.radar, learnt, local=False, threads=1)
    radar, anomaly = fitted.radar, fitted.scores[: len(choosing)]
    frames = BenignFrames(choosing, False, 0, "tuning pictures")
    outputs = tight_outputs(radar, frames, TIGHT, anomaly, 1, lambda what, done, total: None)
    tight = weigh_anomaly(outputs, TIGHT, ANOMALY_SHARE)
    benign = score(radar, choosing, tight, paper, anomaly), score(radar, held, tight, paper)
    lines, strong = [], []
    seen = classify(bench.judge, held) == bench.pictures.reporting.labels
    for spec in attack_specs()[:: bench.every]:
        attack = bench.attack(spec)
        if attack is None:
            continue
        line: dict[str, Any] = {**asdict(spec), "strong": spec.strong, **success_rate(attack.success)}
        if attack.success.any():
            scores = score(radar, attack.pixels[attack.success], tight, paper)
            line["detectors"] = rates(benign, scores, target_fpr)
            _keep_misses(bench, spec, attack, scores, line)
            if spec.strong:
                strong.append(scores)
        lines.append(line)
        _print_line(line)
    pooled = pool(strong)
    return {
        "name": bench.radar.info.name,
        "sha256": bench.radar.info.source_sha256,
        "right_on_held_out": float(seen.mean()),
        "tight": asdict(tight),
        "paper": asdict(paper),
        "strong_attacks": rates(benign, pooled, target_fpr) if pooled else None,
        "attacks": lines,
    }


def _keep_misses(bench: Bench, spec: AttackSpec, attack: Attack, scores: Scores, line: dict[str, Any]) -> None:
    missed = scores["tight"] <= line["detectors"]["tight"]["threshold"]
    if missed.any() and spec.strong:
        name = f"missed_{spec.key(bench.radar.info.source_sha256)}.png"
        contact_sheet(bench.work / name, attack.pixels[attack.success][missed][:MISSES])


def contact_sheet(path: Path, pixels: NDArray[np.uint8], columns: int = 12) -> None:
    """Write (N, H, W, 3) RGB pictures side by side, three times as large: to look at misses."""
    rows = [pixels[i : i + columns] for i in range(0, len(pixels), columns)]
    blank = np.full_like(pixels[:1], 255)
    full = [np.concatenate([*row, *[blank[0]] * (columns - len(row))], axis=1) for row in rows]
    sheet = np.ascontiguousarray(np.concatenate(full)[:, :, ::-1])
    _, encoded = cv2.imencode(".png", cv2.resize(sheet, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST))
    write_atomically(path, encoded.tobytes())


def _print_line(line: dict[str, Any]) -> None:
    how = "camera model" if line["camera_model"] else "digital"
    head = f"{line['name']:28s} {line['size']:.2f} {how:7s} {line['successes']:4d} of {line['attempts']}"
    tail = "  ".join(f"{name} {d['tpr']:.3f}" for name, d in line.get("detectors", {}).items())
    print(f"{head}  {tail}", flush=True)


def tune(bench: Bench, target_fpr: float) -> list[dict[str, Any]]:
    """Try settings of `tight` on the tuning patches; return the table, the worst attack's TPR deciding."""
    rows = np.random.default_rng(0).permutation(len(bench.pictures.tuning))[:1500]
    sets = {"benign": bench.pictures.tuning.pixels[rows]}
    for spec in tuning_specs():
        attack = bench.attack(spec, tuning=True)
        if attack is not None and attack.success.sum() >= 20:
            sets[f"{spec.name} {spec.size:.2f}"] = attack.pixels[attack.success][:150]
    table: list[dict[str, Any]] = []
    for share, fill in itertools.product((0.4, 0.5, 0.6), ("mean", "average", "blur")):
        found = {
            name: score(bench.radar, pixels, replace(TIGHT, saliency_threshold=share, fill=fill), None)
            for name, pixels in sets.items()
        }
        for swing, concentration in itertools.product((0.0, 0.2), (0.0, 1.0, 2.0, 4.0, 8.0)):
            weighed = {
                name: (1 - swing) * s["tight: margin"]
                + swing * s["tight: swing"]
                + concentration * np.log(np.maximum(s["saliency_concentration"], 1))
                for name, s in found.items()
            }
            benign = weighed.pop("benign")
            threshold = threshold_for(benign, target_fpr)
            hits = {name: float((values > threshold).mean()) for name, values in weighed.items()}
            areas = [area_under_roc(benign, values) for values in weighed.values()]
            table.append({"saliency_threshold": share, "fill": fill, "swing_weight": swing,
                          "concentration_weight": concentration, "tpr": hits,
                          "least": min(hits.values()), "mean": float(np.mean(list(hits.values()))),
                          "auc": float(np.mean(areas))})  # fmt: skip
        best = max(table[-10:], key=lambda row: row["mean"])
        print(f"threshold {share} {fill:8s} best: {best}", flush=True)
    return sorted(table, key=lambda row: -row["mean"])


def _radar(path: Path) -> RadarFile:
    """Read a prepared model, or prepare a plain one."""
    if not path.is_file():
        raise UsageError(f"{path} is missing: --model and --plain name ONNX files")
    return read_radar(path) if is_radar(onnx.load(str(path))) else prepare(path, describe(path)).radar


def _bench(name: str, options: argparse.Namespace, plain: Path | None) -> Bench:
    path = bundled_path("signs.radar.onnx") if name == "bundled" else Path(name)
    radar = _radar(path)
    scenes = options.scenes or options.data.parent / "objects" / "imagenette_128.tar"
    options.work.mkdir(parents=True, exist_ok=True)
    preprocessing = radar.info.preprocessing
    pictures = cached_pictures(Cache(options.work), lambda: load_pictures(options.data, scenes, preprocessing))
    return Bench(path, radar, pictures, options.work, options.attempts, plain, options.every)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the GTSRB files")
    parser.add_argument("--scenes", type=Path, help="photographs without signs: a folder or a tar")
    parser.add_argument("--model", default="bundled", help="the bundled one, or an ONNX file")
    parser.add_argument("--plain", type=Path, help="the model trained without occlusion: to compare, to transfer from")
    parser.add_argument("--fpr", type=float, default=0.02, help="target on the choosing half")
    parser.add_argument("--attempts", type=int, default=300, help="placements of each patch")
    parser.add_argument("--work", type=Path, default=Path("build/sign_attacks"), help="what is kept between runs")
    parser.add_argument("--json", type=Path, default=Path("docs/results/sign_attacks.json"))
    parser.add_argument("--every", type=int, default=1, help="only every so many of the attacks, for a quicker run")
    parser.add_argument("--tune", action="store_true", help="look at settings instead")
    return parser.parse_args(arguments)


@denormals_flushed()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench; raises `TaintwatchError` for missing files."""
    options = _options(arguments)
    torch.set_num_threads(1)
    start, spent = time.monotonic(), time.process_time()
    document: dict[str, Any] = {**machine(), "target_fpr": options.fpr, "tight": asdict(TIGHT), "models": {}}
    if options.tune:
        document["table"] = tune(_bench(options.model, options, None), options.fpr)
        for row in document["table"][:10]:
            print(row)
    names = {"trained to survive occlusion": options.model, "plainly trained": options.plain}
    for title, name in () if options.tune else names.items():
        if name is None:
            continue
        print(f"== {title}: {name}", flush=True)
        found = measure(_bench(str(name), options, options.plain), options.fpr)
        document["models"][title] = found
        for detector, line in (found["strong_attacks"] or {}).items():
            low, high = line["tpr_interval"]
            print(f"{detector:14s} TPR {line['tpr']:.3f} ({low:.3f} to {high:.3f}) on {line['attacks']} successful "
                  f"attacks, held-out FPR {line['fpr']:.4f}, AUC {line['auc']:.3f}")  # fmt: skip
    document["seconds"] = {"wall": round(time.monotonic() - start), "process": round(time.process_time() - spent)}
    write_json(options.json, document)
    if any(model["strong_attacks"] for model in document["models"].values()):
        draw(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "sign_attacks"))
