"""MQTT against a real broker: states that stay, availability by last will, Home Assistant's discovery, coming back."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from taintwatch.cameras.camera_status import CameraState
from taintwatch.config.load import parse_config
from taintwatch.notify.discovery import discovery_of
from taintwatch.notify.mqtt import MqttSettings, MqttSink
from taintwatch.notify.notifications import Notifications
from taintwatch.notify.outlet import Departure, Notice, Outlet
from taintwatch.records import AlertState
from taintwatch_models.errors import ConfigError
from tests.alert_fakes import a_status, an_alert
from tests.daemon.notify.test_outlet import a_notice, until
from tests.fakes import a_frame
from tests.ports import free_port

BROKER = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(BROKER is None, reason="mosquitto is not installed")


@contextmanager
def broker(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run mosquitto on loopback; it keeps nothing on the disk."""
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    process = subprocess.Popen([str(BROKER), "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class Reader:
    """What stands at each topic, and all that came."""

    topics: dict[str, bytes] = field(default_factory=dict)
    came: list[tuple[str, bytes]] = field(default_factory=list)

    def state(self, camera: str = "door") -> dict[str, Any]:
        return dict(json.loads(self.topics.get(f"taintwatch/gate/{camera}/state", b"{}")))

    def at(self, topic: str) -> bytes | None:
        return self.topics.get(topic)


@contextmanager
def reading(port: int) -> Iterator[Reader]:
    reader, client = Reader(), Client(CallbackAPIVersion.VERSION2)

    def on_message(client: Client, data: Any, message: MQTTMessage) -> None:
        reader.topics[message.topic] = bytes(message.payload)
        reader.came.append((message.topic, bytes(message.payload)))

    client.on_message = on_message
    client.on_connect = lambda client, *rest: client.subscribe("#", qos=1)
    connected(client, port)
    client.loop_start()
    try:
        yield reader
    finally:
        client.disconnect()
        client.loop_stop()


def connected(client: Client, port: int) -> None:
    for _ in range(300):
        try:
            client.connect("127.0.0.1", port)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the broker never listened")


@contextmanager
def sending(port: int) -> Iterator[tuple[Outlet, MqttSink]]:
    sink = MqttSink(MqttSettings("127.0.0.1", port, "gate"), client_id="test")
    outlet = Outlet("mqtt", sink, first_wait_s=0.05, longest_wait_s=0.2)
    try:
        yield outlet, sink
    finally:
        outlet.close(2)
        sink.close(2)


def test_a_camera_its_alert_and_the_end_of_both(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), reading(port) as reader:
        with sending(port) as (outlet, _):
            outlet.offer(a_status("door"))
            until(lambda: reader.state().get("attack") == "OFF")
            assert reader.at("taintwatch/gate/availability") == b"online"
            until(lambda: reader.at("taintwatch/gate/door/availability") == b"online")
            outlet.offer(Notice(an_alert("door", "e1"), a_frame()))
            until(lambda: reader.state().get("attack") == "ON")
            assert (reader.state()["label"], reader.state()["event_id"]) == ("toaster", "e1")
            until(lambda: "taintwatch/gate/door/alert" in reader.topics)
            assert json.loads(reader.topics["taintwatch/gate/door/alert"])["body"]["state"] == "raised"
            snapshot = cv2.imdecode(np.frombuffer(reader.topics["taintwatch/gate/door/snapshot"], np.uint8), 1)
            assert snapshot is not None
            assert snapshot.shape == (16, 24, 3)
            outlet.offer(a_notice("e1", AlertState.CLEARED))
            until(lambda: reader.state().get("attack") == "OFF")
            outlet.offer(replace(a_status("door"), state=CameraState.LOST))
            until(lambda: reader.at("taintwatch/gate/door/availability") == b"offline")
            outlet.offer(Departure("door"))
            until(lambda: reader.at("taintwatch/gate/door/state") == b"")
        until(lambda: reader.at("taintwatch/gate/availability") == b"offline")
        with reading(port) as later:  # what was taken back is not told to who comes later
            until(lambda: later.at("taintwatch/gate/availability") == b"offline")
            assert not any("door" in topic for topic in later.topics)


def test_home_assistant_is_told_of_each_entity_and_what_it_reads_is_there(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), sending(port) as (outlet, _):
        outlet.offer(a_status("door"))
        outlet.offer(Notice(an_alert("door", "e1"), a_frame()))
        until(lambda: outlet.stats().sent == 1)
        with reading(port) as reader:  # retained: whoever comes later is told
            until(lambda: sum(topic.startswith("homeassistant/") for topic in reader.topics) == 4)
            until(lambda: "taintwatch/gate/door/snapshot" in reader.topics)
            configs = {topic: json.loads(payload) for topic, payload in reader.topics.items() if "home" in topic}
            assert {topic.split("/")[1] for topic in configs} == {"binary_sensor", "sensor", "image"}
            assert len({config["unique_id"] for config in configs.values()}) == 4
            for config in configs.values():
                named = [config.get("state_topic"), config.get("image_topic")]
                named += [each["topic"] for each in config["availability"]]
                assert {topic for topic in named if topic} <= set(reader.topics)
            assert reader.state()["attack"] == "ON"


def test_a_broker_that_was_away_is_told_all_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    with sending(port) as (outlet, _):
        outlet.offer(a_status("door"))
        outlet.offer(a_notice("e1"))
        until(lambda: outlet.stats().failures >= 1)
        with broker(tmp_path, port), reading(port) as reader:
            until(lambda: reader.state().get("attack") == "ON")
        outlet.offer(a_notice("e1", AlertState.CLEARED))
        outlet.offer(a_notice("e2"))
        with broker(tmp_path, port), reading(port) as reader:  # it has forgotten everything
            until(lambda: reader.state().get("event_id") == "e2")
            until(lambda: reader.at("taintwatch/gate/availability") == b"online")
            until(lambda: any(topic.startswith("homeassistant/") for topic in reader.topics))


def test_a_daemon_that_dies_is_said_to_be_offline_by_its_last_will(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), reading(port) as reader:
        sink = MqttSink(MqttSettings("127.0.0.1", port, "gate"), client_id="test")
        until(lambda: reader.at("taintwatch/gate/availability") == b"online")
        socket = sink._client.socket()
        assert socket is not None
        sink._client.loop_stop()
        socket.close()  # as the kernel does for a process that was killed
        until(lambda: reader.at("taintwatch/gate/availability") == b"offline")


def test_the_pipeline_never_waits_for_a_broker_that_is_away() -> None:
    with sending(free_port()) as (outlet, _):
        notifications = Notifications([outlet])
        begun = time.monotonic()
        for number in range(2000):
            notifications.alert(an_alert("door", f"e{number}"))
        assert time.monotonic() - begun < 5
        assert outlet.stats().dropped > 0


def test_names_that_home_assistant_cannot_take_stay_apart() -> None:
    def ids(camera: str) -> set[str]:
        found = discovery_of("homeassistant", "taintwatch/gate", "gate", camera)
        return {json.loads(payload)["unique_id"] for payload in found.values()}

    assert not ids("a.b") & ids("a_b")
    assert all("." not in each for each in ids("a.b"))


@pytest.mark.parametrize("text", ['host = "h"\npassword_file = "p"', 'host = "h"\nca = "c"', 'host = "h"\nport = 0',
                                  'host = "h"\nprefix = "a/#"', 'host = "h"\nprefix = "/a"'])  # fmt: skip
def test_settings_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(f"[notify.mqtt]\n{text}\n", "t.toml")
