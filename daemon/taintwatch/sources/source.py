"""What a source is: the seam between cameras and everything else, and what works on any source."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame, UsageError

__all__ = [
    "FLIPS",
    "Grab",
    "NotYet",
    "OrientedSource",
    "PacedSource",
    "Source",
    "SourceSettings",
    "SourceWrapper",
    "grabs_of",
    "read_through",
]

FLIPS: Mapping[str, int] = {"horizontal": 1, "vertical": 0}
"""How a picture may be mirrored: left and right, or top and bottom. The values are OpenCV's."""
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True, eq=False)
class Grab:
    """One picture as a source hands it over, before it has a camera's name and a number."""

    image: NDArray[np.uint8]
    """(height, width, 3), uint8, blue-green-red."""
    media_s: float | None = None
    """Position in the file or stream, in seconds, where known."""


class NotYet(Exception):  # noqa: N818 (nothing is wrong: it is to be asked again)
    """A source has nothing new at this moment, and has not ended either."""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What may be said of a source beside its name. Each kind of source reads what concerns it."""

    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    loop: bool = False
    """Files and folders start again at their end."""
    follow: bool = False
    """A folder is watched for new files for ever."""
    deinterlace: bool = False
    rotate: int = 0
    """Degrees clockwise: 0, 90, 180 or 270."""
    flip: str | None = None
    """A key of `FLIPS`; after the rotation."""
    user: str | None = None
    password: str | None = None
    """Of a stream; as they are, not percent-encoded."""
    transport: str = "tcp"
    """RTSP: `tcp` (RTP inside the control connection), `udp`, or `auto`, which tries both."""
    input_format: str | None = None
    """libav's name of a stream's format; None: guessed."""
    snapshot_interval_s: float = 1.0
    """Seconds between two requests of an address that gives one picture each."""
    tls_verify: bool = False
    tls_ca: str | None = None
    """File of the authorities (PEM) that certificates are verified with; None: the system's."""
    pixel_format: str | None = None
    """Webcams: a FourCC such as MJPG or YUYV."""
    width: int | None = None
    height: int | None = None
    capture_fps: float | None = None
    """Webcams: what is asked of the device."""


class Source(Protocol):
    """A place that pictures come from. Used by one thread only; `open` may be called again after `close`."""

    @property
    def description(self) -> str:
        """For logs and messages: never holds a credential."""
        ...

    @property
    def live(self) -> bool:
        """True: only the newest picture matters, failures are retried. False: every picture is wanted, and it ends."""
        ...

    def open(self) -> None:
        """Open it within its time-out, or raise `SourceError`."""
        ...

    def read(self) -> Grab | None:
        """Return the next picture within its time-out; None at the end of a file. Raises `SourceError`.

        Raises `BadFrame` for a picture that cannot be decoded while the source itself goes on, `NotYet` where it is to
        be asked again.
        """
        ...

    def close(self) -> None:
        """Give everything back. Never raises; may be called at any time, more than once."""
        ...


class SourceWrapper:
    """Another source, whose pictures a subclass changes or holds back: everything but `read` is the other's."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def description(self) -> str:
        """The other source's."""
        return self._source.description

    @property
    def live(self) -> bool:
        """The other source's."""
        return self._source.live

    def open(self) -> None:
        """Open the other source. Raises `SourceError`."""
        self._source.open()

    def close(self) -> None:
        """Close the other source."""
        self._source.close()


class OrientedSource(SourceWrapper):
    """Turns and mirrors every picture of another source: a camera that hangs upside down."""

    def __init__(self, source: Source, *, rotate: int = 0, flip: str | None = None) -> None:
        """`rotate`: degrees clockwise, a multiple of 90; `flip`: a key of `FLIPS`. Raises `UsageError`."""
        if rotate not in (0, *_TURNS):
            raise UsageError(f"rotate is {rotate}; give 0, 90, 180 or 270 degrees clockwise")
        if flip is not None and flip not in FLIPS:
            raise UsageError(f"flip is {flip!r}; give one of {', '.join(FLIPS)}")
        super().__init__(source)
        self._rotate, self._flip = rotate, flip

    def read(self) -> Grab | None:
        """Return the next picture, turned. Raises what the other source raises."""
        grab = self._source.read()
        if grab is None:
            return None
        image = grab.image
        if self._rotate:
            image = np.asarray(cv2.rotate(image, _TURNS[self._rotate]), np.uint8)
        if self._flip is not None:
            image = np.asarray(cv2.flip(image, FLIPS[self._flip]), np.uint8)
        return Grab(image, grab.media_s)


def grabs_of(source: Source) -> Iterator[Grab]:
    """Yield what an open source still gives; a picture that cannot be decoded is passed over. Raises `SourceError`."""
    while True:
        try:
            grab = source.read()
        except (BadFrame, NotYet):
            continue
        if grab is None:
            return
        yield grab


def read_through(source: Source) -> Generator[Grab]:
    """Open a source, yield what it gives as `grabs_of` does, and close it, also where the caller stops before."""
    source.open()
    try:
        yield from grabs_of(source)
    finally:
        source.close()


LONGEST_S = 1.0  # that one picture is waited for: a hole in a file's times must not look like a hang


class PacedSource(SourceWrapper):
    """Gives every picture of another source at its time. It is still a file: nothing is dropped, and it ends."""

    def __init__(
        self,
        source: Source,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(source)
        self._clock = clock
        self._sleep = sleep
        self._start_s: float | None = None
        """When the picture at 0 s was due, by the clock."""

    def open(self) -> None:
        """Open the other source. Raises `SourceError`."""
        self._start_s = None
        super().open()

    def read(self) -> Grab | None:
        """Return the next picture at its time. Raises what the other source raises."""
        grab = self._source.read()
        if grab is not None and grab.media_s is not None:
            self._wait_for(grab.media_s)
        return grab

    def _wait_for(self, media_s: float) -> None:
        now = self._clock()
        due_s = now if self._start_s is None else self._start_s + media_s
        # Of one that comes late, or after a jump, the times count anew: nothing is caught up with in a burst.
        due_s = min(max(due_s, now), now + LONGEST_S)
        self._start_s = due_s - media_s
        if due_s > now:
            self._sleep(due_s - now)
