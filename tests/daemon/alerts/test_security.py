"""CURVE on real sockets: who is served, who is not, and how a client comes back."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.keys import AllowedClients, load_public, load_secret, make_key_pair
from taintwatch.alerts.link import Refused
from taintwatch.alerts.messages import Message
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.replay_server import ReplayServer
from taintwatch.alerts.security import CurveClient, CurveServer, LoopbackOnly
from taintwatch.alerts.subscriber import Subscriber
from taintwatch_models.errors import ConfigError, PublishError, UsageError
from tests.alert_fakes import an_alert, an_identity

ANY_PORT = "tcp://127.0.0.1:*"
PATIENCE_S = 30.0
NEVER_S = 1.5  # long enough for a connection to be made on a busy machine; a test that nothing comes waits so long


@dataclass(frozen=True)
class Site:
    """The keys of a daemon and of two clients, of whom one is allowed."""

    folder: Path

    @property
    def clients(self) -> AllowedClients:
        return AllowedClients(self.folder / "clients")

    def server(self, name: str = "server") -> CurveServer:
        return CurveServer.from_files(self.folder / f"{name}.key_secret", self.folder / "clients")

    def client(self, name: str) -> CurveClient:
        return CurveClient(self.folder / f"{name}.key_secret", self.folder / "server.key")

    def allow(self, name: str) -> None:
        self.clients.allow(name, load_public(self.folder / f"{name}.key"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name in ("server", "anna", "stranger"):
        make_key_pair(name, tmp_path)
    it = Site(tmp_path)
    it.allow("anna")
    return it


@pytest.fixture
def publisher(site: Site) -> Iterator[Publisher]:
    with Publisher(an_identity(), ANY_PORT, cameras=["door"], heartbeat_s=0.05, security=site.server()) as it:
        yield it


def until(subscriber: Subscriber, wanted: Callable[[object], bool], patience_s: float = PATIENCE_S) -> bool:
    """Whether an event that is wanted comes in time."""
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up:
        event = subscriber.receive(0.1)
        if event is not None and wanted(event):
            return True
    return False


def is_message(event: object) -> bool:
    return isinstance(event, Message)


def is_refused(event: object) -> bool:
    return isinstance(event, Refused)


def test_an_allowed_client_gets_alerts(site: Site, publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, security=site.client("anna")) as subscriber:
        sent = publisher.publish_alert(an_alert())
        assert until(subscriber, lambda event: isinstance(event, Message) and event.body == sent.body)


def test_a_stranger_who_knows_the_servers_public_key_gets_nothing(site: Site, publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, security=site.client("stranger")) as subscriber:
        publisher.publish_alert(an_alert())
        assert until(subscriber, is_refused)
        assert not until(subscriber, is_message, NEVER_S)
    assert "key is not on the daemon's list" in _refusal(site, publisher.endpoint)


def _refusal(site: Site, endpoint: str) -> str:
    with Subscriber(endpoint, security=site.client("stranger")) as subscriber:
        while True:
            event = subscriber.receive(PATIENCE_S)
            assert event is not None
            if isinstance(event, Refused):
                return event.reason


@pytest.mark.parametrize("how", ["no keys at all", "keys of its own, but not the server's"])
def test_whoever_has_not_the_servers_key_gets_nothing(site: Site, publisher: Publisher, how: str) -> None:
    keys = how.startswith("keys")
    security = CurveClient(site.folder / "anna.key_secret", site.folder / "stranger.key") if keys else None
    with Subscriber(publisher.endpoint, security=security) as subscriber:
        publisher.publish_alert(an_alert())
        assert until(subscriber, is_refused)
        assert not until(subscriber, is_message, NEVER_S)


def test_a_raw_socket_with_a_strangers_keys_gets_not_a_byte(site: Site, publisher: Publisher) -> None:
    pair = load_secret(site.folder / "stranger.key_secret")
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.setsockopt(zmq.CURVE_SERVERKEY, load_public(site.folder / "server.key").encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(publisher.endpoint)
        publisher.publish_alert(an_alert())
        assert socket.poll(round(NEVER_S * 1000)) == 0


def test_the_documented_lines_of_plain_pyzmq_hear_alerts(
    site: Site, publisher: Publisher, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "docs" / "security.md").read_text()
    [code] = [each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "zmq.auth" in each]
    monkeypatch.chdir(site.folder)
    for line in code.splitlines():
        assert len(line) <= 120
    said: dict[str, Any] = {}
    publisher.publish_alert(an_alert())  # who joins later is told of what is open
    exec(code.replace("tcp://camera-box:5556", publisher.endpoint), said)  # noqa: S102 (what the documentation says)
    assert json.loads(said["text"])["site"] == "lab"
    said["context"].destroy(0)


def test_without_a_handler_for_its_list_the_server_lets_in_nobody(site: Site) -> None:
    server = site.server()
    with Publisher(an_identity(), ANY_PORT, heartbeat_s=0.05, security=server) as publisher:
        server.release(publisher._context)  # as if the thread that answers for the list had died
        with Subscriber(publisher.endpoint, security=site.client("anna")) as subscriber:
            assert not until(subscriber, is_message, NEVER_S)


def test_a_client_that_is_allowed_later_gets_in_by_itself(site: Site, publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, security=site.client("stranger")) as subscriber:
        assert until(subscriber, is_refused)
        site.allow("stranger")
        assert until(subscriber, is_message)


def test_a_revoked_client_is_served_no_more_and_the_others_go_on(site: Site, publisher: Publisher) -> None:
    site.allow("stranger")
    with (
        Subscriber(publisher.endpoint, security=site.client("stranger")) as revoked,
        Subscriber(publisher.endpoint, security=site.client("anna")) as other,
    ):
        assert until(revoked, is_message)
        assert until(other, is_message)
        site.clients.revoke("stranger")
        assert until(revoked, is_refused)
        while revoked.receive(0) is not None:
            pass
        sent = publisher.publish_alert(an_alert(event_id="after"))
        assert until(other, lambda event: isinstance(event, Message) and event.envelope.event_id == "after")
        assert not until(revoked, is_message, NEVER_S)
        assert sent.envelope.sequence == 1
        assert publisher.stats().alive


def test_when_the_list_cannot_be_read_any_more_nobody_is_served(site: Site, publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, security=site.client("anna")) as subscriber:
        assert until(subscriber, is_message)
        shutil.rmtree(site.folder / "clients")
        assert until(subscriber, is_refused)
        while subscriber.receive(0) is not None:
            pass
        assert not until(subscriber, is_message, NEVER_S)


def test_a_client_comes_back_after_the_daemon_was_restarted_with_another_key(site: Site) -> None:
    with Publisher(an_identity("first"), ANY_PORT, heartbeat_s=0.05, security=site.server()) as first:
        subscriber = Subscriber(first.endpoint, security=site.client("anna"))
        assert until(subscriber, is_message)
    with subscriber:
        make_key_pair("new", site.folder)
        with Publisher(an_identity("second"), first.endpoint, heartbeat_s=0.05, security=site.server("new")):
            assert until(subscriber, is_refused)
            (site.folder / "new.key").replace(site.folder / "server.key")
            assert until(subscriber, lambda event: isinstance(event, Message) and event.envelope.instance == "second")


def test_a_client_goes_on_after_its_own_key_was_changed(site: Site, publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, security=site.client("anna")) as subscriber:
        assert until(subscriber, is_message)
        site.clients.revoke("anna")
        assert until(subscriber, is_refused)
        for suffix in (".key", ".key_secret"):
            (site.folder / f"anna{suffix}").unlink()
        assert until(subscriber, lambda event: isinstance(event, Refused) and "cannot be read" in event.reason)
        make_key_pair("anna", site.folder)
        site.allow("anna")
        assert until(subscriber, is_message)


def test_a_silent_connection_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taintwatch.alerts.link.SILENCE_S", 0.3)
    with zmq.Context() as context, context.socket(zmq.XPUB) as mute:
        mute.linger = 0
        mute.setsockopt(zmq.XPUB_VERBOSE, 1)
        port = mute.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}") as subscriber:
            subscriptions = 0
            while subscriptions < 3:
                assert subscriber.receive(0.05) is None
                while mute.poll(0):
                    subscriptions += mute.recv()[:1] == b"\x01"


def test_heartbeats_that_come_seldom_are_no_silence() -> None:
    with Publisher(an_identity(), ANY_PORT, heartbeat_s=60) as publisher, Subscriber(publisher.endpoint) as subscriber:
        assert until(subscriber, lambda event: isinstance(event, Message) and isinstance(event.body, Heartbeat))
        assert subscriber._link._silence_s == 180


def test_only_with_keys_may_another_machine_reach_it(site: Site) -> None:
    with pytest.raises(PublishError, match=r"no encryption \(CURVE\) is configured"):
        Publisher(an_identity(), "tcp://0.0.0.0:*", security=LoopbackOnly())
    with pytest.raises(PublishError, match=r"no encryption \(CURVE\) is configured"):
        ReplayServer(_NoArchive(), "tcp://0.0.0.0:*", security=LoopbackOnly())
    with Publisher(an_identity(), "tcp://0.0.0.0:*", heartbeat_s=0.05, security=site.server()) as publisher:
        port = publisher.endpoint.rpartition(":")[2]
        with Subscriber(f"tcp://127.0.0.1:{port}", security=site.client("anna")) as subscriber:
            assert until(subscriber, is_message)


class _NoArchive:
    def published(self, topic: str, instance: str, first: int, last: int, limit: int) -> list[str]:
        return []

    def published_since(self, topic: str, instance: str, first: int, before: str, limit: int) -> list[str]:
        return []


def test_a_server_whose_keys_are_not_private_does_not_start(site: Site) -> None:
    (site.folder / "server.key_secret").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        site.server()


def test_watch_wants_both_keys_or_none() -> None:
    from click.testing import CliRunner

    from taintwatch.cli.watch import watch

    result = CliRunner().invoke(watch, ["--key", "a.key_secret"], standalone_mode=False)
    assert isinstance(result.exception, UsageError)
    assert "--server-key" in str(result.exception)


def test_watch_follows_with_keys(site: Site, publisher: Publisher) -> None:
    from click.testing import CliRunner

    from taintwatch.cli.watch import watch

    publisher.publish_alert(an_alert())
    keys = ["--key", str(site.folder / "anna.key_secret"), "--server-key", str(site.folder / "server.key")]
    result = CliRunner().invoke(
        watch,
        ["--connect", publisher.endpoint, "--count", "1", "--timeout", "60", *keys],
        standalone_mode=False,
        catch_exceptions=False,
    )
    assert result.exception is None
    assert "door  raised   toaster" in result.output
