"""CMAG alone, TaintRadar alone and both together on patches against a sign model; and what CMAG costs beside `tight`.

    python benchmarks/cmag_patches.py --model signs.onnx --cmag signs.cmag.onnx --data ../shared/data/signs \
        --json docs/results/cmag_patches.json

Benign pictures are GTSRB's test crops that the model gets right; one half chooses all thresholds at the same accepted
false-positive rate (of the two detectors together, where they are joined), the other counts false alarms and is what
the patches are laid on; only patches that succeed count. `--cost` measures time alone: the same frames through `tight`,
and through `tight` and `cmag`, in turns, in one run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.cmag.frames import measure
from taintwatch_calibration.cmag.thresholds import calibrate_joint, choose_limits, cmag_scores
from taintwatch_calibration.craft.patch import (
    PatchRecipe,
    apply_patch,
    craft_patch,
    draw_placements,
    shape_mask,
)
from taintwatch_calibration.denormals import denormals_flushed
from taintwatch_calibration.rates import area_under_roc, operate
from taintwatch_calibration.signs.dataset import load_test
from taintwatch_calibration.thresholds import tight_scores
from taintwatch_models.calibration_file import Calibration, CmagCalibration, TightCalibration, read_calibration
from taintwatch_models.cmag.detector import CmagDetector
from taintwatch_models.cmag.file import CmagFile, check_fit, read_cmag
from taintwatch_models.cmag.joint import joint_score
from taintwatch_models.cmag.runner import CmagRunner
from taintwatch_models.detectors import TightDetector
from taintwatch_models.graph.cut import find_cut
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.loading import ModelSettings, describe, load_radar_file
from taintwatch_models.onnx_classifier import OnnxRadar, RadarClassifier
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame, Prediction
from taintwatch_models.torch_graph import TorchGraph

SETS = {"ssim+l2": ("ssim", "l2"), "novelty": ("novelty",), "surprise": ("surprise",), "distance": ("distance",),
        "novelty+surprise": ("novelty", "surprise")}  # fmt: skip


def frames(pixels: NDArray[np.uint8]) -> BenignFrames:
    return BenignFrames(pixels, False, 0, "GTSRB test crops")


def attacked(
    options: argparse.Namespace, radar: RadarFile, pixels: NDArray[np.uint8], victims: NDArray[np.uint8], truth: Any
) -> dict[str, NDArray[np.uint8]]:
    """Craft patches on `pixels` and lay them on `victims`; keep the pictures on which they succeed."""
    prepared = prepare(options.model, describe(options.model, None, None))
    model = TorchGraph(prepared.plain, find_cut(prepared.plain))
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    given = torch.from_numpy(victims).permute(0, 3, 1, 2).float() / 255
    plain = OnnxRadar(radar, ())
    found = {}
    for size, target in ((0.35, 14), (0.45, 14), (0.4, None)):
        recipe = PatchRecipe(target, (size,), iterations=options.iterations, seed=options.seed)
        patch = craft_patch(model, planes, radar.info.preprocessing, recipe)
        places = draw_placements(len(given), recipe, torch.Generator().manual_seed(options.seed + 1000))
        images, _ = apply_patch(given, patch, shape_mask(recipe.shape, recipe.resolution), places)
        made = (images.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        labels = plain(radar.info.preprocessing.normalise(made))["label"]
        succeeded = (labels == target) & (truth != target) if target is not None else labels != truth
        name = f"{size:.0%} of the side, {'untargeted' if target is None else radar.info.labels[target]}"
        print(f"{name}: {succeeded.mean():.1%} of {len(made)} succeed", flush=True)
        found[name] = made[succeeded]
    return found


def detection(options: argparse.Namespace, radar: RadarFile, cmag: CmagFile) -> list[dict[str, Any]]:
    """Return one row per patch, detector and set of CMAG's statistics."""
    test = load_test(options.data)
    plain = OnnxRadar(radar, ())
    said = np.concatenate(
        [plain(radar.info.preprocessing.normalise(p))["label"] for p in np.array_split(test.images, 60)]
    )
    order = np.random.default_rng(options.seed).permutation(np.flatnonzero(said == test.labels))[: options.limit]
    choose, held = np.array_split(order, 2)
    attacks = attacked(options, radar, test.images[choose[:400]], test.images[held], test.labels[held])
    tight_settings = TightCalibration()
    if options.calibration is not None:  # how the region is cut and filled; the thresholds are chosen here
        tight_settings = read_calibration(options.calibration, model_hash=radar.info.source_sha256).tight

    def scores(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], Any]:
        tight = tight_scores(radar, frames(pixels), tight_settings, progress=lambda what, done, total: None)
        return tight, measure(radar, cmag, frames(pixels))

    first, second = scores(test.images[choose]), scores(test.images[held])
    third = {name: scores(pixels) for name, pixels in attacks.items() if len(pixels)}
    rows = []
    for name, hit in third.items():
        rows.append(row(name, "tight", "", operate(first[0], second[0], hit[0], options.fpr),
                        area_under_roc(second[0], hit[0])))  # fmt: skip
        for label, used in SETS.items():
            limits = choose_limits(first[1], options.fpr, used)
            ours = [cmag_scores(part[1], limits) for part in (first, second, hit)]
            rows.append(row(name, "cmag", label, operate(ours[0], ours[1], ours[2], options.fpr),
                            area_under_roc(ours[1], ours[2])))  # fmt: skip
            for rule in ("either", "score"):
                # All of the first part chooses here; the second measures, as for the detectors alone.
                settings = calibrate_joint(
                    first[0], ours[0], frames(test.images[choose]), accepted=options.fpr, rule=rule
                )
                both = [
                    np.array([joint_score(settings, t, c) for t, c in zip(part[0], own, strict=True)])
                    for part, own in zip((first, second, hit), ours, strict=True)
                ]
                rows.append(row(name, f"joint-{rule}", label, operate(both[0], both[1], both[2], options.fpr),
                                area_under_roc(both[1], both[2])))  # fmt: skip
    return rows


def row(patch: str, detector: str, statistics_used: str, found: Any, area: float) -> dict[str, Any]:
    line = {"patch": patch, "detector": detector, "statistics": statistics_used, "rate": round(found.tpr, 4),
            "low": round(found.tpr_interval[0], 4), "high": round(found.tpr_interval[1], 4), "n": found.attacks,
            "fpr": round(found.fpr, 4), "benign": found.benign, "auc": round(area, 4)}  # fmt: skip
    print(f"{patch:36s} {detector:13s} {statistics_used:8s} rate {line['rate']:.3f} ({found.attacks}) "
          f"FPR {line['fpr']:.3f} AUC {line['auc']:.3f}", flush=True)  # fmt: skip
    return line


def cost(options: argparse.Namespace, radar: RadarFile, cmag: CmagFile) -> dict[str, Any]:
    """Return the median times of one frame through `tight`, and through `tight` and `cmag`, milliseconds."""
    test = load_test(options.data).images[:50]
    large = [cv2.resize(p[:, :, ::-1], tuple(reversed(options.frame))) for p in test]
    inputs = [Frame("cost", i, image.astype(np.uint8), 0, 0) for i, image in enumerate(large)]
    info, calibration = radar.info, Calibration()
    tight = TightDetector(calibration.tight, info.labels, info.preprocessing)
    limits = choose_limits(measure(radar, cmag, frames(test)), 0.1, options.statistics)
    beside = CmagDetector(
        CmagRunner(cmag, ("reconstruction", *options.statistics)),
        CmagCalibration(limits, 0.1),
        info.preprocessing.order,
    )
    plain = RadarClassifier(OnnxRadar(radar, ("tight",), threads=options.threads))
    with_maps = RadarClassifier(OnnxRadar(radar, ("tight",), features=True, threads=options.threads))

    def alone(frame: Frame) -> None:
        (prediction,) = plain([frame])
        if isinstance(prediction, Prediction):
            tight(prediction)

    def both(frame: Frame) -> None:
        (prediction,) = with_maps([frame])
        if isinstance(prediction, Prediction):
            tight(prediction)
            beside(prediction)

    # Processor time of the calling thread beside the wall's: with one thread it holds on a busy machine too.
    times: dict[str, list[tuple[float, float]]] = {"tight": [], "tight and cmag": []}
    for turn in range(options.rounds + 10):
        for name, run in (("tight", alone), ("tight and cmag", both)):
            start = time.perf_counter(), time.thread_time()
            run(inputs[turn % len(inputs)])
            if turn >= 10:
                times[name].append((time.perf_counter() - start[0], time.thread_time() - start[1]))
    found: dict[str, Any] = {"rounds": options.rounds, "threads": options.threads, "batch": 1}
    found["frame"] = list(inputs[0].image.shape[:2])
    for column, clock in enumerate(("wall", "thread")):
        values = {name: [pair[column] * 1e3 for pair in pairs] for name, pairs in times.items()}
        medians = {name: statistics.median(each) for name, each in values.items()}
        added = medians["tight and cmag"] / medians["tight"] - 1
        fastest = min(values["tight and cmag"]) / min(values["tight"]) - 1
        spread = {name: [float(np.quantile(each, q)) for q in (0.1, 0.9)] for name, each in values.items()}
        found[clock] = {"median_ms": medians, "p10_p90_ms": spread, "added": added, "added_fastest": fastest}
        both_ms = medians["tight and cmag"]
        print(f"{clock} time: tight {medians['tight']:.2f} ms, with cmag {both_ms:.2f} ms: {added:+.1%} "
              f"(fastest of each: {fastest:+.1%})", flush=True)  # fmt: skip
    return found


@denormals_flushed()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="signs.onnx with its TOML; for --cost also prepared")
    parser.add_argument("--cmag", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with gtsrb_test_32.npz")
    parser.add_argument("--calibration", type=Path, help="whose settings tight runs with; default: tight's own")
    parser.add_argument("--cost", action="store_true", help="measure time alone")
    parser.add_argument("--frame", type=int, nargs=2, default=[480, 640], help="height and width, for --cost")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--statistics", nargs="+", default=["ssim", "l2"])
    parser.add_argument("--fpr", type=float, default=0.05)
    parser.add_argument("--limit", type=int, default=1600, help="benign pictures")
    parser.add_argument("--iterations", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    radar = load_radar_file(ModelSettings(path=str(options.model)))
    cmag = read_cmag(options.cmag)
    check_fit(cmag.info, radar.info, str(options.cmag))
    document: dict[str, Any] = {"model": radar.info.name, "model_sha256": radar.info.source_sha256,
                                "machine": platform.processor() or platform.machine(), "seed": options.seed,
                                "date": time.strftime("%Y-%m-%d"), "accepted_fpr": options.fpr}  # fmt: skip
    document["cost"] = cost(options, radar, cmag)
    if not options.cost:
        document["rows"] = detection(options, radar, cmag)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
