"""How much the check costs: ratios to the plain forward, all measured in one run.

    python -m benchmarks.latency --model ../shared/data/models/mobilenet_v2_imagenet.onnx [--json F]

`plain` is the user's own ONNX file on the same runtime; `prepared` the same classifier inside the radar graph with
nothing else asked of it; `tight` and `paper` (K = 9) are whole checks. Rounds are interleaved, so that whatever else
the machine does falls on all alike; the median of each is reported, with the ratio's spread over the rounds. With
`--footage`, `gated_ratio` is the gated check on benign footage, on average. `around` is decoding, preprocessing,
judging, vote and publishing of one 640 x 480 frame, without any forward.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.frame_rate import write_video
from benchmarks.speed.stages import around_ms
from benchmarks.speed.timing import percentiles
from taintwatch_calibration.benign import read_benign, split_in_blocks
from taintwatch_calibration.gate import calibrate_gate
from taintwatch_calibration.machine import machine
from taintwatch_models.calibration_file import Calibration, TightCalibration
from taintwatch_models.gated import GatedRadar
from taintwatch_models.graph.verification import check_inputs
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, gpu_present, open_session
from taintwatch_models.radar_file import RadarFile

BATCHES = (1, 4, 16)
PLACES = {"cpu": "cpu", "cuda": "cuda"}

Call = Callable[[NDArray[np.float32]], Any]


def calls(model: str | None, radar: RadarFile, device: str, threads: int) -> dict[str, Call]:
    """Return what is timed, by name. `plain` stands for `prepared` where there is only a prepared file."""
    made: dict[str, Call] = {}
    if model is not None and not model.endswith(".radar.onnx"):
        session, _ = open_session(
            Path(model).read_bytes(), SessionSettings(device=device, require_device=True, threads=threads)
        )
        output, name = session.get_outputs()[0].name, session.get_inputs()[0].name
        made["plain"] = lambda inputs: session.run([output], {name: inputs})
    for key, variants in (("prepared", ()), ("tight", ("tight",)), ("paper", ("paper",))):
        made[key] = OnnxRadar(
            radar, variants, session=SessionSettings(device=device, require_device=True, threads=threads)
        )
    made.setdefault("plain", made["prepared"])
    return made


def interleaved(made: dict[str, Call], inputs: NDArray[np.float32], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Time each call once a round; return milliseconds, (rounds,) each."""
    times: dict[str, list[float]] = {name: [] for name in made}
    for number in range(rounds + 3):
        for name, call in made.items():
            start = time.perf_counter()
            call(inputs)
            if number >= 3:  # the first rounds warm caches and allocators
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: np.array(values) for name, values in times.items()}


def summary(times: dict[str, NDArray[np.float64]], batch: int) -> dict[str, Any]:
    """Medians per frame, and ratios to the plain forward: the median of the rounds' ratios with its quartiles."""
    found: dict[str, Any] = {}
    for name, values in times.items():
        found[f"{name}_ms"] = round(float(np.median(values)) / batch, 4)
        found[f"{name}_p95_ms"] = round(float(np.percentile(values, 95)) / batch, 4)
        if name != "plain":
            ratios = values / times["plain"]
            found[f"{name}_ratio"] = round(float(np.median(ratios)), 3)
            found[f"{name}_ratio_quartiles"] = [round(float(q), 3) for q in np.percentile(ratios, (25, 75))]
    return found


def with_third_pass(radar: RadarFile, batch: int) -> NDArray[np.float32]:
    """Return a batch of inputs whose intersections are not empty, so that `paper` pays for all its three forwards."""
    pictures = check_inputs(radar.info.preprocessing, 64)
    masks = OnnxRadar(radar, ("paper",), session=SessionSettings(device="cpu"))(pictures)["paper_mask"].any(axis=(1, 2))
    if not masks.any():
        raise SystemExit("no input was found on which paper runs its third forward")
    return pictures[np.resize(np.flatnonzero(masks), batch)]


def gated(options: argparse.Namespace, radar: RadarFile, plain: Call) -> dict[str, Any]:
    """Time the gated check and the plain forward, frame by frame in turn, on benign footage at batch 1.

    The gate's threshold comes from one half of the frames, in blocks of time; the other half is timed. The ratio is
    that of the two sums: what a frame costs on average, the checked ones included.
    """
    frames = read_benign(str(options.footage), radar.info.preprocessing, most=options.footage_frames)
    gate = calibrate_gate(radar, frames, share=options.share, tight=TightCalibration(), threads=options.threads)
    run = GatedRadar(
        radar, ("tight",), Calibration(gate=gate), SessionSettings(threads=options.threads, device="cpu"),
        random_share=options.random_share, draw=np.random.default_rng(0).random,
    )  # fmt: skip
    run.warm_up(1)
    _, rest = split_in_blocks(frames, 0)
    spent: dict[str, list[float]] = {"plain": [], "gated": []}
    checked = 0
    for index in rest:
        inputs = radar.info.preprocessing.normalise(frames.pixels[index : index + 1])
        for name in ("plain", "gated"):
            start = time.perf_counter()
            outputs = plain(inputs) if name == "plain" else run(inputs)
            spent[name].append((time.perf_counter() - start) * 1e3)
        checked += int(outputs["checked"].sum())
    plain_ms, gated_ms = (np.array(spent[name][5:]) for name in ("plain", "gated"))  # the first ones warm caches
    blocks = [
        float(g.sum() / p.sum())
        for g, p in zip(np.array_split(gated_ms, 10), np.array_split(plain_ms, 10), strict=True)
    ]
    return {
        "gated_ratio": round(float(gated_ms.sum() / plain_ms.sum()), 3),
        "gated_ratio_quartiles": [round(float(q), 3) for q in np.percentile(blocks, (25, 75))],
        "gated_ms": percentiles(gated_ms),
        "plain_ms": percentiles(plain_ms),
        "footage": options.footage.name,
        "frames_timed": len(gated_ms),
        "target_share": options.share,
        "random_share": options.random_share,
        "share_checked": round(checked / len(spent["gated"]), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="ONNX file; default: the bundled sign model")
    parser.add_argument("--preprocessing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--footage", type=Path, help="benign videos or pictures: times the gated check too")
    parser.add_argument("--footage-frames", type=int, default=600)
    parser.add_argument("--share", type=float, default=0.12, help="of benign frames, that the gate has checked")
    parser.add_argument("--random-share", type=float, default=0.02)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ort.set_default_logger_severity(4)
    radar = load_radar_file(ModelSettings(path=options.model, preprocessing=options.preprocessing))
    document: dict[str, Any] = {"model": radar.info.name, "threads": options.threads, **machine()}
    places = ["cpu", *(["cuda"] if gpu_present() else [])]
    for place in places:
        made = calls(options.model, radar, PLACES[place], options.threads)
        document[place] = {}
        for batch in BATCHES:
            inputs = with_third_pass(radar, batch)
            found = summary(interleaved(made, inputs, options.rounds), batch)
            document[place][f"batch{batch}"] = found
            ratios = [f"{name} {found[f'{name}_ratio']:.2f} x" for name in made if name != "plain"]
            print(
                f"{place} batch {batch:2d}: plain {found['plain_ms']:.2f} ms a frame; {', '.join(ratios)}", flush=True
            )
    if options.footage is not None:
        document["gated"] = gated(options, radar, calls(options.model, radar, "cpu", options.threads)["plain"])
        document["gated_ratio"] = document["gated"]["gated_ratio"]
        print(f"gated, on benign footage: {document['gated_ratio']:.2f} x the plain forward, "
              f"{document['gated']['share_checked']:.1%} of the frames checked", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "scene.mp4"
        write_video(video, 200)
        document["around_ms"] = around_ms(radar, video, 200)
    tight = document["cpu"]["batch1"]["tight_ms"]
    document["around_share_of_tight"] = round(document["around_ms"]["sum"]["p50"] / tight, 4)
    print(f"around the forwards, per 640 x 480 frame: {document['around_ms']['sum']} ms from decoding to publishing, "
          f"{document['around_share_of_tight']:.1%} of the tight check")  # fmt: skip
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
