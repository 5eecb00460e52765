"""Webhooks against a real HTTP server: what is posted, how it is signed, and what an ill server does to it."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from taintwatch.config.load import parse_config
from taintwatch.notify.outlet import Notice, Outcome, Outlet
from taintwatch.notify.outlets import make_notifications
from taintwatch.notify.webhook import Webhook
from taintwatch.records import AlertState
from taintwatch_models.errors import ConfigError
from tests.alert_fakes import a_status, an_alert
from tests.daemon.notify.test_outlet import a_notice, until
from tests.ports import free_port

SECRET = b"a secret of the two of us"
STATES = frozenset({"raised", "cleared"})


@dataclass
class Peer:
    """What a server was sent, and what it answers: the statuses one after the other, then 204."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@contextmanager
def listening(*statuses: int, port: int = 0) -> Iterator[Peer]:
    peer = Peer(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            peer.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            status = peer.statuses.pop(0) if peer.statuses else 204
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    peer.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_alert_is_posted_as_json_with_a_signature_that_the_receiver_can_check() -> None:
    with listening() as peer:
        webhook = Webhook(peer.url, "gate", STATES, SECRET, wall_s=lambda: 1_700_000_000.4)
        assert webhook(a_notice("e1")) is Outcome.SENT
        [(headers, body)] = peer.got
    told = json.loads(body)
    assert (told["site"], told["camera"], told["kind"]) == ("gate", "door", "alert")
    assert (told["body"]["event_id"], told["body"]["state"], told["body"]["label_name"]) == ("e1", "raised", "toaster")
    assert headers["X-Taintwatch-Event"] == "e1/raised"
    expected = hmac.new(SECRET, b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers["X-Taintwatch-Timestamp"] == "1700000000"
    assert headers["X-Taintwatch-Signature"] == f"sha256={expected}"


def test_only_the_states_that_are_asked_for_are_posted() -> None:
    with listening() as peer:
        webhook = Webhook(peer.url, "gate", STATES)
        assert webhook(a_notice("e1", AlertState.UPDATED)) is Outcome.LEFT
        assert webhook(a_status("door")) is Outcome.LEFT
        assert peer.got == []


@pytest.mark.parametrize(("status", "outcome"), [(500, Outcome.LATER), (503, Outcome.LATER), (429, Outcome.LATER),
                                                 (400, Outcome.REFUSED), (401, Outcome.REFUSED),
                                                 (302, Outcome.REFUSED)])  # fmt: skip
def test_an_ill_server_is_asked_again_and_a_refusal_is_final(status: int, outcome: Outcome) -> None:
    with listening(status) as peer:
        assert Webhook(peer.url, "gate", STATES)(a_notice()) is outcome
        assert len(peer.got) == 1  # a redirect is not followed


def test_a_server_that_is_away_is_waited_for() -> None:
    port = free_port()
    outlet = Outlet("webhook", Webhook(f"http://127.0.0.1:{port}/hook", "gate", STATES), first_wait_s=0.02)
    outlet.offer(a_notice("e1"))
    until(lambda: outlet.stats().failures >= 1)
    with listening(500, port=port) as peer:
        outlet.offer(a_notice("e1", AlertState.CLEARED))
        until(lambda: outlet.stats().sent == 2)
        states = [json.loads(body)["body"]["state"] for _, body in peer.got]
    assert states == ["raised", "raised", "cleared"]
    outlet.close(1)


def test_an_alert_that_cannot_be_json_harms_nobody() -> None:
    notice = Notice(replace(an_alert("door", "e1"), label_name="\u2603 <script>"))
    with listening() as peer:
        assert Webhook(peer.url, "gate", STATES)(notice) is Outcome.SENT
        assert json.loads(peer.got[0][1])["body"]["label_name"] == "\u2603 <script>"


def test_the_configuration_makes_outlets_and_refuses_open_secrets(tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    secret.chmod(0o644)
    text = f'[[notify.webhook]]\nurl = "http://127.0.0.1:1/x"\nsecret_file = "{secret}"\n'
    with pytest.raises(ConfigError, match="can be read or changed by other users"):
        make_notifications(parse_config(text, "t.toml"), "i")
    secret.chmod(0o600)
    notifications = make_notifications(parse_config(text, "t.toml"), "i")
    assert notifications is not None
    assert [each.name for each in notifications.stats()] == ["webhook 1"]
    notifications.close(0.1)
    assert make_notifications(parse_config("", "t.toml"), "i") is None


@pytest.mark.parametrize("url", ["ftp://host/x", "http://", "https://user:word@host/x", "host/x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(f'[[notify.webhook]]\nurl = "{url}"\n', "t.toml")
