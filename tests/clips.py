"""Clips of the demo's scene for tests: 10 frames a second, in frames 30 to 69 an attack."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av

from taintwatch.demo.play import parse_play

__all__ = ["attack_clip", "attack_jpegs", "remuxed"]


def attack_clip(
    path: Path, *, attack: str = "on-sign", codec: str = "libx264", fps: int = 10, frames: range = range(100)
) -> Path:
    """Write these frames of the scene as a video; its container goes by the suffix."""
    play = parse_play(f"sim:?attack={attack}&duration=10&pace=0&fps={fps}").play
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "18", "bf": "0"} if codec == "libx264" else {"q": "3"}
        for index in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(play.render(index), format="bgr24")))
        container.mux(stream.encode(None))
    return path


def attack_jpegs(first: int = 32, last: int = 68) -> list[bytes]:
    """Return frames of the scene as JPEG; by default those with the attack in them."""
    import cv2

    play = parse_play("sim:?attack=on-sign&duration=10&pace=0&fps=10").play
    return [bytes(cv2.imencode(".jpg", play.render(index))[1].tobytes()) for index in range(first, last)]


def remuxed(source: Path, path: Path, *options: str) -> Path:
    """Convert a clip with ffmpeg."""
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(source), *options, str(path)], check=True)
    return path
