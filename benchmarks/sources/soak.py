"""Four awkward cameras at once, a scripted attack again and again: is each raised, and does memory stay level?

    python -m benchmarks.sources.soak [--minutes 3] [--json docs/results/sources_soak.json]

A flapping MJPEG camera (it hangs up after every few pictures), a snapshot camera, an HLS camera and a steady MJPEG
camera. Each shows the demo's scene by the wall clock: 30 s a round, the attack from the 9th second to the 21st.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import psutil

from benchmarks.sources.servers import DIALECTS, Serve, http_server
from taintwatch.demo.play import parse_play
from taintwatch_calibration.machine import machine
from taintwatch_models.storage import write_atomically

__all__ = ["main"]

ROUND_S, ATTACK_S, FPS = 30.0, (9.0, 21.0), 5
COUNTED = ("reconnects", "frames", "captured", "delivered", "dropped", "skipped", "bad")
"""Of each camera's last status: on a busy machine most of what comes is dropped, and then an attack may be missed."""
PROGRAM = Path(sys.executable).with_name("taintwatch")


class Scene:
    """The scene's frames as JPEG, by the wall clock."""

    def __init__(self) -> None:
        play = parse_play(f"sim:?attack=on-sign&duration={ROUND_S}&pace=0&fps={FPS}").play
        frames = (play.render(index) for index in range(int(ROUND_S * FPS)))
        self.pictures = [bytes(cv2.imencode(".jpg", frame)[1].tobytes()) for frame in frames]
        self.start_s = time.time()

    def now(self) -> bytes:
        """Return the picture of this moment."""
        return self.pictures[int((time.time() - self.start_s) * FPS) % len(self.pictures)]


def stream(scene: Scene, limit: int | None) -> Serve:
    """Return what serves the scene as MJPEG; it hangs up after `limit` pictures."""

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        sent = 0
        while limit is None or sent < limit:
            handler.wfile.write(DIALECTS["by the book"].part(scene.now(), sent))
            sent += 1
            time.sleep(1 / FPS)

    return serve


def snapshot(scene: Scene) -> Serve:
    """Return what answers each request with the picture of that moment."""

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        jpeg = scene.now()
        handler.send_response(200)
        handler.send_header("Content-Type", "image/jpeg")
        handler.send_header("Content-Length", str(len(jpeg)))
        handler.end_headers()
        handler.wfile.write(jpeg)

    return serve


@contextmanager
def hls(scene: Scene, folder: Path) -> Iterator[str]:
    """Yield the address of a live playlist that ffmpeg goes on writing: segments of 2 s, the last six of them."""
    words = ["ffmpeg", "-v", "error", "-f", "mjpeg", "-framerate", str(FPS), "-i", "-", "-c:v", "libx264"]
    words += ["-preset", "ultrafast", "-g", str(2 * FPS), "-f", "hls", "-hls_time", "2", "-hls_list_size", "6"]
    words += ["-hls_flags", "delete_segments", str(folder / "live.m3u8")]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as encoder:
        threading.Thread(target=_feed, args=(scene, encoder), daemon=True).start()
        handler = functools.partial(_Quiet, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            while not (folder / "live.m3u8").exists():
                time.sleep(0.2)
            yield f"http://127.0.0.1:{server.server_address[1]}/live.m3u8"
            encoder.kill()
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def _feed(scene: Scene, encoder: subprocess.Popen[bytes]) -> None:
    due_s = time.time()
    while encoder.poll() is None and encoder.stdin is not None:
        try:
            encoder.stdin.write(scene.now())
            encoder.stdin.flush()
        except OSError:
            return
        due_s += 1 / FPS
        time.sleep(max(0.0, due_s - time.time()))


def watch(minutes: float, folder: Path) -> dict[str, Any]:
    """Run the daemon on the four cameras; return alerts, statuses and memory."""
    scene = Scene()
    with ExitStack() as stack:
        cameras = {
            "flapping": stack.enter_context(http_server(stream(scene, 4))),
            "snapshot": stack.enter_context(http_server(snapshot(scene))),
            "mjpeg": stack.enter_context(http_server(stream(scene, None))),
            "hls": stack.enter_context(hls(scene, folder)),
        }
        words = [str(PROGRAM), "run", "--no-publish", "--threads", "1", "--json", "--fps", str(FPS)]
        words += ["--snapshot-interval", "0.4", *(word for name, url in cameras.items() for word in
                                                  ("--source", f"{name}={url}"))]  # fmt: skip
        began_s = time.time()
        lines: list[dict[str, Any]] = []
        memory: list[float] = []
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as daemon:
            threading.Thread(target=_collect, args=(daemon, lines), daemon=True).start()
            process = psutil.Process(daemon.pid)
            while time.time() < began_s + 60 * minutes:
                time.sleep(5.0)
                memory.append(round(process.memory_info().rss / 2**20, 1))
            ended_s = time.time()
            daemon.terminate()
            daemon.wait(60)
    rounds = _rounds(scene, began_s, ended_s)
    return {"rounds": rounds, "cameras": _report(scene, lines, rounds), "memory_mib": memory}


def _collect(daemon: subprocess.Popen[str], lines: list[dict[str, Any]]) -> None:
    for line in daemon.stdout or ():
        lines.append(json.loads(line) | {"at_s": time.time()})


def _rounds(scene: Scene, began_s: float, ended_s: float) -> list[int]:
    """Return the rounds whose whole attack fell into the run, its first 20 s (loading) left out."""
    first, last = began_s + 20 - scene.start_s, ended_s - scene.start_s
    return [n for n in range(int(last / ROUND_S) + 1) if first < n * ROUND_S + ATTACK_S[0] and last > (n + 1) * ROUND_S]


def _report(scene: Scene, lines: Sequence[dict[str, Any]], rounds: Sequence[int]) -> dict[str, Any]:
    statuses = [line for line in lines if line["kind"] == "status"]
    cameras: dict[str, Any] = {}
    for last in statuses[-1]["cameras"] if statuses else ():
        name = last["camera"]
        raised = [line for line in lines if line["kind"] == "alert" and line["camera"] == name]
        cameras[name] = {key: last.get(key) for key in COUNTED} | {
            "raised_s": [
                round(line["wall_ns"] / 1e9 - scene.start_s, 1) for line in raised if line["state"] == "raised"
            ]
        }
        cameras[name]["missed"] = [
            {"attack_s": start_s} | _seen(statuses, name, scene.start_s + start_s, scene.start_s + end_s)
            for start_s, end_s in map(_attack, rounds)
            if not _raised(name, cameras[name]["raised_s"], start_s, end_s)
        ]
    return cameras


def _attack(number: int) -> tuple[float, float]:
    return number * ROUND_S + ATTACK_S[0], number * ROUND_S + ATTACK_S[1]


def _raised(name: str, raised_s: Sequence[float], start_s: float, end_s: float) -> bool:
    """Whether an attack was raised within its 12 s (HLS comes up to 12 s late)."""
    late_s = 14.0 if name == "hls" else 2.0
    return any(start_s <= at_s <= end_s + late_s for at_s in raised_s)


def _seen(statuses: Sequence[dict[str, Any]], name: str, start_s: float, end_s: float) -> dict[str, Any]:
    """Return what became of a camera's pictures between two moments, by the statuses that lie around them."""

    def at(moment_s: float) -> dict[str, Any]:
        line = next((line for line in statuses if line["at_s"] >= moment_s), statuses[-1])
        return next(each for each in line["cameras"] if each["camera"] == name)

    first, last = at(start_s), at(end_s)
    return {"state": last["state"]} | {key: (last[key] or 0) - (first[key] or 0) for key in COUNTED}


def problems(result: dict[str, Any]) -> list[str]:
    """Return what is not as it should be: each attack that was not raised, and how much of it was judged."""
    return [
        f"{name}: the attack at {missed['attack_s']:.0f} s was not raised: "
        f"{missed['captured']} pictures came and {missed['frames']} were judged"
        for name, camera in result["cameras"].items()
        for missed in camera["missed"]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = watch(options.minutes, Path(folder))
    document = {"minutes": options.minutes, "machine": machine(), **result, "problems": problems(result)}
    text = json.dumps(document, indent=1)
    if options.json is not None:
        write_atomically(options.json, (text + "\n").encode())
    print(text)
    return int(bool(document["problems"]))


if __name__ == "__main__":
    sys.exit(main())
