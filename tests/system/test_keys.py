"""Keys between processes: a daemon, a client on its list, and a stranger."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from taintwatch.alerts.keys import AllowedClients, load_public, load_secret, make_key_pair
from taintwatch.alerts.link import Refused
from taintwatch.alerts.messages import Message
from taintwatch.alerts.security import CurveClient
from taintwatch.alerts.subscriber import Subscriber
from tests.system.program import PATIENCE_S, finish, start, taintwatch
from tests.tiny_model import footage, write_model, write_video

NEVER_S = 2.0  # a test that nothing comes waits so long
CONFIG = """
[model]
path = "{folder}/tiny.onnx"
[[camera]]
name = "gate"
source = "{folder}/attack.mp4"
loop = true
[publish]
bind = "tcp://0.0.0.0:*"
[publish.curve]
key = "server.key_secret"
clients = "clients"
[evidence]
folder = "kept"
min_free_mb = 0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "tiny.onnx")
    write_video(tmp_path / "attack.mp4", footage(40, range(10, 40)))
    (tmp_path / "site.toml").write_text(CONFIG.format(folder=tmp_path))
    for name in ("server", "anna", "stranger"):
        make_key_pair(name, tmp_path)
    AllowedClients(tmp_path / "clients").allow("anna", load_public(tmp_path / "anna.key"))
    return tmp_path


def test_only_a_client_on_the_list_follows_the_alerts(folder: Path) -> None:
    with start("run", "--config", folder / "site.toml", "--json") as process:
        assert process.stdout is not None
        endpoint = json.loads(process.stdout.readline())["endpoint"].replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        heard = {}
        for name, patience_s in (("anna", PATIENCE_S), ("stranger", NEVER_S)):
            keys = CurveClient(folder / f"{name}.key_secret", folder / "server.key")
            with Subscriber(endpoint, security=keys) as subscriber:
                heard[name] = [type(subscriber.receive(PATIENCE_S)), type(subscriber.receive(patience_s))]
        process.send_signal(signal.SIGTERM)
        _, errors = finish(process)
    assert process.returncode == 0, errors
    assert heard == {"anna": [Message, Message], "stranger": [Refused, type(None)]}
    assert "whose key is not allowed was refused" in errors
    secrets = [load_secret(path).secret for path in folder.glob("*.key_secret")]
    assert [secret for secret in secrets if secret in errors] == []


def test_a_daemon_that_others_could_reach_does_not_start_without_keys(folder: Path) -> None:
    text = (folder / "site.toml").read_text()
    (folder / "site.toml").write_text(text[: text.index("[publish.curve]")])
    done = taintwatch("run", "--config", folder / "site.toml")
    assert done.returncode == 78
    assert "no encryption (CURVE) is configured" in done.stderr


def test_a_key_that_others_can_read_stops_the_start_with_the_remedy(folder: Path) -> None:
    (folder / "server.key_secret").chmod(0o644)
    done = taintwatch("run", "--config", folder / "site.toml")
    assert done.returncode == 78
    assert f"Run: chmod 600 {folder}/server.key_secret" in done.stderr
