"""What viewers are sent, and that none of them ever costs the pipeline anything."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import cv2
import numpy as np

from taintwatch.records import AlertState
from taintwatch.web.live import LiveState
from taintwatch.web.server import WebServer
from tests.alert_fakes import an_alert
from tests.web_scene import a_status, a_step, ask, records_of, serving, watching, web_config

PATIENCE_S = 30.0


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.005)


def a_board() -> LiveState:
    live = LiveState()
    live.progress(a_status())
    return live


def test_a_viewer_gets_the_newest_picture_with_what_is_drawn_over_it() -> None:
    live = a_board()
    for index in range(5):
        live.observe(a_step(index))
    live.observe(a_step(5, attack=True))
    with serving(web_config(), live) as server, watching(server) as stream:
        told, jpeg = next((told, jpeg) for told, jpeg in records_of(stream) if told["kind"] == "picture")
    assert (told["camera"], told["frame"], told["width"], told["height"]) == ("door", 5, 64, 48)
    assert told["top"][0][0] == "toaster"
    assert told["suspicious"] is True
    assert [row[0] for row in told["points"]] == [0, 1, 2, 3, 4, 5]
    assert told["points"][-1][2:] == [{"tight": [2.0, 0.5, True]}, 1.0, True]
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (48, 64, 3)
    assert abs(int(image[0, 0, 0]) - 200) < 8


def test_wide_pictures_are_made_smaller() -> None:
    live = a_board()
    live.observe(a_step(size=(480, 640)))
    with serving(web_config(width=320), live) as server, watching(server) as stream:
        jpeg = next(jpeg for told, jpeg in records_of(stream) if told["kind"] == "picture")
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (240, 320, 3)


def test_nothing_is_encoded_while_nobody_looks_and_once_however_many_do() -> None:
    live = a_board()
    for index in range(50):
        live.observe(a_step(index))
    with serving(web_config(fps=50), live) as server, ExitStack() as stack:
        assert server.stats().encoded == 0
        streams = [stack.enter_context(watching(server)) for _ in range(5)]
        for stream in streams:
            assert next(told["frame"] for told, _ in records_of(stream) if told["kind"] == "picture") == 49
        assert (server.stats().encoded, server.stats().viewers) == (1, 5)


def test_frames_that_a_viewer_was_not_shown_are_counted() -> None:
    live = a_board()
    live.observe(a_step(0))
    with serving(web_config(fps=50), live) as server, watching(server) as stream:
        frames = (told["frame"] for told, _ in records_of(stream) if told["kind"] == "picture")
        assert next(frames) == 0
        for index in range(1, 5):
            live.observe(a_step(index))
        shown = [next(frames)]
        while shown[-1] < 4:
            shown.append(next(frames))
        stats = server.stats()
    assert stats.skipped == 4 - len(shown)
    assert stats.sent == 1 + len(shown)


def test_every_viewer_hears_of_every_alert_in_order() -> None:
    live = a_board()
    with serving(web_config(fps=50), live) as server, ExitStack() as stack:
        streams = [stack.enter_context(watching(server, "pictures=0")) for _ in range(4)]
        until(lambda: server.stats().viewers == 4)
        for stream in streams:
            next(records_of(stream))  # the status: it listens
        for state in (AlertState.RAISED, AlertState.UPDATED, AlertState.CLEARED):
            live.alert(an_alert(state=state))
        for stream in streams:
            alerts = (told["alert"] for told, _ in records_of(stream) if told["kind"] == "alert")
            assert [next(alerts)["state"] for _ in range(3)] == ["raised", "updated", "cleared"]


def test_more_viewers_than_are_allowed_are_turned_away_and_counted() -> None:
    with serving(web_config(viewers=2), a_board()) as server, watching(server), watching(server):
        until(lambda: server.stats().viewers == 2)
        assert ask(server, "/stream").status == 503
        assert server.stats().refused == 1
        assert ask(server, "/api/about").status == 200


def test_a_viewer_that_leaves_makes_room() -> None:
    with serving(web_config(viewers=1), a_board()) as server:
        with watching(server):
            until(lambda: server.stats().viewers == 1)
        until(lambda: server.stats().viewers == 0)
        with watching(server) as stream:
            assert stream.status == 200


def stuck_viewer(server: WebServer) -> socket.socket:
    """Ask for the stream and never take anything of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(server.address)
    client.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def test_a_stuck_viewer_is_let_go_and_counted_while_others_go_on() -> None:
    live = a_board()
    done = threading.Event()

    def record() -> None:
        rng, index = np.random.default_rng(0), 0
        while not done.is_set():
            step = a_step(index)
            noise = rng.integers(0, 255, (480, 640, 3), np.uint8)  # noise makes large pictures
            live.observe(replace(step, frame=replace(step.frame, image=noise)))
            index += 1
            time.sleep(0.01)

    recording = threading.Thread(target=record)
    recording.start()
    try:
        with serving(web_config(fps=60), live, stuck_s=2.0) as server, watching(server) as good:
            pictures = (told["frame"] for told, _ in records_of(good) if told["kind"] == "picture")
            first = next(pictures)
            with stuck_viewer(server):
                until(lambda: next(pictures) > first and server.stats().dropped == 1)
                until(lambda: server.stats().viewers == 1)
                assert next(pictures) > first
    finally:
        done.set()
        recording.join()


def test_showing_a_step_never_waits_whoever_looks() -> None:
    """With a viewer that takes nothing, the pipeline's side still only leaves a reference."""
    live = a_board()
    with serving(web_config(), live) as server, stuck_viewer(server):
        until(lambda: server.stats().viewers == 1)
        for index in range(2000):
            live.observe(a_step(index))
    newest = live.newest("door")
    assert newest is not None
    assert newest.frame.index == 1999
    assert len(live.points_since("door", 0)) == 600


def test_closing_lets_every_viewer_go() -> None:
    live = a_board()
    with ExitStack() as stack:
        with serving(web_config(), live) as server:
            stream = stack.enter_context(watching(server))
            records = records_of(stream)
            assert next(records)[0]["kind"] == "status"
        assert all(told["kind"] == "beat" for told, _ in records)  # and then it ends
    until(lambda: not any(thread.name == "web" for thread in threading.enumerate()))


def test_a_camera_that_was_taken_away_is_forgotten() -> None:
    live = LiveState()
    for name in ("door", "hall"):
        live.observe(a_step(camera=name))
    live.progress(a_status("hall"))
    assert live.newest("door") is None
    assert live.newest("hall") is not None
