"""Attacks on the sockets of alerts and replay, from real sockets: others notice nothing, and nothing grows."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import zmq

from benchmarks.siege.attacks import FLOOD
from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.guard import MOST_CONNECTIONS, SUBSCRIBER_LIMITS
from taintwatch.alerts.keys import AllowedClients, load_public, make_key_pair
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.replay import Request, decode_answer, encode_request
from taintwatch.alerts.replay_server import ReplayServer
from taintwatch.alerts.security import CurveClient, CurveServer
from taintwatch.alerts.subscriber import Subscriber
from taintwatch.evidence.reader import AlertReader
from taintwatch.evidence.store import AlertStore
from tests.alert_fakes import PATIENCE_S, an_alert, an_identity, is_alert, is_heartbeat, messages_until

ANY_PORT = "tcp://127.0.0.1:*"
GAP_S = 3.0  # that others may notice


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.2) as it:
        yield it


class HonestSubscriber:
    """A subscriber beside the attack: how long nothing came, at the longest."""

    def __init__(self, publisher: Publisher) -> None:
        self.longest_s = 0.0
        self._stopping = threading.Event()
        self._subscriber = Subscriber(publisher.endpoint)
        messages_until(self._subscriber, lambda found: bool(found) and is_heartbeat(found[-1]))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        last = time.monotonic()
        while not self._stopping.is_set():
            if self._subscriber.receive(0.1) is not None:
                last = time.monotonic()
            self.longest_s = max(self.longest_s, time.monotonic() - last)

    def end(self) -> float:
        self._stopping.set()
        self._thread.join()
        self._subscriber.close()
        return self.longest_s


@contextmanager
def honest_subscriber(publisher: Publisher) -> Iterator[None]:
    """Fail where a subscriber was without a heartbeat for longer than others may notice."""
    beside = HonestSubscriber(publisher)
    try:
        yield
    finally:
        longest_s = beside.end()
    assert longest_s < GAP_S


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def until_floods(publisher: Publisher) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not publisher.stats().floods:
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.parametrize("size", [8, 100, 1000])
def test_twenty_thousand_subscriptions_silence_nobody_and_are_cut_off(publisher: Publisher, size: int) -> None:
    before_mb = resident_mb()
    with (
        honest_subscriber(publisher),
        subprocess.Popen([sys.executable, "-c", FLOOD, publisher.endpoint, str(size)]) as attacker,
    ):
        until_floods(publisher)
        time.sleep(1.0)
        attacker.kill()
    assert resident_mb() - before_mb < 50


def test_a_listed_client_with_keys_silences_nobody_either(tmp_path: Path) -> None:
    for name in ("server", "anna"):
        make_key_pair(name, tmp_path)
    AllowedClients(tmp_path / "clients").allow("anna", load_public(tmp_path / "anna.key"))
    security = CurveServer.from_files(tmp_path / "server.key_secret", tmp_path / "clients")
    client = CurveClient(tmp_path / "anna.key_secret", tmp_path / "server.key")
    with (
        Publisher(an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.2, security=security) as publisher,
        zmq.Context() as context,
        context.socket(zmq.XSUB) as attacker,
        Subscriber(publisher.endpoint, security=client) as beside,
    ):
        messages_until(beside, lambda found: bool(found))
        attacker.sndhwm, attacker.linger = 0, 0
        client.configure(attacker, publisher.endpoint)
        attacker.connect(publisher.endpoint)
        for _ in range(5000):
            attacker.send(b"\x01" + os.urandom(100))
        until_floods(publisher)
        began = time.monotonic()
        messages_until(beside, lambda found: len(found) >= 3)
        assert time.monotonic() - began < GAP_S


def test_thousands_of_silent_connections_take_neither_descriptors_nor_places(publisher: Publisher) -> None:
    with ExitStack() as crowd, honest_subscriber(publisher):
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        host, port = parse_endpoint(publisher.endpoint).host, int(parse_endpoint(publisher.endpoint).port)
        for number in range(2000):
            attacker = crowd.enter_context(socket.socket())
            attacker.setblocking(False)
            attacker.connect_ex((host, port))
            if number % 4 == 0:
                time.sleep(0.001)
                try:
                    attacker.send(b"\xff\x00")  # begins to speak, and goes no further
                except OSError:
                    continue
        with Subscriber(publisher.endpoint) as newcomer:
            messages_until(newcomer, lambda found: bool(found) and is_heartbeat(found[-1]))
        assert len(list(Path("/proc/self/fd").iterdir())) - descriptors - 2000 < 3 * MOST_CONNECTIONS + 50


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" + b"\0" * 8 + b"\x7f\x01" + b"\0" * 60,
        b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL" + b"\0" * 48 + b"\x02" + b"\xff" * 8,
        b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL" + b"\0" * 48 + b"\x00\xff" + os.urandom(255) * 40,
        os.urandom(5000),
    ],
)
def test_whatever_is_no_subscriber_is_hung_up_on(publisher: Publisher, said: bytes) -> None:
    parsed = parse_endpoint(publisher.endpoint)
    with socket.create_connection((parsed.host, int(parsed.port)), timeout=PATIENCE_S) as client:
        client.sendall(said)
        try:
            while client.recv(4096):
                pass
        except ConnectionError:
            pass
    with Subscriber(publisher.endpoint) as subscriber:
        messages_until(subscriber, lambda found: bool(found) and is_heartbeat(found[-1]))


def test_a_subscriber_may_ask_for_as_many_topics_as_a_site_has_cameras(publisher: Publisher) -> None:
    cameras = [f"camera-{number:02}-{'x' * 50}" for number in range(100)]
    prefixes = [f"taintwatch/v1/lab/{camera}/alert/" for camera in [*cameras, "door"]]
    assert 2 * len(prefixes) < SUBSCRIBER_LIMITS.frames
    with Subscriber(publisher.endpoint, prefixes) as subscriber:
        time.sleep(0.5)
        publisher.publish_alert(an_alert())
        messages_until(subscriber, lambda found: bool(found) and is_alert(found[-1]))
    assert publisher.stats().floods == 0


def test_no_descriptor_left_revokes_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key_pair("anna", tmp_path)
    make_key_pair("server", tmp_path)
    clients = AllowedClients(tmp_path / "clients")
    clients.allow("anna", load_public(tmp_path / "anna.key"))
    security = CurveServer.from_files(tmp_path / "server.key_secret", tmp_path / "clients")
    before = security.revision()

    def exhausted(*_: object, **__: object) -> Iterator[Path]:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", exhausted)
        assert security.revision() == before
        patched.setattr(Path, "iterdir", exhausted)
        assert security.revision() == before
    shutil.rmtree(tmp_path / "clients")
    assert security.revision() > before


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_of_clients_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients").chmod(mode)
    make_key_pair("server", tmp_path)
    with pytest.raises(Exception, match="can be changed by other users"):
        CurveServer.from_files(tmp_path / "server.key_secret", tmp_path / "clients")


def test_requests_of_those_who_left_keep_nobody_waiting(tmp_path: Path) -> None:
    store, writer = AlertStore(tmp_path / "alerts.db"), MessageWriter(an_identity())
    for number in range(200):
        store.save(writer.write("door", an_alert(event_id=f"e{number}")).message)
    request = Request(1, 1, "taintwatch/v1/lab/door/alert/", "first", 1, 200)
    with ReplayServer(AlertReader(tmp_path / "alerts.db"), ANY_PORT) as server, zmq.Context() as context:
        for _ in range(20):
            with context.socket(zmq.DEALER) as attacker:
                attacker.linger = 200
                attacker.connect(server.endpoint)
                for _ in range(120):
                    attacker.send(encode_request(request))
        with context.socket(zmq.DEALER) as honest:
            honest.linger = 0
            honest.connect(server.endpoint)
            began = time.monotonic()
            honest.send(encode_request(request))
            assert honest.poll(round(PATIENCE_S * 1000))
            assert len(decode_answer(honest.recv_multipart()).messages) > 0
            assert time.monotonic() - began < 4.0
        store.close()
