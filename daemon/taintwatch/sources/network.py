"""Network cameras: RTSP, RTSPS, and MJPEG (or anything else that libav plays) over HTTP and HTTPS."""

from __future__ import annotations

import time
from collections.abc import Callable

from taintwatch.sources.libav import Pictures, open_pictures
from taintwatch.sources.source import Grab
from taintwatch.sources.url import describe_url, url_scheme
from taintwatch_models.errors import BadFrame, SourceError

__all__ = ["STREAM_SCHEMES", "StreamSource"]

STREAM_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps"})

_COMMON = {
    # A hostile server must not be able to make libav read local files (a playlist that names file:///etc/...).
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto",
    # No `fflags=nobuffer`: it throws away what was read to recognise the stream, the first key frame with it.
    "analyzeduration": "1000000",  # microseconds; libav's default of 5 s would delay every reconnection by as much
    "fpsprobesize": "0",
}


class StreamSource:
    """A live stream. Every call has a time-out; the address is shown without its credentials."""

    live = True

    def __init__(
        self,
        url: str,
        *,
        open_timeout_s: float = 10.0,
        read_timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._open_timeout_s = open_timeout_s
        self._read_timeout_s = read_timeout_s
        self._clock = clock
        self._pictures: Pictures | None = None
        self._due_by = 0.0
        """When the next picture must have come, by the clock."""

    def __repr__(self) -> str:
        return f"StreamSource({self.description!r})"

    @property
    def description(self) -> str:
        """The address without credentials."""
        return describe_url(self._url)

    def open(self) -> None:
        """Connect. Raises `SourceError` within the open time-out (resolving the host's name comes on top)."""
        self.close()
        options = dict(_COMMON)
        if url_scheme(self._url) in ("rtsp", "rtsps"):
            options["rtsp_transport"] = "tcp"  # over UDP a lost packet smears the picture, which looks like an attack
        self._pictures = open_pictures(
            self._url,
            self.description,
            options=options,
            timeouts_s=(self._open_timeout_s, self._read_timeout_s),
        )
        self._due_by = self._clock() + max(self._open_timeout_s, self._read_timeout_s)

    def read(self) -> Grab | None:
        """Return the next picture. Raises `SourceError` where none came in time or the stream ended.

        Raises `BadFrame` for one that cannot be decoded. The first may take as long as opening: a stream that is
        joined between two key frames gives nothing before the next.
        """
        if self._pictures is None:
            raise SourceError(f"{self.description} is not open")
        while True:
            grab, failure = self._next(self._pictures)
            now = self._clock()
            if grab is not None:
                self._due_by = now + self._read_timeout_s
                return grab
            # Packets without a picture, or nothing but broken ones, must not keep us for ever.
            if now > self._due_by:
                raise SourceError(f"{self.description} sends data but no usable picture")
            if failure is not None:
                try:
                    raise failure
                finally:
                    # An exception holds this frame: held by it in turn, it would keep the decoder, and its threads,
                    # until the garbage collector comes by.
                    failure = None

    def _next(self, pictures: Pictures) -> tuple[Grab | None, BadFrame | None]:
        try:
            grab = pictures.next()
        except BadFrame as error:
            return None, error
        if grab is None and pictures.at_end:
            raise SourceError(f"{self.description} ended: the other side closed the stream")
        return grab, None

    def close(self) -> None:
        """Hang up."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None
