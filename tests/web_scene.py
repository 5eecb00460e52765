"""A page on real sockets beside a live that a test writes to, and small clients of it."""

from __future__ import annotations

import http.client
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.config.load import parse_config
from taintwatch.config.sections import Config
from taintwatch.detection_stack import DetectionStack
from taintwatch.pipeline import Step
from taintwatch.records import Vote
from taintwatch.status import RunStatus
from taintwatch.vote.voter import OVERALL, Voter
from taintwatch.web.live import LiveState
from taintwatch.web.server import WebServer
from taintwatch_models.records import Frame, read_only
from tests.fakes import FakeClassifier, FakeDetector, a_prediction, a_verdict

__all__ = [
    "Answer",
    "a_status",
    "a_step",
    "ask",
    "detection",
    "records_of",
    "serving",
    "watching",
    "web_config",
    "write",
]

TOKEN = "correct-horse-battery"  # noqa: S105 (opens nothing but the tests' own page)
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def detection() -> DetectionStack:
    """Fakes that say `toaster` of bright frames."""
    return DetectionStack(FakeClassifier(), (FakeDetector(),), Voter(), AlertTracker())


def web_config(text: str = "", **web: Any) -> Config:
    """A configuration with a page on a free port of loopback."""
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in ({"bind": "127.0.0.1:0"} | web).items())
    return parse_config(f"{text}\n[web]\n{lines}\n", "test.toml")


def a_step(index: int = 0, camera: str = "door", attack: bool = False, size: tuple[int, int] = (48, 64)) -> Step:
    """What became of one frame; `attack`: suspicious, and the vote raised."""
    image = np.full((*size, 3), 200 if attack else index % 100, np.uint8)
    at_ns = 1_000_000_000 + index * 40_000_000
    frame = Frame(camera, index, read_only(image), at_ns, 1_700_000_000_000_000_000 + at_ns)
    prediction = a_prediction(frame, int(attack))
    votes = (Vote(camera, index, "tight", attack, float(attack)), Vote(camera, index, OVERALL, attack, float(attack)))
    return Step(frame, prediction, (a_verdict(prediction, attack),), votes)


def a_status(*cameras: str) -> RunStatus:
    """How a run of these cameras stands."""
    said = tuple(CameraStatus(name, CameraState.RUNNING, "fake", 1, 0, 0, fps=25.0) for name in cameras or ("door",))
    return RunStatus(1, 1.0, 25.0, 0, 0, 0, 0, 0, 1.0, 2.0, None, said, "CPUExecutionProvider")


@contextmanager
def serving(config: Config, live: LiveState | None = None, **more: Any) -> Iterator[WebServer]:
    """Serve a page until the end."""
    with WebServer(lambda: config, detection, live or LiveState(), **more) as server:
        yield server


def ask(
    server: WebServer,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    host: str | None = None,
    **headers: str,
) -> Answer:
    """Ask for something; underscores in names of headers stand for dashes."""
    connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE_S)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or "{}:{}".format(*server.address))
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def write(server: WebServer, path: str, told: Any) -> Answer:
    """Post something to the page as its own scripts do."""
    csrf = ask(server, "/api/about").json()["csrf"]
    return ask(server, path, "POST", json.dumps(told).encode(), X_Taintwatch_CSRF=csrf)


@contextmanager
def watching(server: WebServer, query: str = "") -> Iterator[http.client.HTTPResponse]:
    """Look at the stream until the end."""
    connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE_S)
    try:
        connection.request("GET", f"/stream?{query}")
        yield connection.getresponse()
    finally:
        connection.close()


def records_of(answer: http.client.HTTPResponse) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield the records of a stream: what is told, and the picture."""
    while head := answer.read(8):
        text, jpeg = struct.unpack(">II", head)
        yield json.loads(answer.read(text)), answer.read(jpeg)
