"""What the service manager is told, on a real notification socket."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from taintwatch.service_manager import LONGEST_STATUS, Notifier, Supervision, supervision
from taintwatch_models.errors import UsageError
from tests.daemon.notify_socket import NotifySocket


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path / "notify") as running:
        yield running


@pytest.fixture
def notifier(manager: NotifySocket) -> Iterator[Notifier]:
    made = Notifier(manager.address, monotonic_ns=lambda: 7_654_321_000)
    yield made
    made.close()


def test_each_message_is_one_datagram_as_sd_notify_wants_it(manager: NotifySocket, notifier: Notifier) -> None:
    notifier.extend(15.0)
    notifier.ready("connecting")
    notifier.alive()
    notifier.reloading()
    notifier.status("2 of 2 cameras running")
    notifier.stopping()
    assert manager.waiting() == [
        {"EXTEND_TIMEOUT_USEC": "15000000"},
        {"READY": "1", "STATUS": "connecting"},
        {"WATCHDOG": "1"},
        {"RELOADING": "1", "MONOTONIC_USEC": "7654321", "STATUS": "reloading"},
        {"STATUS": "2 of 2 cameras running"},
        {"STOPPING": "1", "STATUS": "stopping"},
    ]


def test_a_status_cannot_smuggle_in_another_assignment(manager: NotifySocket, notifier: Notifier) -> None:
    notifier.status("lost\nWATCHDOG=1\r\nREADY=1")
    assert manager.next() == {"STATUS": "lost WATCHDOG=1 READY=1"}


def test_a_status_of_any_length_and_content_arrives_cut(manager: NotifySocket, notifier: Notifier) -> None:
    notifier.status("x" * 100_000)
    message = manager.next()
    assert message is not None
    assert message["STATUS"] == "x" * LONGEST_STATUS


def test_an_abstract_address_works_as_well() -> None:
    name = f"taintwatch-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        receiver.settimeout(30)
        notifier = Notifier(f"@{name}")
        notifier.alive()
        assert receiver.recv(100) == b"WATCHDOG=1"
        notifier.close()


def test_without_a_service_manager_nothing_happens() -> None:
    notifier = Notifier(None)
    notifier.ready("ready")
    notifier.close()


def test_a_manager_that_does_not_read_never_makes_anybody_wait(manager: NotifySocket, notifier: Notifier) -> None:
    for _ in range(10_000):
        notifier.status("full")
    assert manager.waiting()


def test_a_manager_that_is_gone_is_told_in_the_log_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    with caplog.at_level(logging.WARNING, "taintwatch"):
        for _ in range(3):
            notifier.alive()
    notifier.close()
    assert len(caplog.records) == 1


def test_what_the_manager_wants_is_taken_out_of_the_environment() -> None:
    environment = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42", "HOME": "/"}
    assert supervision(environment, 42) == Supervision("/run/notify", 30.0)
    assert environment == {"HOME": "/"}


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    environment = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "41"}
    assert supervision(environment, 42) == Supervision(None, None)


@pytest.mark.parametrize(
    "environment", [{"NOTIFY_SOCKET": "vsock:2:1234"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}]
)
def test_what_no_service_manager_writes_is_an_error(environment: dict[str, str]) -> None:
    (name,) = environment
    with pytest.raises(UsageError, match=name):
        supervision(dict(environment), 1)
