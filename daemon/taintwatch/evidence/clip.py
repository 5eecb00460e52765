"""Short clips: what was seen just before an alert and just after it was raised, as MP4."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.evidence.folder import PART
from taintwatch.evidence.pictures import PictureError, encode_jpeg, shrink
from taintwatch.vote.clock import Moment, elapsed_ns

__all__ = ["Snapshot", "Tape", "write_clip"]

QUALITY = 85
CODECS = ("libx264", "mpeg4")  # whichever this build of FFmpeg has
MILLISECONDS = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One small picture of a clip, compressed, so that seconds of many cameras fit into memory."""

    moment: Moment
    jpeg: bytes = field(repr=False)


class Tape:
    """The last seconds of one camera, and the clip that is being taken, if any. Used by one thread only.

    `before_s`, `after_s`: seconds around the raising. `width`: of the pictures at most, in pixels. `fps`: pictures a
    second at most; also bounds what is held.
    """

    def __init__(self, before_s: float, after_s: float, width: int, fps: float) -> None:
        self._before_ns = round(before_s * 1e9)
        self._after_ns = round(after_s * 1e9)
        self._width = width
        self._recent: deque[Snapshot] = deque(maxlen=max(1, round(before_s * fps * 1.5)))
        self._most = max(2, round((before_s + after_s) * fps * 1.5))
        self._taken: list[Snapshot] = []
        self._raised: Moment | None = None
        self.event_id: str | None = None
        """The alert whose clip is being taken."""

    def add(self, moment: Moment, image: NDArray[np.uint8]) -> None:
        """Take in a picture. Raises `PictureError`."""
        snapshot = Snapshot(moment, encode_jpeg(shrink(image, self._width), QUALITY))
        if self._recent and elapsed_ns(self._recent[-1].moment, moment) < 0:
            self._recent.clear()  # a file was rewound: what was before is another time
        self._recent.append(snapshot)
        while elapsed_ns(self._recent[0].moment, moment) > self._before_ns and len(self._recent) > 1:
            self._recent.popleft()
        if self.event_id is not None:
            self._taken.append(snapshot)

    def begin(self, event_id: str, moment: Moment) -> None:
        """Begin the clip of an alert with what was seen before it."""
        self.event_id = event_id
        self._raised = moment
        self._taken = list(self._recent)

    def finished(self, moment: Moment) -> bool:
        """Whether a clip is being taken and is long enough at `moment`."""
        if self.event_id is None or self._raised is None:
            return False
        elapsed = elapsed_ns(self._raised, moment)
        return elapsed < 0 or elapsed >= self._after_ns or len(self._taken) >= self._most

    def end(self) -> list[Snapshot]:
        """Return the pictures of the clip, in order, and forget it."""
        taken, self._taken = self._taken, []
        self.event_id = self._raised = None
        return taken


def write_clip(path: Path, snapshots: Sequence[Snapshot]) -> str:
    """Write an MP4 (0600), whole or not at all; return the codec's name. Pictures keep their own times.

    Raises `PictureError` where there is nothing to write or no codec, `OSError` where it cannot be written.
    """
    if not snapshots:
        raise PictureError("There is no picture to make a clip of.")
    codec = next((name for name in CODECS if name in av.codecs_available), None)
    if codec is None:
        raise PictureError(f"Clips cannot be written: PyAV has none of the codecs {', '.join(CODECS)} here.")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(path.name + PART)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            _encode(stream, codec, snapshots)
        temporary.replace(path)
    except (OSError, ValueError, av.FFmpegError) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PictureError(f"The clip {path.name} cannot be encoded: {error}.") from error
    return codec


def _encode(stream: object, codec: str, snapshots: Sequence[Snapshot]) -> None:
    size: tuple[int, int] | None = None
    with av.open(stream, "w", format="mp4") as container:
        video = container.add_stream(codec, rate=25)
        if not isinstance(video, av.VideoStream):
            raise PictureError(f"{codec} is no video codec.")
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = MILLISECONDS
        video.codec_context.thread_count = 1  # the pipeline has the better use for the other cores
        if codec == "libx264":
            video.options = {"preset": "veryfast", "crf": "26"}
        last = -1
        for snapshot in snapshots:
            image = _decoded(snapshot)
            if size is None:
                size = (image.shape[1], image.shape[0])
                video.width, video.height = size
            elif (image.shape[1], image.shape[0]) != size:  # the camera changed its resolution on the way
                image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            last = max(last + 1, elapsed_ns(snapshots[0].moment, snapshot.moment) // 1_000_000)
            frame.pts, frame.time_base = last, MILLISECONDS
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def _decoded(snapshot: Snapshot) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(snapshot.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise PictureError("A picture of the clip cannot be decoded.")
    return np.asarray(image, dtype=np.uint8)
