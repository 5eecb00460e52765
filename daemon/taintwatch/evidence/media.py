"""Pictures and clips of an alert: the frame, an overlay, and the seconds around the raising as MP4."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.evidence.private_file import PART
from taintwatch.records import Alert, Moment, elapsed_ns
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.records import Region

__all__ = [
    "ClipBuffer",
    "ClipFrame",
    "PictureError",
    "decode_jpeg",
    "draw_region",
    "encode_jpeg",
    "overlay",
    "picture_of",
    "shrink",
    "write_clip",
]

_log = logging.getLogger(__name__)

QUALITY = 85
MESSAGE_WIDTH, MESSAGE_QUALITY = 640, 80
CODECS = ("libx264", "mpeg4")  # whichever this build of FFmpeg has
MILLISECONDS = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """One small picture of a clip, compressed, so that seconds of many cameras fit into memory."""

    moment: Moment
    jpeg: bytes = field(repr=False)


class ClipBuffer:
    """The last seconds of one camera, and the clip that is being taken, if any. Used by one thread only.

    `before_s`, `after_s`: seconds around the raising. `width`: of the pictures at most, in pixels. `fps`: pictures a
    second at most; also bounds what is held.
    """

    def __init__(self, before_s: float, after_s: float, width: int, fps: float) -> None:
        self._before_ns = round(before_s * 1e9)
        self._after_ns = round(after_s * 1e9)
        self._width = width
        self._recent: deque[ClipFrame] = deque(maxlen=max(1, round(before_s * fps * 1.5)))
        self._most = max(2, round((before_s + after_s) * fps * 1.5))
        self._taken: list[ClipFrame] = []
        self._raised: Moment | None = None
        self.event_id: str | None = None
        """The alert whose clip is being taken."""

    def add(self, moment: Moment, image: NDArray[np.uint8]) -> None:
        """Take in a picture. Raises `PictureError`."""
        picture = ClipFrame(moment, encode_jpeg(shrink(image, self._width), QUALITY))
        if self._recent and elapsed_ns(self._recent[-1].moment, moment) < 0:
            self._recent.clear()  # a file was rewound: what was before is another time
        self._recent.append(picture)
        while elapsed_ns(self._recent[0].moment, moment) > self._before_ns and len(self._recent) > 1:
            self._recent.popleft()
        if self.event_id is not None:
            self._taken.append(picture)

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

    def end(self) -> list[ClipFrame]:
        """Return the pictures of the clip, in order, and forget it."""
        taken, self._taken = self._taken, []
        self.event_id = self._raised = None
        return taken


def write_clip(path: Path, pictures: Sequence[ClipFrame]) -> str:
    """Write an MP4 (0600), whole or not at all; return the codec's name. Pictures keep their own times.

    Raises `PictureError` where there is nothing to write or no codec, `OSError` where it cannot be written.
    """
    if not pictures:
        raise PictureError("There is no picture to make a clip of.")
    codec = next((name for name in CODECS if name in av.codecs_available), None)
    if codec is None:
        raise PictureError(f"Clips cannot be written: PyAV has none of the codecs {', '.join(CODECS)} here.")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(path.name + PART)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            _encode(stream, codec, pictures)
        temporary.replace(path)
    except (OSError, ValueError, av.FFmpegError) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PictureError(f"The clip {path.name} cannot be encoded: {error}.") from error
    return codec


def _encode(stream: object, codec: str, pictures: Sequence[ClipFrame]) -> None:
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
        for picture in pictures:
            image = decode_jpeg(picture.jpeg)
            if size is None:
                size = (image.shape[1], image.shape[0])
                video.width, video.height = size
            elif (image.shape[1], image.shape[0]) != size:  # the camera changed its resolution on the way
                image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            last = max(last + 1, elapsed_ns(pictures[0].moment, picture.moment) // 1_000_000)
            frame.pts, frame.time_base = last, MILLISECONDS
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


RED, BLACK, WHITE = (40, 40, 230), (0, 0, 0), (255, 255, 255)  # blue-green-red


class PictureError(TaintwatchError):
    """A picture cannot be encoded."""


def encode_jpeg(image: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Return `image` ((height, width, 3), uint8, blue-green-red) as JPEG. Raises `PictureError`."""
    try:
        good, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise PictureError(f"A picture of {image.shape} cannot be written as JPEG: {error}") from error
    if not good:
        raise PictureError(f"A picture of {image.shape} cannot be written as JPEG.")
    return bytes(buffer.tobytes())


def decode_jpeg(jpeg: bytes) -> NDArray[np.uint8]:
    """Return a picture that `encode_jpeg` gave: (height, width, 3) uint8, blue-green-red. Raises `PictureError`."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise PictureError("A picture cannot be decoded.")
    return np.asarray(image, dtype=np.uint8)


def shrink(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return `image` at most `width` pixels wide, its sides even (video codecs want that), proportions kept."""
    scale = min(1.0, width / image.shape[1])
    size = [max(2, 2 * round(side * scale / 2)) for side in (image.shape[1], image.shape[0])]
    if (size[1], size[0]) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def draw_region(image: NDArray[np.uint8], region: Region | None) -> NDArray[np.uint8]:
    """Outline the region's polygons in `image` itself, and return it."""
    thickness = max(1, round(image.shape[1] / 400))
    polygons = (
        [np.array(polygon, np.int32).reshape(-1, 1, 2) for polygon in region.polygons if polygon] if region else []
    )
    cv2.polylines(image, polygons, True, WHITE, thickness + 2, cv2.LINE_AA)
    cv2.polylines(image, polygons, True, RED, thickness, cv2.LINE_AA)
    return image


def overlay(image: NDArray[np.uint8], alert: Alert) -> NDArray[np.uint8]:
    """Return a copy of the frame with the alert's polygons, label, score and time drawn into it."""
    picture = draw_region(image.copy(), alert.region)
    recovered = "" if alert.recovered_name is None else f" -> {alert.recovered_name}"
    subject = "" if alert.subject is None else f", {alert.subject}"
    for row, text in enumerate(
        (
            f"{alert.label_name}{recovered}",
            f"score {alert.score:.3g} / {alert.threshold:.3g}  {', '.join(alert.detectors)}",
            f"{alert.camera}{subject}  {np.datetime64(alert.wall_ns, 'ns').astype('datetime64[ms]')}Z",
        )
    ):
        _write(picture, text, row)
    return picture


def picture_of(alert: Alert, image: NDArray[np.uint8]) -> bytes | None:
    """Return a small JPEG of a frame with what was found, to go with a message; None where it cannot be made."""
    try:
        return encode_jpeg(overlay(shrink(image, MESSAGE_WIDTH), _scaled(alert, image)), MESSAGE_QUALITY)
    except PictureError as error:
        _log.error("the picture of alert %s was not sent: %s", alert.event_id, error)
        return None


def _scaled(alert: Alert, image: NDArray[np.uint8]) -> Alert:
    """Return the alert with its region in pixels of the shrunk image."""
    if alert.region is None:
        return alert
    scale = min(1.0, MESSAGE_WIDTH / image.shape[1])
    polygons = tuple(tuple((round(x * scale), round(y * scale)) for x, y in each) for each in alert.region.polygons)
    return replace(alert, region=replace(alert.region, polygons=polygons))


def _write(picture: NDArray[np.uint8], text: str, row: int) -> None:
    plain = text.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII only
    scale = max(0.3, picture.shape[1] / 1200)
    place = (max(2, round(8 * scale)), round((row + 1) * 28 * scale))
    for colour, thickness in ((BLACK, 4), (WHITE, 1)):
        width = max(1, round(thickness * scale))
        cv2.putText(picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
