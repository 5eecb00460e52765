"""Network cameras through libav: RTSP, RTMP, SRT, UDP, and what is not MJPEG over HTTP (HLS above all)."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from taintwatch.sources.libav import Pictures, open_pictures
from taintwatch.sources.source import Grab, SourceSettings
from taintwatch.sources.url import describe_url, split_credentials, url_scheme
from taintwatch_models.errors import AccessDenied, BadFrame, SourceError

__all__ = ["NetworkSource", "StreamSource", "require_host", "say_unverified"]

_log = logging.getLogger(__name__)

_COMMON = {
    # A hostile server must not be able to make libav read local files (a playlist that names file:///etc/...).
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto,rtmp,rtmps,rtmpt,srt",
    # No `fflags=nobuffer`: it throws away what was read to recognise the stream, the first key frame with it.
    "analyzeduration": "1000000",  # microseconds; libav's default of 5 s would delay every reconnection by as much
    "fpsprobesize": "0",
}
_ENCRYPTED = {"https": 443, "rtmps": 443, "rtsps": 322}
"""Schemes that speak TLS, and their usual ports."""
_IN_BURSTS = frozenset({"dash", "hls"})
"""Formats that come as files of some seconds each."""
_CATCH_UP = 1.25  # times its own speed at which a stream in bursts makes up for a stall
_LONGEST_WAIT_S = 1.0  # that one picture of a burst is held back: a jump in its times must not look like a hang


class NetworkSource:
    """What is at an address, live. Every call has a time-out; the address is shown without its credentials."""

    live = True

    def __init__(
        self,
        url: str,
        settings: SourceSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url
        self._settings = settings or SourceSettings()
        self._clock, self._sleep = clock, sleep
        self._due_by = 0.0
        """When the next picture must have come, by the clock."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description!r})"

    @property
    def description(self) -> str:
        """The address without credentials."""
        return describe_url(self._url)


class StreamSource(NetworkSource):
    """A live stream. A burst is given at the pace of its timestamps: else all but its last picture would be lost."""

    _pictures: Pictures | None = None
    _paced = False
    _start_s: float | None = None
    """When the picture at 0 s of a paced stream was due, by the clock."""
    _last_given = (0.0, 0.0)
    """When the last picture of a paced stream was given, and its time in the stream."""

    def open(self) -> None:
        """Connect. Raises `SourceError` within the open time-out (resolving the host's name comes on top)."""
        self.close()
        settings = self._settings
        if url_scheme(self._url) not in ("udp", "srt"):  # those may wait for a caller, and name none
            require_host(self._url, self.description)
        if url_scheme(self._url) != "https":  # of which `HttpSource` says it
            say_unverified(self._url, settings, self.description)
        started = self._clock()
        try:
            self._pictures = open_pictures(
                self._url,
                self.description,
                options=self._options(),
                timeouts_s=(settings.open_timeout_s, settings.read_timeout_s),
                input_format=settings.input_format,
                deinterlace=settings.deinterlace,
            )
        except SourceError as error:
            failure = self._explained(error, self._clock() - started)
        else:
            self._paced, self._start_s = self._pictures.container.format.name in _IN_BURSTS, None
            self._due_by = self._clock() + max(settings.open_timeout_s, settings.read_timeout_s)
            return
        raise failure  # outside `except`: no chained exception carries the address

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
                if self._paced and grab.media_s is not None:
                    self._wait_for(grab.media_s)
                self._due_by = self._clock() + self._settings.read_timeout_s
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

    def close(self) -> None:
        """Hang up."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None

    def _options(self) -> dict[str, str]:
        settings, options = self._settings, dict(_COMMON)
        scheme = url_scheme(self._url)
        if scheme in ("http", "https"):  # a playlist names files beside it, never another kind of service
            options["protocol_whitelist"] = "tcp,tls,http,https,crypto"
        if scheme in ("rtsp", "rtsps") and settings.transport != "auto":
            # By default TCP: over UDP a lost packet smears the picture, which looks like an attack.
            options["rtsp_transport"] = settings.transport
        if scheme in _ENCRYPTED and settings.tls_verify:
            options["tls_verify"] = "1"
            options["ca_file"] = settings.tls_ca or _system_authorities()
        return options

    def _next(self, pictures: Pictures) -> tuple[Grab | None, BadFrame | None]:
        started = self._clock()
        try:
            grab = pictures.next()
        except BadFrame as error:
            return None, error
        except SourceError as error:
            took_s, reason = self._clock() - started, str(error)
        else:
            if grab is None and pictures.at_end:
                raise SourceError(f"{self.description} ended: the other side closed the stream")
            return grab, None
        limit_s = self._settings.read_timeout_s
        if took_s > 0.9 * limit_s or "in time" in reason:
            reason = f"{self.description} gave no picture for {limit_s:g} s (read_timeout_s)"
        raise SourceError(reason)

    def _wait_for(self, media_s: float) -> None:
        """Hold a picture of a burst back until its time; after a stall the pictures follow a little faster."""
        now, (last_at_s, last_media_s) = self._clock(), self._last_given
        interval_s = media_s - last_media_s
        if self._start_s is None or not 0.0 <= interval_s <= _LONGEST_WAIT_S:
            self._start_s, interval_s = now - media_s, 0.0  # the first one, or a jump in the times
        due_s = max(self._start_s + media_s, last_at_s + interval_s / _CATCH_UP)
        if due_s > now:
            self._sleep(min(due_s - now, _LONGEST_WAIT_S))
        self._last_given = (self._clock(), media_s)

    def _explained(self, error: SourceError, took_s: float) -> SourceError:
        """Return the error that says what a failure to open means, and what to do."""
        where, settings = self.description, self._settings
        reason = str(error).removeprefix(where)  # a port may look like a status
        if took_s > 0.9 * min(settings.open_timeout_s, settings.read_timeout_s) and _says(
            reason, "in time", "invalid data", "timed out", "input/output", "exit"
        ):
            return SourceError(
                f"{where} did not answer in time: nothing came within {settings.open_timeout_s:g} s (open_timeout_s, "
                f"read_timeout_s {settings.read_timeout_s:g} s)"
            )
        if settings.tls_verify and _says(reason, "input/output") and _is_refused_by_us(self._url, settings):
            return SourceError(f"{where}: its certificate cannot be verified; give tls_ca, or leave out tls_verify")
        if _says(reason, "401"):
            if _asks_for_sha256_alone(self._url, settings):
                return AccessDenied(
                    f"{where} asks for a password by SHA-256 digest alone, which libav does not speak over RTSP: allow "
                    "MD5 digest on the camera as well, or take its HTTP stream"
                )
            given = split_credentials(self._url)[1] is not None
            words = "user or password is wrong" if given else "it asks for a user and a password"
            return AccessDenied(f"{where} refuses: {words} (401 Unauthorized)")
        if _says(reason, "403"):
            return AccessDenied(f"{where} refuses: this user may not see it (403 Forbidden)")
        if _says(reason, "404"):
            return SourceError(f"{where} has no stream at this path (404 Not Found): look it up in the camera's manual")
        if url_scheme(self._url) in ("rtsp", "rtsps"):
            return _rtsp_refusal(self._url, where, settings) or error
        return error


def _says(reason: str, *words: str) -> bool:
    return any(word in reason.lower() for word in words)


def _system_authorities() -> str:
    import certifi

    return certifi.where()


def say_unverified(url: str, settings: SourceSettings, description: str) -> None:
    """Say in the log that the certificate of an encrypted stream is not verified, where that is so."""
    if url_scheme(url) in _ENCRYPTED and not settings.tls_verify:
        _log.info("%s: its certificate is not verified; set tls_verify to have it verified", description)


def _is_refused_by_us(url: str, settings: SourceSettings) -> bool:
    """Whether the server's certificate cannot be verified: libav says only that something failed."""
    parts = urlsplit(split_credentials(url)[0])
    if parts.hostname is None:
        return False
    context = ssl.create_default_context(cafile=settings.tls_ca or _system_authorities())
    where = parts.hostname, parts.port or _ENCRYPTED.get(parts.scheme.lower(), 443)
    try:
        with (
            socket.create_connection(where, settings.open_timeout_s) as line,
            context.wrap_socket(line, server_hostname=parts.hostname),
        ):
            return False
    except ssl.SSLCertVerificationError:
        return True
    except OSError:
        return False


def require_host(url: str, description: str) -> None:
    """Raise `SourceError` where the host's name is not known, before libav says only that something failed."""
    host = urlsplit(split_credentials(url)[0]).hostname
    if host is None:
        return
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        raise SourceError(f"{description}: there is no host {host}; check the name, or the network's DNS") from None


def _described(url: str, settings: SourceSettings) -> str:
    """Return how an RTSP server answers whoever gives no password. Raises `OSError`."""
    plain = split_credentials(url)[0]
    parts, within_s = urlsplit(plain), min(5.0, settings.open_timeout_s)
    request = f"DESCRIBE {plain} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\nUser-Agent: taintwatch\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 554), within_s) as line:
        line.settimeout(within_s)
        line.sendall(request.encode())
        return line.recv(2000).decode("latin-1")


def _asks_for_sha256_alone(url: str, settings: SourceSettings) -> bool:
    """Whether an RTSP server takes no digest but those that libav does not speak."""
    if url_scheme(url) != "rtsp":
        return False
    try:
        answer = _described(url, settings).lower()
    except OSError:
        return False
    challenges = [line for line in answer.split("\r\n") if line.startswith("www-authenticate:")]
    return bool(challenges) and all("digest" in line and "sha-" in line for line in challenges)


def _rtsp_refusal(url: str, description: str, settings: SourceSettings) -> SourceError | None:
    """Ask an RTSP server what is there, and return what its answer means; None where it says nothing of use.

    libav tells of an answer only that it was none of those that it likes ("Server returned 4XX").
    """
    parts = urlsplit(url)
    if parts.scheme.lower() != "rtsp" or parts.hostname is None:
        return None
    try:
        first = _described(url, settings).partition("\r\n")[0]
    except ConnectionRefusedError:
        return SourceError(f"{description} refuses the connection: is its RTSP server switched on, and on this port?")
    except OSError:
        return None
    words = first.split(" ", 2)
    if not first.startswith("RTSP/") or len(words) < 2:
        return SourceError(f"{description} answers, but not in RTSP: check the port")
    if words[1] == "453":
        return SourceError(f"{description} has no bandwidth left for another client (453): end one, or allow more")
    if words[1] == "200" and settings.transport == "tcp":
        return SourceError(
            f'{description} was found but gave no stream over TCP: set transport = "udp" (or "auto") where it sends '
            "over UDP only"
        )
    if words[1][0] in "45" and words[1] != "401":
        return SourceError(f"{description} refuses: {' '.join(words[1:])}")
    return None
