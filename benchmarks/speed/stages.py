"""Where the time of one check goes: every stage timed on its own, or as the difference of two growing graphs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.speed.timing import interleaved, percentiles
from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.outbox import Identity, new_instance_id
from taintwatch.alerts.publisher import Publisher
from taintwatch.records import Alert, AlertState
from taintwatch.sources.video import VideoSource
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Voter
from taintwatch_models.classifier import Rejected
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.cmag.runner import CmagRunner, reduce_pictures
from taintwatch_models.criteria import Criteria
from taintwatch_models.detectors import make_detectors
from taintwatch_models.fills import make_fill
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_classifier import prediction_of
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame, read_only

__all__ = ["FILLED", "around_ms", "frames_of", "growing", "stages_ms"]

FILLED = "bench_filled"


def frames_of(video: Path, count: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    """Decode at most `count` pictures; return them and the milliseconds of each."""
    source, pictures, times = VideoSource(video, loop=True), [], []
    source.open()
    try:
        for _ in range(count):
            start = time.perf_counter()
            grab = source.read()
            times.append((time.perf_counter() - start) * 1e3)
            if grab is None:
                break
            pictures.append(grab.image)
    finally:
        source.close()
    return pictures, np.array(times)


def stages_ms(
    radar: RadarFile, cmag: CmagFile | None, pixels: NDArray[np.uint8], device: str, threads: int, rounds: int
) -> dict[str, Any]:
    """Time the stages of one batch (B, H, W, 3) of pixels; p50, p95, p99 in milliseconds per frame, and ratios.

    `forward` is the prepared classifier alone; `head_products`, `masks` and `fill` are what each adds to a graph that
    starts at the last maps; `second_forward` is the rest of that graph. `tight` and `paper` are whole checks.
    """
    info, batch = radar.info, len(pixels)
    inputs = info.preprocessing.normalise(pixels)
    place = SessionSettings(device=device, require_device=True, threads=threads)
    fill = make_fill("mean", "tight", info.preprocessing)(inputs)
    graphs = growing(radar)
    sessions = {name: open_session(graph.SerializeToString(), place)[0] for name, graph in graphs.items()}
    first = OnnxRadar(radar, ("features",), session=place)
    maps = first(inputs)["features"]

    def run(name: str) -> Callable[[], Any]:
        session = sessions[name]
        wanted = {value.name for value in (*session.get_inputs(), *session.get_overridable_initializers())}
        feeds = {info.input: inputs, info.maps: maps, **fill}
        given = {key: value for key, value in feeds.items() if key in wanted}
        return lambda: session.run(None, given)

    calls: dict[str, Callable[[], Any]] = {name: run(name) for name in graphs}
    calls["preprocess"] = lambda: info.preprocessing.normalise(pixels)
    for name in ("tight", "paper"):
        whole = OnnxRadar(radar, (name,), session=place)
        calls[name] = lambda whole=whole: whole(inputs)  # type: ignore[misc]
    if cmag is not None:
        runner, pictures = CmagRunner(cmag, threads=1), reduce_pictures(pixels, cmag.info.size)
        logits = first(inputs)["logits"]
        calls["cmag"] = lambda: runner(maps, logits, pictures)
    times = interleaved(calls, rounds)
    found: dict[str, NDArray[np.float64]] = {
        "preprocess": times["preprocess"],
        "forward": times["forward"],
        "head_products": times["head"],
        "masks": times["masks"] - times["head"],
        "fill": times["fill"] - times["masks"],
        "second_forward": times["check"] - times["fill"],
    }
    found |= {name: times[name] for name in ("cmag", "tight", "paper") if name in times}
    document: dict[str, Any] = {name: percentiles(values / batch) for name, values in found.items()}
    document["frames_per_second"] = round(1e3 * batch / float(np.median(times["tight"])), 1)
    document["ratio_to_forward"] = {
        name: round(float(np.median(times[name] / times["forward"])), 3) for name in ("tight", "paper")
    }
    return document


def growing(radar: RadarFile) -> dict[str, onnx.ModelProto]:
    """Graphs that each do one thing more than the one before; all but `forward` start at the last maps."""
    given = {radar.info.maps: "features"}
    extended = onnx.ModelProto()
    extended.CopyFrom(radar.proto)
    second = next(
        n for n in radar.proto.graph.node if n.name.startswith("taintwatch/forward2/") and n.op_type == "Conv"
    )
    height, width = radar.info.preprocessing.size
    extended.graph.node.append(helper.make_node("Identity", [second.input[0]], [FILLED]))
    extended.graph.output.append(helper.make_tensor_value_info(FILLED, TensorProto.FLOAT, ["batch", 3, height, width]))
    return {
        "forward": keep_outputs(radar.proto, ["logits"]),
        "head": keep_outputs(radar.proto, ["saliency_concentration"], given),
        "masks": keep_outputs(radar.proto, ["saliency_concentration", "tight_mask"], given),
        "fill": keep_outputs(extended, ["saliency_concentration", "tight_mask", FILLED], given),
        "check": keep_outputs(
            radar.proto, ["saliency_concentration", "tight_mask", "tight_margin", "tight_swing", "tight_rank"], given
        ),
    }


def around_ms(radar: RadarFile, video: Path, count: int) -> dict[str, Any]:
    """Time, per frame of a video, everything but the forwards: p50, p95, p99 of each stage and of their sum."""
    info = radar.info
    pictures, decoding = frames_of(video, count)
    run = OnnxRadar(radar, ("tight",), session=SessionSettings(threads=1, device="cpu"))
    detectors = make_detectors(Criteria(("tight",)), info)
    voter, tracker = Voter(KofN(3, 5), detectors=("tight",)), AlertTracker()
    identity = Identity("bench", info.source_sha256, "", "CPUExecutionProvider", False, new_instance_id())
    stages: dict[str, list[float]] = {"preprocess": [], "detect": [], "vote": [], "publish": []}
    publisher = Publisher(identity, "tcp://127.0.0.1:*", cameras=["bench"])
    try:
        for index, image in enumerate(pictures):
            frame = Frame("bench", index, read_only(image), time.monotonic_ns(), time.time_ns(), index / 30)
            marks = [time.perf_counter()]
            inputs = info.preprocessing([frame.image])
            marks.append(time.perf_counter())
            outputs = run(inputs)
            forwarded = time.perf_counter()
            prediction = prediction_of(frame, outputs, 0, info, 0.0)
            if isinstance(prediction, Rejected):
                raise SystemExit(f"the model rejects a plain frame: {prediction.reason}")
            verdicts = tuple(detector(prediction) for detector in detectors)
            judged = time.perf_counter()
            votes = voter(frame, verdicts)
            alert = tracker(prediction, verdicts, votes)
            voted = time.perf_counter()
            publisher.publish_alert(alert or _alert(frame, index))  # one for every frame: far more than ever happens
            stages["preprocess"].append((marks[1] - marks[0]) * 1e3)
            stages["detect"].append((judged - forwarded) * 1e3)
            stages["vote"].append((voted - judged) * 1e3)
            stages["publish"].append((time.perf_counter() - voted) * 1e3)
    finally:
        publisher.close()
    stages = {"decode": decoding.tolist(), **stages}
    total = np.sum([np.array(values) for values in stages.values()], axis=0)
    return {**{name: percentiles(values) for name, values in stages.items()}, "sum": percentiles(total)}


def _alert(frame: Frame, index: int) -> Alert:
    return Alert(
        event_id=f"bench-{index}", state=AlertState.RAISED, camera="bench", detectors=("tight",),
        raised_wall_ns=frame.wall_ns, wall_ns=frame.wall_ns, captured_ns=frame.captured_ns, frame_index=index,
        raised_frame_index=index, media_s=frame.media_s, suspicious_frames=3, label=0, label_name="stop",
        recovered_label=None, recovered_name=None, confidence=0.9, score=1.0, threshold=0.5, region=None,
    )  # fmt: skip
