"""Cameras that refuse: the sentence says what is wrong and what to do, and never a part of the password."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.sources.servers import DIALECTS, http_server, mjpeg, protected, rtsp_answer, snapshots
from taintwatch.sources.factory import open_source
from taintwatch.sources.source import SourceSettings, grabs_of
from taintwatch_models.errors import AccessDenied, SourceError

QUICK = SourceSettings(open_timeout_s=1.0, read_timeout_s=0.5)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("453 Not Enough Bandwidth", r"no bandwidth left for another client \(453\)"),
        ("404 Not Found", "has no stream at this path"),
        ("503 Service Unavailable", "refuses: 503 Service Unavailable"),
        (None, r"did not answer in time: nothing came within 1 s \(open_timeout_s, read_timeout_s 0.5 s\)"),
    ],
)
def test_an_rtsp_camera_that_refuses_is_told_of_in_its_own_words(answer: str | None, says: str) -> None:
    with rtsp_answer(answer) as url, pytest.raises(SourceError, match=says):
        open_source(url, QUICK).open()


@pytest.mark.parametrize(
    ("answer", "says"), [("401 Unauthorized", "asks for a user"), ("403 Forbidden", "may not see")]
)
def test_a_refused_password_is_an_error_of_its_own(answer: str, says: str) -> None:
    with rtsp_answer(answer) as url, pytest.raises(AccessDenied, match=says):
        open_source(url, QUICK).open()


def test_an_unknown_host_is_named() -> None:
    for scheme in ("rtsp", "http"):
        with pytest.raises(SourceError, match=r"there is no host camera\.invalid; check the name"):
            open_source(f"{scheme}://admin:secret@camera.invalid/live", QUICK).open()


def test_a_closed_port_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for scheme in ("rtsp", "http"):
        with pytest.raises(SourceError, match="refuses the connection: is its"):
            open_source(f"{scheme}://127.0.0.1:{port}/live", QUICK).open()


@pytest.mark.parametrize("scheme", ["basic", "MD5", "SHA-256"])
def test_a_password_is_given_as_the_camera_wants_it(scheme: str) -> None:
    settings = SourceSettings(user="admin", password="p/a#s@s")  # noqa: S106
    with http_server(protected(snapshots(), scheme)) as url:
        source = open_source(url, settings)
        source.open()
        grab = source.read()
        source.close()
        assert grab is not None
        assert grab.image.shape == (480, 640, 3)
        with pytest.raises(AccessDenied, match="user or password is wrong") as caught:
            open_source(url, SourceSettings(user="admin", password="hunter2")).open()  # noqa: S106
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rtsp://admin:hun/ter2@camera.lan/live", "percent-encode it"),
        ("rtsp://admin:hun#ter2@camera.lan/live", "percent-encode it"),
        ("rtsp://admin:12/34@camera.lan/live", "percent-encode it"),
        ("rtps://admin:hunter2@camera.lan/live", "scheme 'rtps'"),
        ("rtsp://camera.lan:70000/live", "there is no port 70000"),
        ("rtsp:///live", "names no host"),
        ("/nowhere/at/all.mp4", "does not exist"),
    ],
)
def test_a_mistake_in_the_address_is_known_without_asking_anybody(
    spec: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: pytest.fail("somebody was asked"))
    with pytest.raises(SourceError, match=says) as caught:
        open_source(spec)
    assert "hun" not in str(caught.value)


@contextmanager
def a_stream(name: str) -> Iterator[str]:
    with http_server(mjpeg(DIALECTS[name])) as url:
        yield url


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_mjpeg_of_every_dialect_gives_its_pictures(name: str) -> None:
    with a_stream(name) as url:
        source = open_source(url, SourceSettings(read_timeout_s=5.0))
        source.open()
        grabs = [grab for grab, _ in zip(grabs_of(source), range(6), strict=False)]
        source.close()
    assert [grab.image.shape for grab in grabs] == [(480, 640, 3)] * 6
