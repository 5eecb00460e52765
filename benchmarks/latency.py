"""How much the check costs: ratios to the plain forward, all measured in one run.

    python benchmarks/latency.py --model ../shared/data/models/mobilenet_v2_imagenet.onnx [--json F]

`plain` is the user's own ONNX file on the same runtime; `prepared` the same classifier inside the radar graph with
nothing else asked of it; `tight` and `paper` (K = 9) are whole checks. Rounds are interleaved, so that whatever else
the machine does falls on all alike; the median of each is reported, with the ratio's spread over the rounds. `around`
is capture, preprocessing, vote and publishing of one 640 x 480 frame, without any forward.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from taintwatch.alerts.lifecycle import AlertBook
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.writer import Identity, new_instance_id
from taintwatch.sources.factory import open_source
from taintwatch.vote.voter import Voter
from taintwatch.vote.window import KofN
from taintwatch_calibration.machine import machine
from taintwatch_models.calibration_file import Calibration
from taintwatch_models.detectors import make_detectors
from taintwatch_models.graph.verify import check_inputs
from taintwatch_models.loading import ModelSettings, load_radar_file
from taintwatch_models.onnx_classifier import OnnxRadar, prediction_of
from taintwatch_models.onnx_session import gpu_present, open_session
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame, Prediction, read_only

BATCHES = (1, 4, 16)
PLACES = {"cpu": "cpu", "cuda": "cuda"}

Call = Callable[[NDArray[np.float32]], Any]


def calls(model: str | None, radar: RadarFile, device: str, threads: int) -> dict[str, Call]:
    """Return what is timed, by name. `plain` stands for `prepared` where there is only a prepared file."""
    made: dict[str, Call] = {}
    if model is not None and not model.endswith(".radar.onnx"):
        session, _ = open_session(Path(model).read_bytes(), device=device, require_device=True, threads=threads)
        output, name = session.get_outputs()[0].name, session.get_inputs()[0].name
        made["plain"] = lambda inputs: session.run([output], {name: inputs})
    for key, variants in (("prepared", ()), ("tight", ("tight",)), ("paper", ("paper",))):
        made[key] = OnnxRadar(radar, variants, device=device, require_device=True, threads=threads)
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
    masks = OnnxRadar(radar, ("paper",), device="cpu")(pictures)["paper_mask"].any(axis=(1, 2))
    if not masks.any():
        raise SystemExit("no input was found on which paper runs its third forward")
    return pictures[np.resize(np.flatnonzero(masks), batch)]


def around(radar: RadarFile, count: int, folder: str) -> dict[str, float]:
    """Time, per 640 x 480 frame, everything but the forwards; milliseconds, median."""
    info = radar.info
    picture = Path(folder) / "scene.png"
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    picture.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    source = open_source(f"sim:{picture}?pace=0&width=640&height=480&duration=1000")
    source.open()
    run = OnnxRadar(radar, ("tight",), threads=1)
    detectors = make_detectors(("tight",), Calibration(), info.labels, info.preprocessing)
    voter, book = Voter(KofN(3, 5), detectors=("tight",)), AlertBook()
    identity = Identity("bench", info.source_sha256, "", "CPUExecutionProvider", False, new_instance_id())
    stages: dict[str, list[float]] = {"capture": [], "preprocess": [], "judge_and_vote": [], "publish": []}
    with_alert = None
    publisher = Publisher(identity, "tcp://127.0.0.1:*", cameras=["bench"])
    try:
        for index in range(count):
            marks = [time.perf_counter()]
            grab = source.read()
            assert grab is not None  # noqa: S101 (the simulator is endless here)
            frame = Frame("bench", index, read_only(grab.image), time.monotonic_ns(), time.time_ns(), grab.media_s)
            marks.append(time.perf_counter())
            inputs = info.preprocessing([frame.image])
            marks.append(time.perf_counter())
            outputs = run(inputs)
            marks.append(time.perf_counter())
            prediction = prediction_of(frame, outputs, 0, info.labels, 0.0)
            assert isinstance(prediction, Prediction)  # noqa: S101
            verdicts = [detector(prediction) for detector in detectors]
            alert = book(prediction, verdicts, voter(frame, verdicts))
            marks.append(time.perf_counter())
            with_alert = alert or with_alert
            if with_alert is not None:  # one alert published for every frame: far more than ever happens
                publisher.publish_alert(with_alert)
            marks.append(time.perf_counter())
            for name, begin in (("capture", 0), ("preprocess", 1), ("judge_and_vote", 3), ("publish", 4)):
                stages[name].append((marks[begin + 1] - marks[begin]) * 1e3)
    finally:
        publisher.close()
        source.close()
    return {name: round(float(np.median(values)), 4) for name, values in stages.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="ONNX file; default: the bundled sign model")
    parser.add_argument("--preprocessing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
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
    with tempfile.TemporaryDirectory() as folder:
        document["around_ms"] = around(radar, 200, folder)
    tight = document["cpu"]["batch1"]["tight_ms"]
    without_preprocessing = sum(value for name, value in document["around_ms"].items() if name != "preprocess")
    document["around_share_of_tight"] = round(without_preprocessing / tight, 4)
    print(f"around the forwards, per 640 x 480 frame: {document['around_ms']} ms; capture, vote and publishing are "
          f"{document['around_share_of_tight']:.1%} of the tight check")  # fmt: skip
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
