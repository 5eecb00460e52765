"""Where a check's time goes, how batches and cameras scale, and what the official way of doing it costs.

    python -m benchmarks.throughput [--model MODEL.onnx] [--json docs/results/throughput_signs.json]

Stages per frame (decode, preprocess, forward, head products, masks, fill, second forward, CMAG, vote, publish) at p50,
p95 and p99; batches of 1 to 32; 1 to 64 simulated cameras at 10 frames a second, 640 x 480. Ratios are to the plain
forward of the same run. The official way is TaintRadar on the framework: a gradient call for each label with Torch's
autograd (through the head only, which is kind to it), masks on the CPU, three forwards.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frame_rate import write_video
from benchmarks.scripts import run_main
from benchmarks.speed.cameras import Loop, watched
from benchmarks.speed.picture import draw
from benchmarks.speed.stages import around_ms, frames_of, stages_ms
from benchmarks.speed.timing import interleaved, percentiles
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.cmag.file import read_cmag
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_description import describe
from taintwatch_models.model_files import ModelSettings, cmag_path
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, gpu_present

__all__ = ["main"]

BATCHES, CAMERAS = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32, 64)
PAPER = "TaintRadar's authors: 79 ms a frame, VGG16 on an RTX 2080 Ti (INFOCOM 2021)"


def official(model: Path, rounds: int) -> dict[str, Any]:
    """Time the paper's K = 9 with Torch's autograd beside ours at batch 1; milliseconds and ratios."""
    import torch

    from taintwatch_models.graph.verification import check_inputs
    from taintwatch_models.torch_graph import TorchGraph
    from taintwatch_models.torch_radar import GraphSplit, TorchRadar

    torch.set_num_threads(1)
    prepared = prepare(model, describe(model))
    graph = TorchGraph(prepared.plain, prepared.split)
    pictures = check_inputs(prepared.radar.info.preprocessing, 32)
    ours = OnnxRadar(prepared.radar, ("paper",), session=SessionSettings(threads=1, device="cpu"))
    rows = np.flatnonzero(ours(pictures)["paper_mask"].any(axis=(1, 2)))
    inputs = pictures[rows[:1] if len(rows) else [0]]  # one that pays for its third forward
    theirs = TorchRadar(GraphSplit(graph), prepared.radar.info, ("paper",))
    plain = OnnxRadar(prepared.radar, (), session=SessionSettings(threads=1, device="cpu"))

    def forward() -> None:
        with torch.no_grad():
            graph(torch.from_numpy(inputs))

    times = interleaved(
        {"official": lambda: theirs(inputs), "torch_forward": forward, "ours": lambda: ours(inputs),
         "onnx_forward": lambda: plain(inputs)}, rounds,
    )  # fmt: skip
    found: dict[str, Any] = {f"{name}_ms": percentiles(values) for name, values in times.items()}
    found["official_ratio_to_torch_forward"] = round(float(np.median(times["official"] / times["torch_forward"])), 2)
    found["ours_ratio_to_onnx_forward"] = round(float(np.median(times["ours"] / times["onnx_forward"])), 2)
    return {**found, "threads": 1, "paper": PAPER}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="ONNX file as the user has it; default: the bundled sign model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--cameras", type=int, nargs="*", default=CAMERAS, help="none: leave the cameras out")
    parser.add_argument("--seconds", type=float, default=12.0, help="for each number of cameras")
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--batch-wait-ms", type=float, default=0.0)
    parser.add_argument("--json", type=Path, default=Path("docs/results/throughput_signs.json"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON and a picture beside it."""
    options = _options(arguments)
    settings = ModelSettings(
        path=None if options.model is None else str(options.model), session=SessionSettings(threads=options.threads)
    )
    radar = load_radar_file(settings)
    path = cmag_path(settings)
    cmag = read_cmag(path) if path.is_file() else None
    document: dict[str, Any] = {"model": radar.info.name, "threads": options.threads, **machine(), "stages": {}}
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "scene.mp4"
        write_video(video, 200)
        document["around_ms"] = around_ms(radar, video, 200)
        pictures, _ = frames_of(video, max(options.batches, default=1) + 30)
    print(f"around the forwards, per 640 x 480 frame: {document['around_ms']}", flush=True)
    pixels = np.stack([radar.info.preprocessing.pixels(picture) for picture in pictures])
    for place in ("cpu", *(("cuda",) if gpu_present() else ())):
        document["stages"][place] = {}
        for batch in options.batches:
            found = stages_ms(radar, cmag, pixels[:batch], place, options.threads, options.rounds)
            document["stages"][place][f"batch{batch}"] = found
            print(f"{place} batch {batch:2d}: {found['frames_per_second']} checked frames/s, "
                  f"{found['ratio_to_forward']}", flush=True)  # fmt: skip
    if options.model is not None and options.model.suffixes[-2:] != [".radar", ".onnx"]:
        document["official"] = official(options.model, options.rounds)
        print(f"the official way: {document['official']}", flush=True)
    document["cameras"] = []
    for count in options.cameras:
        sources = [Loop(pictures, 10.0, shift_s=index / count / 10.0) for index in range(count)]
        found = watched(settings, sources, 10.0, options.seconds, max_batch=options.max_batch,
                        gather_ms=options.batch_wait_ms)  # fmt: skip
        document["cameras"].append(found)
        print(f"{count:2d} cameras: {found['delay_ms']} ms, {found['frames_per_second']} frames/s, "
              f"{found['dropped_share']:.1%} dropped, memory {found['resident_mb']} MB", flush=True)  # fmt: skip
    write_json(options.json, document)
    draw(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "throughput"))
