"""What the video-file and the stream source share: opening a container and taking its pictures through PyAV.

PyAV keeps libav's own log off stderr by default (its level is unset), and nothing here turns it on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from taintwatch.sources.source import Grab
from taintwatch_models.errors import BadFrame, SourceError

__all__ = ["Pictures", "error_reason", "open_pictures"]

_ROTATIONS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


def error_reason(error: Exception) -> str:
    """Return what went wrong without the address: `str()` of a PyAV error holds the URL with its password."""
    if isinstance(error, av.error.ExitError):
        return "it did not answer in time"
    if isinstance(error, av.FFmpegError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return type(error).__name__


@dataclass(slots=True)
class Pictures:
    """An open container, read packet by packet. Used by one thread only."""

    container: InputContainer
    stream: VideoStream
    description: str
    packets: Iterator[av.Packet[VideoStream]]
    decoded: Iterator[VideoFrame]
    reformatter: VideoReformatter
    packets_read: int = 0
    at_end: bool = False

    def next(self) -> Grab | None:
        """Return the next picture of the packet at hand; None where the next packet is needed (or the end came).

        Raises `BadFrame` for a packet that cannot be decoded, `SourceError` where the container itself fails.
        """
        frame = next(self.decoded, None)
        if frame is not None:
            return self._grab(frame)
        packet = self._next_packet()
        if packet is None:
            self.at_end = True
            return None
        self.decoded = iter(self._decode(packet))
        frame = next(self.decoded, None)
        return None if frame is None else self._grab(frame)

    def close(self) -> None:
        """Give the container back."""
        self.decoded = iter(())
        self.container.close()

    def _next_packet(self) -> av.Packet[VideoStream] | None:
        try:
            packet = next(self.packets, None)
        except (av.FFmpegError, OSError, ValueError) as caught:
            reason = error_reason(caught)
        else:
            self.packets_read += packet is not None and packet.size > 0
            return packet
        # Raised here, outside `except`, so that no chained exception carries the address.
        raise SourceError(f"{self.description} stopped giving pictures: {reason}")

    def _decode(self, packet: av.Packet[VideoStream]) -> list[VideoFrame]:
        try:
            return [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
        except (av.FFmpegError, ValueError) as caught:
            reason = error_reason(caught)
        raise BadFrame(f"a picture of {self.description} cannot be decoded: {reason}")

    def _grab(self, frame: VideoFrame) -> Grab:
        try:
            image = self._image(frame)
        except (av.FFmpegError, ValueError) as caught:
            reason = error_reason(caught)
        else:
            return Grab(image, frame.time)
        raise BadFrame(f"a picture of {self.description} cannot be converted from {frame.format.name}: {reason}")

    def _image(self, frame: VideoFrame) -> NDArray[np.uint8]:
        # One reformatter for all frames keeps its scaler; `frame.to_ndarray(format=...)` would build one per frame.
        image = np.asarray(self.reformatter.reformat(frame, format="bgr24").to_ndarray(), dtype=np.uint8)
        # A phone held upright records sideways and says so. (The oldest PyAV that we accept cannot tell.)
        turn = _ROTATIONS.get(round(getattr(frame, "rotation", 0)) % 360)
        return image if turn is None else np.asarray(cv2.rotate(image, turn), dtype=np.uint8)


def open_pictures(
    location: str | Path,
    description: str,
    *,
    options: Mapping[str, str],
    timeouts_s: tuple[float, float] | None,
) -> Pictures:
    """Open a file or a URL and its first video stream.

    `timeouts_s` is (to open, to read one packet). Raises `SourceError`, which never holds the address itself.
    """
    try:
        container = av.open(str(location), mode="r", container_options=dict(options), timeout=timeouts_s)
    except (av.FFmpegError, OSError, ValueError) as caught:
        reason = error_reason(caught)
    else:
        return _first_video(container, description)
    raise SourceError(f"{description} cannot be opened: {reason}")


def _first_video(container: InputContainer, description: str) -> Pictures:
    if not container.streams.video:
        container.close()
        raise SourceError(f"{description} holds no video: give a file or stream with pictures")
    stream = container.streams.video[0]
    # Frame threading would delay a live picture by a few, and loses the pictures behind a damaged one at a file's end.
    stream.thread_type = "SLICE"
    return Pictures(container, stream, description, container.demux(stream), iter(()), VideoReformatter())
