"""CMAG alone, TaintRadar alone and both together on patches against the sign model; and what CMAG costs beside `tight`.

    python -m benchmarks.sign_attacks --data ../shared/data/signs --work build/sign_attacks
    python -m benchmarks.cmag.patches --data ../shared/data/signs --attacks build/sign_attacks \
        --json docs/results/cmag_patches.json

The pictures and the patches are those of the detection table, kept in --attacks: one part chooses all thresholds at the
same target false-positive rate (of the two detectors together, where they are joined), another counts false alarms
and carries the patches; only pictures on which a patch succeeds count. `--cost` measures time alone: the same frames
through `tight`, and through `tight` and `cmag`, in turns, in one run.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scripts import run_main
from benchmarks.sign_attacks.attack import Attack, cached_attack
from benchmarks.sign_attacks.pictures import SignPictures, cached_pictures
from benchmarks.sign_attacks.plans import attack_specs
from benchmarks.signs.dataset import load_test
from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.cmag.frames import measure
from taintwatch_calibration.cmag.thresholds import calibrate_joint, choose_limits, cmag_scores
from taintwatch_calibration.rates import area_under_roc, operating_point
from taintwatch_calibration.results import write_json
from taintwatch_calibration.thresholds import tight_scores
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.bundled import bundled_calibration_path
from taintwatch_models.calibration_file import Calibration, CmagCalibration, TightCalibration, read_calibration
from taintwatch_models.cmag.detector import CmagDetector
from taintwatch_models.cmag.file import CmagFile, read_cmag
from taintwatch_models.cmag.joint import joint_score
from taintwatch_models.cmag.runner import CmagRunner
from taintwatch_models.detectors import TightDetector
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings, cmag_path
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_classifier import RadarClassifier
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame, Prediction

SETS = {"ssim+l2": ("ssim", "l2"), "novelty": ("novelty",), "distance": ("distance",),
        "disagreement": ("disagreement",), "distance+disagreement": ("distance", "disagreement")}  # fmt: skip


def frames(pixels: NDArray[np.uint8]) -> BenignFrames:
    return BenignFrames(pixels, False, 0, "benign signs and scenes")


def attacked(options: argparse.Namespace, radar: RadarFile) -> dict[str, NDArray[np.uint8]]:
    """Return the pictures on which patches succeed: strong ones, strong ones through the camera model, weak ones."""
    found: dict[str, list[NDArray[np.uint8]]] = {"strong": [], "strong, camera model": [], "weak": []}
    model_hash = radar.info.source_sha256
    for spec in attack_specs():
        if not (options.attacks / f"{spec.key(model_hash)}.npz").is_file():
            continue
        attack = cached_attack(Cache(options.attacks), spec, model_hash, _no_attack)
        hits = attack.pixels[attack.success][: options.each]
        found["strong" if spec.strong else "weak"].append(hits)
        if spec.strong and spec.camera_model:
            found["strong, camera model"].append(hits)
    if not found["strong"]:
        raise UsageError(f"{options.attacks} has no patches against this model; run benchmarks.sign_attacks first")
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def _no_attack() -> Attack:
    raise UsageError("an attack of benchmarks.sign_attacks cannot be read; run it again")


def _no_pictures() -> SignPictures:
    raise UsageError("there is no pictures.npz; run benchmarks.sign_attacks with the same --work first")


def detection(
    options: argparse.Namespace, radar: RadarFile, cmag: CmagFile, settings: TightCalibration
) -> list[dict[str, Any]]:
    """Return one row per kind of patch, detector and set of CMAG's statistics."""
    pictures = cached_pictures(Cache(options.attacks), _no_pictures)
    choosing = frames(pictures.tuning.pixels)
    # What is usual of the layers' maps is learnt as for the bundle, on none of the reported pictures.
    learnt = frames(np.concatenate([pictures.tuning.pixels, pictures.further.pixels]))
    fitted = fit_anomaly(radar, learnt, local=False, threads=1)
    own = fitted.scores[: len(pictures.tuning)]

    def scores(pixels: NDArray[np.uint8], anomaly: NDArray[np.float64] | None = None) -> tuple[Any, Any]:
        return scores_of(pixels, fitted.radar, cmag, settings, anomaly)

    first, second = scores(pictures.tuning.pixels, own), scores(pictures.reporting.pixels)
    rows = []
    for name, pixels in attacked(options, radar).items():
        rows += rows_of(name, (first, second, scores(pixels)), choosing, options.fpr)
    return rows


def scores_of(
    pixels: NDArray[np.uint8], radar: RadarFile, cmag: CmagFile, settings: TightCalibration,
    anomaly: NDArray[np.float64] | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Return `tight`'s scores and CMAG's statistics of some pictures. `anomaly`: theirs, where it is known already."""
    shown = frames(pixels)
    tight = tight_scores(
        radar, shown, settings, anomaly=anomaly, threads=1, progress=lambda what, done, total: None
    )  # fmt: skip
    return tight, measure(radar, cmag, shown, threads=1)


def rows_of(name: str, parts: Sequence[tuple[Any, Any]], choosing: BenignFrames, fpr: float) -> list[dict[str, Any]]:
    """Return the rows of one kind of attack: `tight`, CMAG by each set of statistics, and both together.

    `parts`: `tight`'s scores and CMAG's statistics of the choosing and the reporting part, and of what succeeds.
    """
    first, second, hit = parts
    rows = [row(name, "tight", "", operating_point(first[0], second[0], hit[0], fpr),
                area_under_roc(second[0], hit[0]))]  # fmt: skip
    for label, used in SETS.items():
        limits = choose_limits(first[1], fpr, used)
        ours = [cmag_scores(part[1], limits) for part in parts]
        rows.append(row(name, "cmag", label, operating_point(ours[0], ours[1], ours[2], fpr),
                        area_under_roc(ours[1], ours[2])))  # fmt: skip
        for rule in ("either", "score"):
            # All of the first part chooses here; the second measures, as for the detectors alone.
            joint = calibrate_joint(first[0], ours[0], choosing, target_fpr=fpr, rule=rule)
            both = [
                np.array([joint_score(joint, t, c) for t, c in zip(part[0], mine, strict=True)])
                for part, mine in zip(parts, ours, strict=True)
            ]
            rows.append(row(name, f"joint-{rule}", label, operating_point(both[0], both[1], both[2], fpr),
                            area_under_roc(both[1], both[2])))  # fmt: skip
    return rows


def row(patch: str, detector: str, statistics_used: str, found: Any, area: float) -> dict[str, Any]:
    line = {"patch": patch, "detector": detector, "statistics": statistics_used, "rate": round(found.tpr, 4),
            "low": round(found.tpr_interval[0], 4), "high": round(found.tpr_interval[1], 4), "n": found.attacks,
            "fpr": round(found.fpr, 4), "benign": found.benign, "auc": round(area, 4)}  # fmt: skip
    print(f"{patch:36s} {detector:13s} {statistics_used:8s} rate {line['rate']:.3f} ({found.attacks}) "
          f"FPR {line['fpr']:.3f} AUC {line['auc']:.3f}", flush=True)  # fmt: skip
    return line


def cost(options: argparse.Namespace, radar: RadarFile, cmag: CmagFile, calibration: Calibration) -> dict[str, Any]:
    """Return the median times of one frame through `tight`, and through `tight` and `cmag`, milliseconds."""
    test = load_test(options.data).images[:50]
    large = [cv2.resize(p[:, :, ::-1], tuple(reversed(options.frame))) for p in test]
    inputs = [Frame("cost", i, image.astype(np.uint8), 0, 0) for i, image in enumerate(large)]
    info = radar.info
    tight = TightDetector(calibration.tight, info.labels, info.preprocessing)
    limits = choose_limits(measure(radar, cmag, frames(test)), 0.1, options.statistics)
    beside = CmagDetector(
        CmagRunner(cmag, ("reconstruction", *options.statistics)),
        CmagCalibration(limits, 0.1),
        info.preprocessing.order,
    )
    plain = RadarClassifier(OnnxRadar(radar, ("tight",), calibration, session=SessionSettings(threads=options.threads)))
    with_maps = RadarClassifier(
        OnnxRadar(radar, ("tight", "features"), calibration, session=SessionSettings(threads=options.threads))
    )

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
    parser.add_argument("--model", type=Path, help="signs.onnx with its TOML, or prepared; default: the bundled one")
    parser.add_argument("--cmag", type=Path, help="default: the bundled reconstructors")
    parser.add_argument("--attacks", type=Path, help="folder that benchmarks.sign_attacks kept its work in")
    parser.add_argument("--each", type=int, default=60, help="successful pictures of each patch, at most")
    parser.add_argument("--data", type=Path, required=True, help="folder with gtsrb_test_32.npz")
    parser.add_argument("--calibration", type=Path, help="whose settings tight runs with; default: tight's own")
    parser.add_argument("--cost", action="store_true", help="measure time alone")
    parser.add_argument("--frame", type=int, nargs=2, default=[480, 640], help="height and width, for --cost")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--statistics", nargs="+", default=["novelty"])
    parser.add_argument("--fpr", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.attacks is None and not options.cost:
        raise UsageError("give --attacks, the folder that benchmarks.sign_attacks kept its work in; or --cost alone")
    torch.set_num_threads(1)
    settings = ModelSettings(
        path=None if options.model is None else str(options.model),
        cmag=None if options.cmag is None else str(options.cmag),
    )
    radar = load_radar_file(settings)
    path = cmag_path(settings)
    cmag = read_cmag(path, radar.info)
    known = options.calibration or (bundled_calibration_path() if options.model is None else None)
    calibration = Calibration() if known is None else read_calibration(known, model_hash=radar.info.source_sha256)
    document: dict[str, Any] = {"model": radar.info.name, "model_sha256": radar.info.source_sha256,
                                "machine": platform.processor() or platform.machine(), "seed": options.seed,
                                "date": time.strftime("%Y-%m-%d"), "target_fpr": options.fpr}  # fmt: skip
    document["cost"] = cost(options, radar, cmag, calibration)
    if not options.cost:
        document["rows"] = detection(options, radar, cmag, calibration.tight)
    if options.json:
        write_json(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "cmag_patches"))
