"""Network streams, against a real server on loopback."""

from __future__ import annotations

import http.server
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.camera_status import CameraState
from taintwatch.cameras.pacing import Backoff
from taintwatch.sources.factory import open_source
from taintwatch.sources.http_camera import HttpSource
from taintwatch.sources.source import SourceSettings
from taintwatch_models.errors import BadFrame, SourceError

SECRET = "hunter2"  # noqa: S105 - what must never be seen


def jpeg(width: int = 64, height: int = 48, grey: int = 128) -> bytes:
    ok, data = cv2.imencode(".jpg", np.full((height, width, 3), grey, np.uint8))
    assert ok
    return bytes(data.tobytes())


class MjpegServer:
    """Serves the pictures over and over as multipart/x-mixed-replace, until it is killed.

    After `limit` pictures it hangs up; after `silent_after` it goes on holding the line and says nothing.
    """

    def __init__(
        self, pictures: list[bytes], *, port: int = 0, limit: int | None = None, silent_after: int | None = None
    ) -> None:
        self._killed = threading.Event()
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", port), self._handler(pictures, limit, silent_after)
        )
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def url(self) -> str:
        return f"http://admin:{SECRET}@127.0.0.1:{self.port}/video.mjpg?token={SECRET}"

    def kill(self) -> None:
        self._killed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(
        self, pictures: list[bytes], limit: int | None, silent_after: int | None
    ) -> type[http.server.BaseHTTPRequestHandler]:
        killed = self._killed

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if "Authorization" not in self.headers:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                sent = 0
                while not killed.is_set() and (limit is None or sent < limit):
                    data = pictures[sent % len(pictures)]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + data + b"\r\n")
                    except OSError:
                        return
                    sent += 1
                    killed.wait(None if sent == silent_after else 0.01)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    running = MjpegServer([jpeg()])
    yield running
    running.kill()


@pytest.fixture
def black_hole() -> Iterator[socket.socket]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30.0)
        yield listener


def read_many(source: HttpSource, count: int) -> None:
    for _ in range(count):
        source.read()


def bad_pictures(source: HttpSource, now: list[float]) -> int:
    """Read one picture; where it is a bad one, a second has passed."""
    try:
        source.read()
    except BadFrame:
        now[0] += 1.0
        return 1
    return 0


def a_camera(url: str) -> CameraSet:
    source = HttpSource(url, SourceSettings(open_timeout_s=1.0, read_timeout_s=0.5))
    return CameraSet([Camera("gate", source, backoff=Backoff(first_s=0.02, cap_s=0.05))])


def wait_for_frames(cameras: CameraSet, count: int) -> int:
    got, give_up = 0, time.monotonic() + 30.0
    while got < count and time.monotonic() < give_up:
        got += len(cameras.next_batch(4, 0.2))
    return got


def wait_for_state(cameras: CameraSet, state: CameraState) -> None:
    give_up = time.monotonic() + 30.0
    while cameras.statuses()[0].state is not state:
        assert time.monotonic() < give_up, cameras.statuses()
        cameras.next_batch(4, 0.05)


def test_an_mjpeg_stream_gives_its_pictures(server: MjpegServer) -> None:
    source = HttpSource(server.url())
    source.open()
    try:
        grabs = [source.read() for _ in range(5)]
    finally:
        source.close()
    for grab in grabs:
        assert grab is not None
        assert grab.image.shape == (48, 64, 3)
        assert abs(int(grab.image[24, 32, 0]) - 128) <= 3


def test_a_picture_of_another_size_is_given_in_its_own_size() -> None:
    server = MjpegServer([jpeg(64, 48)] * 30 + [jpeg(96, 80)] * 30)
    source = HttpSource(server.url())
    try:
        source.open()
        shapes = set()
        for _ in range(80):
            grab = source.read()
            assert grab is not None
            shapes.add(grab.image.shape)
    finally:
        source.close()
        server.kill()
    assert shapes == {(48, 64, 3), (80, 96, 3)}


def test_a_stream_that_ends_is_an_error_because_a_camera_never_ends() -> None:
    server = MjpegServer([jpeg()], limit=40)
    source = HttpSource(server.url())
    try:
        source.open()
        with pytest.raises(SourceError, match=r"ended|stopped giving"):
            read_many(source, 100)
    finally:
        source.close()
        server.kill()


def test_a_camera_comes_back_after_its_server_was_killed_and_started_again() -> None:
    server = MjpegServer([jpeg()])
    cameras = a_camera(server.url())
    cameras.start()
    try:
        assert wait_for_frames(cameras, 3) >= 3
        server.kill()
        wait_for_state(cameras, CameraState.LOST)
        server = MjpegServer([jpeg(grey=30)], port=server.port)
        assert wait_for_frames(cameras, 3) >= 3
        status = cameras.statuses()[0]
    finally:
        assert cameras.stop(30.0)
        server.kill()
    assert status.reconnects >= 1
    assert status.reason is not None
    assert SECRET not in str(status)


def test_a_server_that_never_answers_is_given_up_and_tried_again(black_hole: socket.socket) -> None:
    url = f"http://admin:{SECRET}@127.0.0.1:{black_hole.getsockname()[1]}/"
    source = HttpSource(url, SourceSettings(open_timeout_s=0.2, read_timeout_s=0.2))
    with pytest.raises(SourceError, match="did not answer in time") as caught:
        source.open()
    assert caught.value.__context__ is None
    cameras = a_camera(url)
    cameras.start()
    wait_for_state(cameras, CameraState.LOST)
    assert cameras.stop(30.0)


def test_a_stream_that_falls_silent_is_an_error_after_the_read_time_out() -> None:
    server = MjpegServer([jpeg()], silent_after=40)
    source = HttpSource(server.url(), SourceSettings(read_timeout_s=2.0))
    try:
        source.open()
        with pytest.raises(SourceError, match="did not answer in time"):
            read_many(source, 100)
    finally:
        source.close()
        server.kill()


def test_a_stream_of_nothing_but_broken_pictures_is_given_up() -> None:
    server = MjpegServer([jpeg()] * 40 + [b"\xff\xd8 this is no picture \xff\xd9"] * 100_000)
    now = [0.0]
    source = HttpSource(server.url(), SourceSettings(read_timeout_s=30.0), clock=lambda: now[0])
    bad: list[int] = []
    try:
        source.open()
        with pytest.raises(SourceError, match="sends data but no usable picture"):
            bad.extend(bad_pictures(source, now) for _ in itertools.count())
    finally:
        source.close()
        server.kill()
    assert sum(bad) == 31  # one a second: it was given the 30 seconds


def test_a_camera_that_stopped_says_so_within_two_seconds_though_its_read_blocks(black_hole: socket.socket) -> None:
    url = f"http://127.0.0.1:{black_hole.getsockname()[1]}/"
    source = HttpSource(url, SourceSettings(open_timeout_s=4.0, read_timeout_s=4.0))
    cameras = CameraSet([Camera("gate", source)])
    cameras.start()
    with black_hole.accept()[0]:
        assert not cameras.stop(0.1)  # its thread is still inside libav, and is left there
        assert cameras.statuses()[0].state is CameraState.STOPPED
        assert cameras.finished


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtsps", "https"])
def test_no_failure_names_the_password(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    source = open_source(
        f"{scheme}://admin:{SECRET}@127.0.0.1:{port}/live?key={SECRET}", SourceSettings(open_timeout_s=1.0)
    )
    with pytest.raises(SourceError) as caught:
        source.open()
    error: BaseException | None = caught.value
    assert f"{scheme}://127.0.0.1:{port}/live" in str(error)
    while error is not None:
        assert SECRET not in repr(error) + str(error)
        error = error.__cause__ or error.__context__
    assert SECRET not in repr(source) + caplog.text


def test_a_wrong_password_is_named_as_such_without_naming_it(server: MjpegServer) -> None:
    with pytest.raises(SourceError, match=r"401|[Uu]nauthorized"):
        HttpSource(f"http://127.0.0.1:{server.port}/video.mjpg").open()
