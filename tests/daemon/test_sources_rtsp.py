"""RTSP, against a small real server on loopback: H.264 over RTP, interleaved in the control connection."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from taintwatch.sources.network import StreamSource
from taintwatch.sources.source import SourceSettings
from taintwatch_models.errors import AccessDenied, SourceError
from tests.rtsp_server import SECRET, RtspServer, running_rtsp_server


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with running_rtsp_server() as running:
        yield running


def read_all(source: StreamSource) -> list[Any]:
    grabs = []
    try:
        while True:
            grabs.append(source.read())
    except SourceError:
        return grabs


def test_an_rtsp_camera_gives_its_pictures_over_tcp_then_an_error_when_it_falls_silent(server: RtspServer) -> None:
    source = StreamSource(server.url(), SourceSettings(read_timeout_s=2.0))
    source.open()
    grabs = read_all(source)
    source.close()
    assert len(grabs) == 30  # the first key frame, read to recognise the stream, is not lost
    means = [float(grab.image.mean()) for grab in grabs]
    assert means == sorted(means)
    assert grabs[0].image.shape == (48, 64, 3)
    setup = next(headers for method, headers in server.requests if method == "SETUP")
    assert "TCP" in setup["transport"]


def test_the_password_reaches_the_camera_and_nobody_else(server: RtspServer) -> None:
    source = StreamSource(server.url(), SourceSettings(read_timeout_s=0.3))
    source.open()
    read_all(source)
    with pytest.raises(SourceError) as caught:
        source.read()
    source.close()
    sent = next(headers["authorization"] for _, headers in server.requests if "authorization" in headers)
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == f"admin:{SECRET}"
    assert SECRET not in str(caught.value) + source.description


def test_a_camera_that_wants_a_password_says_so(server: RtspServer) -> None:
    url = server.url().replace(f"admin:{SECRET}@", "")
    with pytest.raises(SourceError, match=r"401|[Uu]nauthorized"):
        StreamSource(url).open()


def test_a_password_is_proved_by_digest_and_never_sent() -> None:
    with running_rtsp_server(digest="MD5") as server:
        source = StreamSource(server.url(), SourceSettings(read_timeout_s=2.0))
        source.open()
        assert source.read() is not None
        source.close()
        with pytest.raises(AccessDenied, match="user or password is wrong"):
            StreamSource(server.url().replace(SECRET, "wrong")).open()
    assert SECRET not in str(server.requests)
    assert base64.b64encode(f"admin:{SECRET}".encode()).decode() not in str(server.requests)


def test_a_camera_that_takes_a_sha_256_digest_alone_is_named_as_such() -> None:
    """Not as one with a wrong password: that would be looked for in vain."""
    with (
        running_rtsp_server(digest="SHA-256") as server,
        pytest.raises(AccessDenied, match=r"by SHA-256 digest alone, .* allow MD5 digest on the camera as well"),
    ):
        StreamSource(server.url()).open()
