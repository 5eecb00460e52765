"""Network cameras: RTSP, RTSPS, and MJPEG (or anything else that libav plays) over HTTP and HTTPS."""

from __future__ import annotations

import time
from collections.abc import Callable

from taintwatch.sources.base import Grab
from taintwatch.sources.libav import Pictures, open_pictures
from taintwatch.sources.url import describe_url, url_scheme
from taintwatch_models.errors import SourceError

__all__ = ["STREAM_SCHEMES", "StreamSource"]

STREAM_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps"})

_COMMON = {
    # A hostile server must not be able to make libav read local files (a playlist that names file:///etc/...).
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto",
    "fflags": "nobuffer",
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

    def read(self) -> Grab | None:
        """Return the next picture. Raises `SourceError` where none came in time or the stream ended."""
        if self._pictures is None:
            raise SourceError(f"{self.description} is not open")
        give_up = self._clock() + self._read_timeout_s
        while self._clock() < give_up:  # packets without a picture (no key frame yet) must not keep us for ever
            grab = self._pictures.next()
            if grab is not None:
                return grab
            if self._pictures.at_end:
                raise SourceError(f"{self.description} ended: the other side closed the stream")
        raise SourceError(f"{self.description} gave no picture for {self._read_timeout_s:g} s")

    def close(self) -> None:
        """Hang up."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None
