"""What the video-file and the stream source share: opening a container and taking its pictures through PyAV.

PyAV keeps libav's own log off stderr by default (its level is unset), and nothing here turns it on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from taintwatch.sources.source import Grab
from taintwatch_models.errors import BadFrame, SourceError
from taintwatch_models.image_check import MOST_PIXELS, check_size

__all__ = ["Pictures", "error_reason", "open_pictures"]

# A file must not make libav open anything else: a playlist that names an address, a colon in a name.
_FILE_PROTOCOLS = "file,crypto,data"
# Of some four hundred containers and as many codecs, those that cameras and recorders write: whoever sends a stream or
# a file chooses the code that parses it. Not `concat` and `sdp`, which open what they name.
_FORMATS = frozenset({
    "asf", "avi", "dash", "dv", "flv", "gif", "h264", "hevc", "hls", "ivf", "live_flv", "m4v", "matroska", "mjpeg",
    "mov", "mpeg", "mpegts", "mpegvideo", "mpjpeg", "mxf", "nut", "obu", "ogg", "rm", "rtsp", "vc1", "webm",
    "yuv4mpegpipe",
})  # fmt: skip
_DECODERS = frozenset({
    "av1", "cinepak", "dnxhd", "dvvideo", "ffv1", "ffvhuff", "flv", "gif", "h263", "h264", "hevc", "huffyuv",
    "jpeg2000", "libdav1d", "mjpeg", "mjpegb", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4", "msmpeg4v1",
    "msmpeg4v2", "png", "prores", "qtrle", "rawvideo", "rv10", "rv20", "rv30", "rv40", "svq1", "svq3", "theora",
    "utvideo", "v210", "vc1", "vp8", "vp9", "vvc", "wmv1", "wmv2", "wmv3",
})  # fmt: skip


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
    deinterlace: bool = False
    deinterlacer: av.filter.Graph | None = None
    packets_read: int = 0
    at_end: bool = False
    shape: tuple[int, int, int] | None = None
    """Width, height and rotation of the frames that `matrix` was read from."""
    matrix: bytes | None = None
    """How the frames are to be turned and mirrored; None: not at all."""

    @property
    def start_s(self) -> float:
        """The first timestamp, in seconds; 0 where it is not known."""
        start, base = self.stream.start_time, self.stream.time_base
        return float(start * base) if start is not None and base is not None else 0.0

    @property
    def step_s(self) -> float | None:
        """Seconds from one picture to the next on average, where the container tells."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(1 / rate) if rate else None

    @property
    def length_s(self) -> float | None:
        """Seconds that the container announces; None where it does not."""
        duration, base = self.stream.duration, self.stream.time_base
        if duration is not None and base is not None:
            return float(duration * base)
        return None if self.container.duration is None else self.container.duration / av.time_base

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
            frames = [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
            return self._deinterlaced(frames, at_end=packet.size == 0) if self.deinterlace else frames
        except (av.FFmpegError, ValueError) as caught:
            reason = error_reason(caught)
        raise BadFrame(f"a picture of {self.description} cannot be decoded: {reason}")

    def _deinterlaced(self, frames: list[VideoFrame], *, at_end: bool) -> list[VideoFrame]:
        """Return the frames that a deinterlacer gives for these; it holds one back until the end."""
        if self.deinterlacer is None:
            self.deinterlacer = av.filter.Graph()
            source = self.deinterlacer.add_buffer(template=self.stream)
            bwdif = self.deinterlacer.add("bwdif", "mode=send_frame:deint=all")
            self.deinterlacer.link_nodes(source, bwdif, self.deinterlacer.add("buffersink")).configure()
        given: list[VideoFrame] = []
        for frame in (*frames, None) if at_end else frames:
            self.deinterlacer.vpush(frame)
            with suppress(av.BlockingIOError, av.EOFError):  # it wants another one first, or has given all
                while True:
                    given.append(self.deinterlacer.vpull())
        return given

    def _grab(self, frame: VideoFrame) -> Grab:
        if frame.is_corrupt:  # what is missing was guessed from other pictures: such a smear is no evidence
            raise BadFrame(f"a picture of {self.description} arrived damaged")
        check_size(frame.width, frame.height, f"a picture of {self.description}")
        try:
            image = self._image(frame)
        except (av.FFmpegError, ValueError) as caught:
            reason = error_reason(caught)
        else:
            return Grab(image, frame.time)
        raise BadFrame(f"a picture of {self.description} cannot be converted from {frame.format.name}: {reason}")

    def _image(self, frame: VideoFrame) -> NDArray[np.uint8]:
        # One reformatter for all frames keeps its scaler; `frame.to_ndarray(format=...)` would build one per frame.
        width = _display_width(frame.width, self.stream)
        image = np.asarray(self.reformatter.reformat(frame, width, format="bgr24").to_ndarray(), dtype=np.uint8)
        shape = (frame.width, frame.height, frame.rotation)
        if shape != self.shape:
            # `side_data` ties a frame to itself: read of each, hundreds of frames would wait for the garbage collector.
            matrix: Any = frame.side_data.get("DISPLAYMATRIX")
            self.shape, self.matrix = shape, None if matrix is None else bytes(matrix)
        return image if self.matrix is None else _oriented(image, self.matrix)


def _display_width(width: int, stream: VideoStream) -> int | None:
    """Return the width in square pixels; None where they are square already."""
    aspect = stream.sample_aspect_ratio
    return None if not aspect or aspect == 1 else max(1, round(width * float(aspect)))


def _oriented(image: NDArray[np.uint8], matrix: bytes) -> NDArray[np.uint8]:
    """Turn and mirror a picture as its display matrix says: a phone held upright records sideways and says so."""
    a, b, _, c, d = np.frombuffer(matrix[:20], np.int32)  # (x, y) is shown at (a x + c y, b x + d y)
    across, down = (a, d) if abs(int(a)) > abs(int(b)) else (c, b)
    turned = image if abs(int(a)) > abs(int(b)) else image.transpose(1, 0, 2)
    return np.ascontiguousarray(turned[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def open_pictures(
    location: str | Path,
    description: str,
    *,
    options: Mapping[str, str],
    timeouts_s: tuple[float, float] | None,
    input_format: str | None = None,
    deinterlace: bool = False,
) -> Pictures:
    """Open a file (a `Path`) or a URL and its first video stream.

    `timeouts_s` is (to open, to read one packet). `input_format`: libav's name of the format, where it must not be
    guessed. Raises `SourceError`, which never holds the address itself.
    """
    wanted = {**options, "format_whitelist": ",".join(_FORMATS), "codec_whitelist": ",".join(_DECODERS)}
    if input_format is not None and input_format not in _FORMATS:
        known = ", ".join(sorted(_FORMATS))
        raise SourceError(f"{description}: input_format {input_format!r} is none of those that are read: {known}")
    if isinstance(location, Path):
        location = f"file:{location.absolute()}"
        wanted.setdefault("protocol_whitelist", _FILE_PROTOCOLS)
    # Also while a stream is recognised, which decodes its first picture.
    wanted["max_pixels"] = str(MOST_PIXELS)
    try:
        container = av.open(location, mode="r", format=input_format, options=wanted, timeout=timeouts_s)
    except av.error.ArgumentError:  # a format that is not on the list
        reason = "it holds no video, or in a container that is not read"
    except (av.FFmpegError, OSError, ValueError) as caught:
        reason = error_reason(caught)
    else:
        return _first_video(container, description, deinterlace)
    raise SourceError(f"{description} cannot be opened: {reason}")


def _first_video(container: InputContainer, description: str, deinterlace: bool) -> Pictures:
    if not container.streams.video:
        container.close()
        raise SourceError(f"{description} holds no video: give a file or stream with pictures")
    stream = container.streams.video[0]
    decoder = stream.codec_context.codec.name
    if decoder not in _DECODERS:
        container.close()
        raise SourceError(f"{description} holds {decoder} video, which is not decoded here: convert it to H.264")
    # Frame threading would delay a live picture by a few, and loses the pictures behind a damaged one at a file's end.
    stream.thread_type = "SLICE"
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
    packets = container.demux(stream)
    return Pictures(container, stream, description, packets, iter(()), VideoReformatter(), deinterlace)
