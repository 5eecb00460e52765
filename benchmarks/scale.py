"""How many cameras two cores can watch: cameras by frames a second, with every verdict within 100 ms at p99.

    python -m benchmarks.scale [--model MODEL.onnx] [--json docs/results/scale_signs.json]
    python -m benchmarks.scale --soak-minutes 60 --soak-cameras 4 --json docs/results/scale_soak.json

Each camera decodes its own H.264 (640 x 480) in a thread of its own, so that decoding is in the load; the delay counts
from the decoded frame to its verdict by the model's default detector. For each rate the cameras are doubled until the
99th percentile exceeds the limit or over 1% of the frames are dropped, then halved in between. Beside it stands the
processor time of a frame, all included, which says on a busy machine what an idle one has time for. Each run is a
process of its own. Memory per camera is the slope over all runs. With --soak-minutes one run lasts so long: its
memory's slope (Theil and Sen's, with a 95% interval) projects a day. The load of the machine is in every row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.frame_rate import write_video
from benchmarks.scripts import run_main
from benchmarks.speed.cameras import LiveVideo, watched
from benchmarks.speed.scale_picture import draw
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.errors import UsageError
from taintwatch_models.model_files import ModelSettings, SecondLookLimits, default_detectors
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["growth", "largest", "main", "memory_per_camera"]

LIMIT_MS, MOST_DROPPED, LEAST_JUDGED = 100.0, 0.01, 0.97
RATES = (2.0, 5.0, 10.0, 15.0)


def run_one(video: Path, model: str | None, cameras: int, fps: float, seconds: float, max_batch: int) -> dict[str, Any]:
    """Watch so many cameras in this process; JSON-ready."""
    settings = ModelSettings(path=model, session=SessionSettings(threads=1), second_looks=SecondLookLimits())
    settings = replace(settings, detectors=default_detectors(settings), batches=(1, max_batch))
    sources = [LiveVideo(video, fps, shift_s=index / cameras / fps) for index in range(cameras)]
    return watched(settings, sources, fps, seconds, max_batch=max_batch)


def _in_a_process(options: argparse.Namespace, video: Path, cameras: int, fps: float, seconds: float) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.scale", "--one", str(cameras), str(fps), "--video", str(video),
             "--seconds", str(seconds), "--max-batch", str(options.max_batch)]  # fmt: skip
    words += [] if options.model is None else ["--model", options.model]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"{cameras} cameras at {fps:g} frames/s: {done.stderr.strip() or 'the run was ended'}")
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{cameras:3d} cameras at {fps:4g} frames/s: p99 {found['delay_ms']['p99']:.0f} ms, "
          f"{found['dropped_share']:.1%} dropped, {found['unchecked_share']:.1%} wait, "
          f"{found['processor_ms_a_frame']} ms of processor time a frame, {found['resident_mb'][-1]:.0f} MB, "
          f"load {found['load_1min']}", flush=True)  # fmt: skip
    return found


def keeps_up(row: dict[str, Any]) -> bool:
    """Whether a run met the limit, and gave and judged nearly all that the cameras should have given."""
    expected = row["cameras"] * row["fps_each"] * row["seconds"]
    missing = expected - row["frames_per_second"] * row["seconds"]
    whole = missing <= max(row["cameras"], (1 - LEAST_JUDGED) * expected)  # at the ends each may lack one
    return bool(row["delay_ms"]["p99"] <= LIMIT_MS and row["dropped_share"] <= MOST_DROPPED and whole)


def largest(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return for each rate the most cameras that kept up, 0 where not even one did."""
    return {
        f"{rate:g}": max((row["cameras"] for row in rows if row["fps_each"] == rate and keeps_up(row)), default=0)
        for rate in sorted({row["fps_each"] for row in rows})
    }


def memory_per_camera(rows: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """Return the slope of memory over cameras, MB, with its standard error; None for fewer than three numbers."""
    cameras = np.array([row["cameras"] for row in rows], np.float64)
    if len(np.unique(cameras)) < 3:
        return None
    found = stats.linregress(cameras, [row["resident_mb"][-1] for row in rows])
    return {"mb": round(float(found.slope), 2), "standard_error": round(float(found.stderr), 2)}


def growth(samples: Sequence[float]) -> dict[str, float]:
    """Return the slope of memory samples, one a second in MB: MB an hour with its 95% interval, and a day's MB.

    Theil's and Sen's slope over means of ten seconds, without the first fifth, in which caches fill.
    """
    kept = np.asarray(samples[len(samples) // 5 :], np.float64)
    count = len(kept) // 10
    if count < 6:
        raise UsageError(f"{len(samples)} seconds are too few for a slope; soak for at least two minutes")
    means = kept[: 10 * count].reshape(count, 10).mean(axis=1)
    slope, _, low, high = stats.theilslopes(means, np.arange(count) * 10 / 3600, 0.95)
    hour, least, most = (round(float(value), 3) for value in (slope, low, high))
    return {"mb_an_hour": hour, "low": least, "high": most, "mb_a_day": round(24 * hour, 1)}


def curve(options: argparse.Namespace, video: Path) -> list[dict[str, Any]]:
    """Measure, for each rate, up to what number of cameras the limit is kept."""
    rows: list[dict[str, Any]] = []
    for fps in options.fps:
        good, bad = 0, options.most + 1
        cameras = 1
        while good + 1 < bad and cameras <= options.most:
            row = _in_a_process(options, video, cameras, fps, options.seconds)
            rows.append(row)
            good, bad = (cameras, bad) if keeps_up(row) else (good, cameras)
            if bad - good <= max(1, good // 3):
                break
            cameras = 2 * cameras if bad > options.most else (good + bad) // 2
    return rows


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="ONNX file; default: the bundled sign model")
    parser.add_argument("--fps", type=float, nargs="+", default=RATES, help="of each camera")
    parser.add_argument("--most", type=int, default=64, help="cameras")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--soak-minutes", type=float, help="soak instead")
    parser.add_argument("--soak-cameras", type=int, default=4)
    parser.add_argument("--json", type=Path, default=Path("docs/results/scale_signs.json"))
    parser.add_argument("--one", nargs=2, metavar=("CAMERAS", "FPS"), help=argparse.SUPPRESS)
    parser.add_argument("--video", type=Path, help="640 x 480 H.264; default: the demo's scene")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON and the curve beside it."""
    options = _options(arguments)
    if options.one:
        cameras, fps = int(options.one[0]), float(options.one[1])
        print(json.dumps(run_one(options.video, options.model, cameras, fps, options.seconds, options.max_batch)))
        return
    document: dict[str, Any] = {"model": options.model and Path(options.model).stem, **machine()}
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or Path(folder) / "scene.mp4"
        if options.video is None:
            write_video(video, 300)
        if options.soak_minutes:
            row = _in_a_process(options, video, options.soak_cameras, options.fps[0], 60 * options.soak_minutes)
            document |= {"soak": row, "growth": growth(row["resident_mb_by_second"])}
            print(f"memory grows by {document['growth']}")
        else:
            rows = curve(options, video)
            document |= {"rows": rows, "cameras": largest(rows), "memory_per_camera": memory_per_camera(rows)}
            print(f"most cameras by frames a second: {document['cameras']}; memory: {document['memory_per_camera']}")
    write_json(options.json, document)
    if "rows" in document:
        draw(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "scale"))
