"""Frames a second of the whole daemon with the bundled model: decode, preprocess, check, vote, publish, be heard.

    python -m benchmarks.frame_rate [--frames 900] [--threads 2] [--json docs/results/frame_rate.json]

The demo's scene is rendered once into an H.264 file; then `taintwatch run` plays it as fast as it can, one frame at a
time, as a process of its own, while a subscriber listens on the real socket. Beside the rate stands the processor time
that a frame costs: on a machine that others use too, it says what an idle one would do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.page_viewers import free_port
from benchmarks.scripts import run_main
from taintwatch.alerts.messages import Message
from taintwatch.alerts.subscriber import Subscriber
from taintwatch.demo.play import parse_play
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.errors import TaintwatchError

__all__ = ["main"]

PROGRAM = Path(sys.executable).with_name("taintwatch")
VARIANTS = (("tight",), ("tight", "paper"))


def write_video(path: Path, frames: int) -> None:
    """Render `frames` frames of the demo's scene, 640 x 480, as H.264."""
    play = parse_play("sim:?pace=0&fps=30", loop=True).play
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = play.render(0).shape[:2]
        for index in range(frames):
            image = play.render(index)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def play_once(video: Path, detectors: tuple[str, ...], threads: int) -> dict[str, Any]:
    """Run the daemon on `video` and listen; return its rate, what it cost and what was heard."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    arguments = ["run", "--source", str(video), "--threads", str(threads), "--max-batch", "1", "--bind", endpoint,
                 "--json", "--quiet"]  # fmt: skip
    arguments += [word for name in detectors for word in ("--detector", name)]
    heard, ended = [0], threading.Event()
    listener = threading.Thread(target=_listen, args=(endpoint, heard, ended))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    listener.start()
    try:
        done = subprocess.run([str(PROGRAM), *arguments], capture_output=True, text=True, check=False)
    finally:
        ended.set()
        listener.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise TaintwatchError(f"taintwatch run ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    summary = json.loads(done.stdout.splitlines()[-1])
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "fps": summary["fps"],
        "frames": summary["frames"],
        "alerts": summary["alerts"],
        "messages_heard": heard[0],
        "process_s": spent,
        "load_1min": os.getloadavg()[0],
    }


def _listen(endpoint: str, heard: list[int], ended: threading.Event) -> None:
    with Subscriber(endpoint) as subscriber:
        while not ended.is_set():
            if isinstance(subscriber.receive(0.1), Message):
                heard[0] += 1


def summarise(short: list[dict[str, Any]], long: list[dict[str, Any]]) -> dict[str, Any]:
    """Join repeated runs of a short and a long video: their difference leaves out starting up and ending."""
    frames = long[0]["frames"] - short[0]["frames"]
    spent = statistics.median(run["process_s"] for run in long) - statistics.median(run["process_s"] for run in short)
    return {
        "fps": sorted(run["fps"] for run in long),
        "process_ms_per_frame": 1e3 * spent / frames,
        "fps_by_process_time": frames / spent if spent > 0 else None,
        "runs": long,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=900)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("docs/results/frame_rate.json"))
    options = parser.parse_args()
    document: dict[str, Any] = {**machine(), "threads": options.threads, "batch": 1, "results": {}}
    with tempfile.TemporaryDirectory() as folder:
        videos = [Path(folder) / f"{name}.mp4" for name in ("short", "long")]
        for video, frames in zip(videos, (options.frames // 10, options.frames), strict=True):
            write_video(video, frames)
        for detectors in VARIANTS:
            runs = [[play_once(v, detectors, options.threads) for _ in range(options.repeats)] for v in videos]
            found = summarise(*runs)
            document["results"]["+".join(detectors)] = found
            print(f"{'+'.join(detectors):12s} {max(found['fps']):6.1f} fps at best (of {len(found['fps'])}), "
                  f"{found['process_ms_per_frame']:.2f} ms of processor time a frame, load "
                  f"{os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    write_json(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "frame_rate"))
