"""How much each check costs: ratios to the plain forward, all measured in one run.

    python -m benchmarks.latency --model ../shared/data/models/mobilenet_v2_imagenet.onnx [--json F]

`plain_best` is the classifier in the same optimised graph with nothing else asked of it, `plain_file` the user's own
ONNX file on the same runtime; every check's ratios to both are given. `default` is the detector `combined` as the
daemon runs it before live cameras, a mean over benign footage of as many cameras as the batch is large; learnt from
the first half of the footage where the model has no reference. `default_worst` is the same where every frame is of a
new event that deserves a second look: what is over `limits.second_look_share` waits. `tight` and `paper` (K = 9) are
whole checks of fixed inputs; `paper`'s third forward, which it leaves out where nothing is to be filled, is always run.
All calls are interleaved, so that whatever else the machine does falls on all alike.
`around` is decoding, preprocessing, judging, vote and publishing of one 640 x 480 frame, without any forward.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from benchmarks.frame_rate import write_video
from benchmarks.scripts import run_main
from benchmarks.speed.default_check import Footage, reference_for
from benchmarks.speed.gated import gated_ratio
from benchmarks.speed.ratios import CHECKS, PLAIN, Checks, measure
from benchmarks.speed.stages import around_ms
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings, SecondLookLimits, reference_path
from taintwatch_models.onnx_session import SessionSettings, gpu_present

__all__ = ["BATCHES", "FOOTAGE", "describe", "main", "measure_model"]

BATCHES = (1, 4, 16)
FOOTAGE = Path("../shared/data/footage/parking.mp4")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    from benchmarks import latency

    parser = argparse.ArgumentParser(
        prog="latency", description=latency.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="ONNX file; default: the bundled sign model")
    parser.add_argument("--preprocessing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30, help="of each check at each batch size")
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="a benign video, for the default check")
    parser.add_argument("--frames", type=int, default=160, help="of the footage that are timed at each batch size")
    parser.add_argument("--share", type=float, default=SecondLookLimits().share, help="limits.second_look_share")
    parser.add_argument("--gated", action="store_true", help="time the gated check on the footage too")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def measure_model(settings: ModelSettings, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one model on every device there is; JSON-ready. Raises `TaintwatchError`."""
    radar = load_radar_file(settings)
    footage = Footage.read(options.footage, radar)
    known = reference_path(settings)
    reference, learning_s = reference_for(radar, footage, known, options.threads)
    document: dict[str, Any] = {
        "model": radar.info.name, "threads": options.threads, **machine(), "footage": footage.name,
        "input": list(radar.info.preprocessing.size), "learning_processor_s": round(learning_s, 1),
        "second_look_share": options.share,
        "clock": "processor time of the one thread" if options.threads == 1 else "time that passes",
    }  # fmt: skip
    plain = None if settings.path is None or settings.path.endswith(".radar.onnx") else Path(settings.path)
    for place in ("cpu", *(("cuda",) if gpu_present() else ())):
        session = SessionSettings(device=place, require_device=True, threads=options.threads)
        checks = Checks(radar, plain, reference, session, options.share)
        document[place] = {}
        for batch in BATCHES:
            found = measure(checks, footage, batch, options.frames, options.rounds)
            document[place][f"batch{batch}"] = found
            print(describe(place, batch, found), flush=True)
        if options.gated and place == "cpu":
            document["gated"] = gated_ratio(
                radar,
                checks.plain[PLAIN[-1] if plain else PLAIN[0]],
                options.footage,
                most=600,
                threads=options.threads,
            )
    return document


def describe(place: str, batch: int, found: dict[str, Any]) -> str:
    """Return one line of the table."""
    ratios = []
    for name in CHECKS:
        low, high = found[name]["ratio_best_quartiles"]
        of_file = f", {found[name]['ratio_file']:.2f} x the file's" if "ratio_file" in found[name] else ""
        ratios.append(f"{name} {found[name]['ratio_best']:.2f} x ({low:.2f} to {high:.2f}{of_file})")
    return (
        f"{place} batch {batch:2d}, load {os.getloadavg()[0]:.1f}: {found['plain_best_ms']:.2f} ms a frame; "
        + "; ".join(ratios)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON."""
    options = _options(arguments)
    ort.set_default_logger_severity(4)
    settings = ModelSettings(path=options.model, preprocessing=options.preprocessing)
    document = measure_model(settings, options)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "scene.mp4"
        write_video(video, 200)
        document["around_ms"] = around_ms(load_radar_file(settings), video, 200)
    tight = document["cpu"]["batch1"]["tight"]["ms"]
    document["around_share_of_tight"] = round(document["around_ms"]["sum"]["p50"] / tight, 4)
    if "gated" in document:
        print(f"gated, on benign footage: {document['gated']['gated_ratio']:.2f} x the plain forward, "
              f"{document['gated']['share_checked']:.1%} of the frames checked")  # fmt: skip
    print(f"around the forwards, per 640 x 480 frame: {document['around_ms']['sum']} ms from decoding to publishing, "
          f"{document['around_share_of_tight']:.1%} of the tight check")  # fmt: skip
    if options.json:
        write_json(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "latency"))
