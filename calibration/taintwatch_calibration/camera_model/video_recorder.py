"""Pictures into an H.264 file, one after the other, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from taintwatch.evidence.media import CODECS
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["Recorder", "recording"]

_TICKS = Fraction(1, 90_000)


class Recorder:
    """An open video file; made by `recording`."""

    def __init__(self, container: av.container.OutputContainer, codec: str, quality: int) -> None:
        self._container = container
        self._codec = codec
        self._quality = quality
        self._video: av.VideoStream | None = None
        self._last = -1
        self.frames = 0

    def add(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Append a picture (height, width, 3) blue-green-red at its time; the first one's size is the file's."""
        video = self._video or self._begin(image)
        # 4:2:0 holds colours for two pixels by two: an odd side loses its last pixel.
        even = np.ascontiguousarray(image[: video.height, : video.width])
        frame = av.VideoFrame.from_ndarray(even, format="bgr24")
        self._last = max(self._last + 1, round(time_s / _TICKS))
        frame.pts, frame.time_base = self._last, _TICKS
        self._container.mux(video.encode(frame))
        self.frames += 1

    def end(self) -> None:
        """Write what the encoder still holds."""
        if self._video is not None:
            self._container.mux(self._video.encode(None))

    def _begin(self, image: NDArray[np.uint8]) -> av.VideoStream:
        video = self._container.add_stream(self._codec, rate=25)
        if not isinstance(video, av.VideoStream):
            raise TaintwatchError(f"{self._codec} is no video codec")
        video.width, video.height = image.shape[1] // 2 * 2, image.shape[0] // 2 * 2
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = _TICKS
        video.codec_context.thread_count = 1  # other clips are made beside this one
        if self._codec == "libx264":
            video.options = {"preset": "veryfast", "crf": str(self._quality)}
        self._video = video
        return video


@contextmanager
def recording(path: Path, *, quality: int = 23) -> Iterator[Recorder]:
    """Open an MP4 to add pictures to; it has its name once it is whole. `quality` is x264's crf: lower is better.

    Raises `UsageError` where it cannot be written, `TaintwatchError` where no picture came or no codec is there.
    """
    codec = next((name for name in CODECS if name in av.codecs_available), None)
    if codec is None:
        raise TaintwatchError(f"videos cannot be written: PyAV has none of the codecs {', '.join(CODECS)} here")
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("w+b") as stream, av.open(stream, "w", format="mp4") as container:
            recorder = Recorder(container, codec, quality)
            yield recorder
            recorder.end()
        if not recorder.frames:
            raise TaintwatchError(f"{path}: no picture came to record")
        temporary.replace(path)
    except (OSError, av.FFmpegError) as error:
        raise UsageError(f"{path} cannot be written ({error}): choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)
