"""Killed at any moment (SIGKILL), it loses no published alert and corrupts nothing."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import pytest

from taintwatch.alerts.gaps import Missed
from taintwatch.alerts.messages import Message
from taintwatch.alerts.subscriber import Event, Malformed, Subscriber
from taintwatch.records import Alert
from tests.ports import free_port
from tests.system.program import finish, records, start, taintwatch
from tests.tiny_model import footage, write_model, write_video

ROUNDS = 4
PATIENCE_S = 100.0

Name = tuple[str, int]
"""An instance and a sequence: what names a message."""


class Listener:
    """A subscriber in a thread: keeps every alert that it gets, and everything that is amiss."""

    def __init__(self, endpoint: str) -> None:
        self.got: dict[Name, Alert] = {}
        self.amiss: list[Event] = []
        self._stopping = threading.Event()
        self._endpoint = endpoint
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with Subscriber(self._endpoint) as subscriber:
            while not self._stopping.is_set():
                event = subscriber.receive(0.1)
                if isinstance(event, Message) and isinstance(event.body, Alert):
                    self.got[event.envelope.instance, event.envelope.sequence] = event.body
                elif isinstance(event, Missed | Malformed):
                    self.amiss.append(event)


@contextmanager
def storm(folder: Path, publish: str, replay: str, repository: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.system.alert_storm", str(folder), publish, replay, *options]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def stored(folder: Path) -> dict[Name, dict[str, Any]]:
    with closing(sqlite3.connect(folder / "alerts.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT instance, sequence, json FROM records ORDER BY id").fetchall()
    return {(instance, sequence): json.loads(text)["body"] for instance, sequence, text in rows}


def check_media(folder: Path) -> int:
    """Every picture and clip that is there is whole; return how many there are."""
    for path in folder.glob("media/*/*.jpg"):
        assert cv2.imread(str(path)) is not None, path
    for path in folder.glob("media/*/*.mp4"):
        with av.open(str(path)) as container:
            assert list(container.decode(video=0)), path
    assert not list(folder.glob("media/*/*.part"))
    return len(list(folder.glob("media/*/*")))


def wait_for_alerts(listener: Listener, more: int) -> None:
    give_up = time.monotonic() + PATIENCE_S
    goal = len(listener.got) + more
    while len(listener.got) < goal:
        assert time.monotonic() < give_up, "no alerts came"
        time.sleep(0.01)


def test_whatever_was_published_is_stored_and_what_was_stored_arrives(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taintwatch.alerts.replay_client.ATTEMPTS", 100)  # however long it takes to start again
    folder = tmp_path / "evidence"
    publish, replay = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    moments = random.Random(20261120)  # noqa: S311
    with Listener(publish) as listener:
        for _ in range(ROUNDS):
            with storm(folder, publish, replay, repository) as process:
                wait_for_alerts(listener, 1)
                time.sleep(moments.uniform(0, 0.4))
                process.kill()
                process.wait(PATIENCE_S)
        with storm(folder, publish, replay, repository, "quiet") as process:
            kept = stored(folder)
            wait_until(lambda: not unseen(kept, listener))
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
    assert set(listener.got) <= set(kept)  # nothing was published that is not stored
    for name, alert in listener.got.items():
        assert (kept[name]["event_id"], kept[name]["state"]) == (alert.event_id, alert.state.value)
    assert listener.amiss == []
    assert len({instance for instance, _ in kept}) >= ROUNDS
    assert set(ends(kept).values()) <= {"cleared", "interrupted"}
    assert check_media(folder) > 0


def unseen(kept: dict[Name, dict[str, Any]], listener: Listener) -> set[Name]:
    """What is stored but never came, but for what the first start published before anybody listened."""
    first = next(iter(kept))[0]
    heard = min(sequence for instance, sequence in listener.got if instance == first)
    return {name for name in set(kept) - set(listener.got) if name[0] != first or name[1] > heard}


def ends(kept: dict[Name, dict[str, Any]]) -> dict[str, str]:
    """The last state of each alert."""
    return {body["event_id"]: body["state"] for body in kept.values()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clean frame in forty: once raised, the alert stays open for as long as the video is repeated."""
    return write_video(tmp_path_factory.mktemp("video") / "attack.mp4", footage(40, range(1, 40)))


def test_the_daemon_itself_closes_what_was_left_open_and_its_evidence_can_be_taken_along(
    tmp_path: Path, model: Path, video: Path
) -> None:
    config = tmp_path / "site.toml"
    config.write_text(
        f'[model]\npath = "{model}"\n[[camera]]\nname = "gate"\nsource = "{video}"\nloop = true\n'
        '[publish]\nbind = "tcp://127.0.0.1:*"\n[evidence]\nfolder = "kept"\nmin_free_mb = 0\nclip_after_s = 0.2\n'
    )
    with start("run", "--config", config, "--json") as process:
        raised = wait_for(process, "raised")
        wait_until(lambda: list((tmp_path / "kept").glob("media/*/clip.mp4")))
        process.kill()
        process.wait(PATIENCE_S)
    with start("run", "--config", config, "--json") as process:
        interrupted = wait_for(process, "interrupted")
        assert interrupted["event_id"] == raised["event_id"]
        wait_for(process, "raised")
        process.send_signal(signal.SIGTERM)
        _, errors = finish(process)
    assert process.returncode == 0, errors
    folder = tmp_path / "kept"
    assert set(ends(stored(folder)).values()) <= {"cleared", "interrupted"}
    listed = records(taintwatch("alerts", "list", "--folder", folder, "--json").stdout)
    assert [alert["state"] for alert in listed if alert["event_id"] == raised["event_id"]] == ["interrupted"]
    done = taintwatch("alerts", "export", tmp_path / "out", raised["event_id"][:8], "--config", config)
    assert done.returncode == 0, done.stderr
    exported = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    pictures = (f"{raised['event_id']}/{name}" for name in ("clip.mp4", "frame.jpg", "overlay.jpg"))
    assert exported == sorted(["alerts.json", *pictures])


def wait_until(condition: Any) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.02)


def wait_for(process: subprocess.Popen[str], state: str) -> dict[str, Any]:
    """Read the program's output up to the first alert in this state."""
    assert process.stdout is not None
    for line in process.stdout:
        record: dict[str, Any] = json.loads(line)
        if record.get("state") == state:
            return record
    raise AssertionError(f"the program ended without a {state} alert: {process.communicate()[1]}")
