"""Cameras over HTTP: MJPEG in any of its dialects, snapshots that are asked for again and again, and all else to libav.

The pictures of an MJPEG stream are found by the JPEG's own markers, not by boundaries and lengths, which common devices
leave out or get wrong; so whether each of them is whole is known, too.
"""

from __future__ import annotations

from urllib.parse import urljoin

import numpy as np
import requests
import urllib3
from numpy.typing import NDArray
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from taintwatch.sources.network import NetworkSource, StreamSource, require_host, say_unverified
from taintwatch.sources.source import Grab, NotYet
from taintwatch.sources.url import describe_url, foreign_part, is_same_camera, split_credentials
from taintwatch_models.errors import AccessDenied, BadFrame, SourceError
from taintwatch_models.image_check import MOST_BYTES, JpegReader
from taintwatch_models.image_file import decode_image

__all__ = ["HttpSource"]

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # said once a connection, in our own words

CHUNK = 1 << 16
MOST_REDIRECTS = 5
LARGEST_PLAYLIST = 1_000_000  # bytes
_TEXT = frozenset(b"\t\r\n") | frozenset(range(0x20, 0x7F))
SNIFFED = 4096  # bytes of a body without a known type in which the first JPEG must begin


class HttpSource(NetworkSource):
    """A camera at an http:// or https:// address; what it gives decides how it is read."""

    _session: requests.Session | None = None
    _body: requests.Response | None = None
    """Of an MJPEG stream that is open."""
    _reader: JpegReader
    _stream: StreamSource | None = None
    """Whatever is neither MJPEG nor a snapshot."""
    _first: bytes | None = None
    """The snapshot that came with opening."""
    _known: dict[str, str]
    """Headers by which a server says that its snapshot has not changed."""
    _next_s = 0.0

    def open(self) -> None:
        """Ask for the address and see what it gives. Raises `SourceError` within the time-outs, `AccessDenied`."""
        self.close()
        say_unverified(self._url, self._settings, self.description)
        if self._settings.input_format is not None:
            self._open_stream()
            return
        require_host(self._url, self.description)
        self._session = self._new_session()
        response = self._get(self._session)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._due_by = self._clock() + max(self._settings.open_timeout_s, self._settings.read_timeout_s)
        if kind.startswith("multipart/"):
            self._body = response
        elif kind.startswith("image/"):
            self._first = self._whole(response)
            self._next_s = self._clock()
        elif self._looks_like_jpeg(response, kind):
            self._body = response
        else:
            if "mpegurl" in kind:
                self._refuse_foreign_parts(response)
            response.close()
            self._open_stream()

    def _refuse_foreign_parts(self, response: requests.Response) -> None:
        text = self._more(response)
        while len(text) < LARGEST_PLAYLIST and (more := self._more(response)):
            text += more
        if part := foreign_part(text.decode("utf-8", "replace"), split_credentials(self._url)[0]):
            raise SourceError(f"{self.description}: its playlist names something elsewhere, {describe_url(part)}")

    def read(self) -> Grab | None:
        """Return the next picture. Raises `SourceError` where none came in time, `BadFrame` for one that is damaged."""
        if self._stream is not None:
            return self._stream.read()
        if self._body is not None:
            return Grab(self._decoded(self._next_picture(self._body)))
        if self._session is not None:
            return Grab(self._decoded(self._snapshot(self._session)))
        raise SourceError(f"{self.description} is not open")

    def close(self) -> None:
        """Hang up."""
        if self._stream is not None:
            self._stream.close()
        if self._body is not None:
            self._body.close()
        if self._session is not None:
            self._session.close()
        self._session = self._body = self._stream = self._first = None
        self._reader, self._known = JpegReader(), {}

    def _open_stream(self) -> None:
        stream = StreamSource(self._url, self._settings, clock=self._clock, sleep=self._sleep)
        stream.open()
        self._stream = stream

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no passwords from ~/.netrc, no proxy between us and a camera
        session.verify = (self._settings.tls_ca or True) if self._settings.tls_verify else False
        session.headers["Accept"] = "*/*"
        return session

    def _get(self, session: requests.Session, headers: dict[str, str] | None = None) -> requests.Response:
        """Return an answer whose body has not been read. Raises `SourceError`, never with the address's secrets."""
        url, credentials = split_credentials(self._url)
        timeouts = (self._settings.open_timeout_s, self._settings.read_timeout_s)
        try:
            response = self._follow(session, url, headers, timeouts)
            if response.status_code == 401 and credentials is not None and session.auth is None:
                session.auth = _authentication(response.headers.get("WWW-Authenticate", ""), credentials)
                response.close()
                response = self._follow(session, url, headers, timeouts)
        except SourceError as caught:
            failure = caught
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as caught:
            failure = SourceError(self._reason(caught))
        else:
            return self._checked(response, credentials is not None)
        raise failure  # outside `except`: the library's own exceptions name the address

    def _follow(
        self, session: requests.Session, url: str, headers: dict[str, str] | None, timeouts: tuple[float, float]
    ) -> requests.Response:
        """Ask, and follow redirects that lead to the camera itself. Raises `SourceError` for one elsewhere."""
        origin = url
        for _ in range(MOST_REDIRECTS):
            response = session.get(url, headers=headers, timeout=timeouts, stream=True, allow_redirects=False)
            target = session.get_redirect_target(response)
            if target is None:
                return response
            response.close()
            url = urljoin(url, target)
            if not is_same_camera(origin, url):
                raise SourceError(f"{self.description} sends us elsewhere, to {describe_url(url)}: name that instead")
        raise requests.TooManyRedirects

    def _checked(self, response: requests.Response, with_credentials: bool) -> requests.Response:
        status = response.status_code
        if status in (200, 206, 304):
            return response
        response.close()
        where = self.description
        if status == 401:
            words = "user or password is wrong" if with_credentials else "it asks for a user and a password"
            raise AccessDenied(f"{where} refuses: {words} (401 Unauthorized)")
        if status == 403:
            raise AccessDenied(f"{where} refuses: this user may not see it (403 Forbidden)")
        if status == 404:
            raise SourceError(f"{where} has nothing at this path (404 Not Found): look it up in the camera's manual")
        raise SourceError(f"{where} answers {status} {response.reason}")

    def _reason(self, error: Exception) -> str:
        """Return what a failure means, without the address's secrets."""
        where, settings = self.description, self._settings
        if isinstance(error, requests.ConnectTimeout):
            return f"{where} did not answer in time: not within {settings.open_timeout_s:g} s (open_timeout_s)"
        if isinstance(error, requests.ReadTimeout | TimeoutError) or "timed out" in str(error).lower():
            return f"{where} did not answer in time: nothing came for {settings.read_timeout_s:g} s (read_timeout_s)"
        if isinstance(error, requests.exceptions.SSLError):
            return f"{where}: its certificate cannot be verified; give tls_ca, or leave out tls_verify"
        if "refused" in str(error).lower():
            return f"{where} refuses the connection: is its web server switched on, and on this port?"
        if isinstance(error, requests.TooManyRedirects):
            return f"{where} sends us round in circles (redirects)"
        return f"{where} cannot be read: the connection broke ({type(error).__name__})"

    def _looks_like_jpeg(self, response: requests.Response, kind: str) -> bool:
        """Whether a body of no known type is a stream of JPEG pictures: the first, behind nothing but text."""
        if kind.startswith(("video/", "audio/")) or "mpegurl" in kind or kind == "application/dash+xml":
            return False
        while len(self._reader.pending) < SNIFFED:
            data = self._more(response)
            if not data:
                break
            self._reader.feed(data)
            head, found, _ = self._reader.pending.partition(b"\xff\xd8\xff")
            if found and all(byte in _TEXT for byte in head):
                return True
        self._reader = JpegReader()
        return False

    def _more(self, response: requests.Response) -> bytes:
        """Return what has come, empty at the end. Raises `SourceError`."""
        try:
            return bytes(response.raw.read1(CHUNK))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as caught:
            failure = SourceError(self._reason(caught))
        raise failure

    def _next_picture(self, response: requests.Response) -> bytes:
        """Return the next picture of an MJPEG stream."""
        while True:
            try:
                picture = self._reader.next()
            except BadFrame as error:
                self._keep_waiting()
                raise BadFrame(f"a picture of {self.description} {error}") from None
            if picture is not None:
                return picture
            self._keep_waiting()
            data = self._more(response)
            if not data:
                raise SourceError(f"{self.description} ended: the other side closed the stream")
            self._reader.feed(data)

    def _keep_waiting(self) -> None:
        # Bytes without a picture, or nothing but broken ones, must not keep us for ever.
        if self._clock() > self._due_by:
            raise SourceError(
                f"{self.description} sends data but no usable picture; is it MJPEG? Else name its input_format"
            )

    def _snapshot(self, session: requests.Session) -> bytes:
        """Return the next snapshot, when it is due. Raises `NotYet` where it has not changed."""
        first, self._first = self._first, None
        if first is not None:
            self._next_s += self._settings.snapshot_interval_s
            return first
        now = self._clock()
        if now < self._next_s:
            self._sleep(min(1.0, self._next_s - now))
            if self._clock() < self._next_s:
                raise NotYet
        self._next_s = max(self._next_s, now) + self._settings.snapshot_interval_s
        response = self._get(session, self._known)
        if response.status_code == 304:
            response.close()
            raise NotYet
        self._due_by = self._clock() + self._settings.read_timeout_s
        return self._whole(response)

    def _whole(self, response: requests.Response) -> bytes:
        """Return a body of one picture. Raises `SourceError`, `BadFrame` for one that is too large."""
        self._known = {
            ours: response.headers[theirs]
            for ours, theirs in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified"))
            if theirs in response.headers
        }
        body = bytearray()
        while data := self._more(response):
            body += data
            if len(body) > MOST_BYTES:
                response.close()
                raise BadFrame(f"a picture of {self.description} has more than {MOST_BYTES >> 20} MiB")
            if self._clock() > self._due_by:
                raise SourceError(
                    f"{self.description} did not give a whole picture within "
                    f"{self._settings.read_timeout_s:g} s (read_timeout_s)"
                )
        return bytes(body)

    def _decoded(self, picture: bytes) -> NDArray[np.uint8]:
        image = decode_image(picture, f"a picture of {self.description}")
        self._due_by = self._clock() + self._settings.read_timeout_s
        return image


def _authentication(challenge: str, credentials: tuple[str, str]) -> AuthBase:
    """Return how to prove who we are: digest (MD5, SHA-256, SHA-512) where it is offered, else basic."""
    if "digest" in challenge.lower():
        return HTTPDigestAuth(*credentials)
    return HTTPBasicAuth(*credentials)
