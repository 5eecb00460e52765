"""MQTT: what each camera shows as retained topics, each alert as a message, and Home Assistant's discovery.

Topics below `PREFIX/SITE`: `availability` (the daemon's, `offline` by last will), `CAMERA/availability`, `CAMERA/state`
(JSON, retained), `CAMERA/snapshot` (JPEG, retained) and `CAMERA/alert` (JSON, each record once, not retained).
"""

from __future__ import annotations

import json
import logging
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.evidence.media import PictureError, encode_jpeg, overlay, shrink
from taintwatch.notify.discovery import discovery_of
from taintwatch.notify.outlet import Departure, Item, Notice, Outcome
from taintwatch.notify.webhook import body_of
from taintwatch.records import Alert

__all__ = ["MqttSettings", "MqttSink"]

_log = logging.getLogger(__name__)

KEEPALIVE_S = 30
MOST_QUEUED = 200  # messages that the client holds for a slow broker
SNAPSHOT_WIDTH = 1280
RECONNECT_S = (1, 30)


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Which broker, and what is said there."""

    host: str
    port: int = 1883
    site: str = "site"
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca: str | None = None
    prefix: str = "taintwatch"
    discovery: str | None = "homeassistant"
    """Home Assistant's prefix; None: nothing is said of devices."""
    snapshots: bool = True


class MqttSink:
    """Sends items to one broker. `__call__` and `close` are for its outlet's thread; the client has one of its own."""

    def __init__(self, settings: MqttSettings, *, client_id: str) -> None:
        self._settings = settings
        self._base = f"{settings.prefix}/{settings.site}"
        self._lock = threading.Lock()
        self._retained: dict[str, bytes] = {}
        """What stands at each retained topic: said again after each connection, for the broker may have lost it."""
        self._open: dict[str, dict[str, Alert]] = {}
        self._refused: str | None = None
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.will_set(f"{self._base}/availability", b"offline", qos=1, retain=True)
        if settings.username is not None:
            self._client.username_pw_set(settings.username, settings.password)
        if settings.tls:
            self._client.tls_set_context(ssl.create_default_context(cafile=settings.ca))
        self._client.max_queued_messages_set(MOST_QUEUED)
        self._client.reconnect_delay_set(*RECONNECT_S)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.connect_async(settings.host, settings.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def __call__(self, item: Item) -> Outcome:
        """Publish what an item says; `LATER` while there is no connection."""
        if not self._client.is_connected():
            return Outcome.LATER
        if isinstance(item, Departure):
            return self._depart(item.camera)
        if isinstance(item, CameraStatus):
            return self._tell_status(item)
        return self._tell_alert(item)

    def close(self, timeout_s: float) -> None:
        """Say that the daemon is gone, and disconnect."""
        if self._client.is_connected():
            said = self._client.publish(f"{self._base}/availability", b"offline", qos=1, retain=True)
            if said.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                said.wait_for_publish(timeout_s)
        self._client.disconnect()
        self._client.loop_stop()

    def _tell_status(self, status: CameraStatus) -> Outcome:
        camera, running = status.camera, status.state is CameraState.RUNNING
        topics = {f"{camera}/availability": b"online" if running else b"offline"}
        if f"{self._base}/{camera}/state" not in self._retained:
            topics[f"{camera}/state"] = _state(None)
            if self._settings.discovery is not None:
                self._keep(discovery_of(self._settings.discovery, self._base, self._settings.site, camera))
        return self._keep({f"{self._base}/{topic}": payload for topic, payload in topics.items()})

    def _tell_alert(self, notice: Notice) -> Outcome:
        alert, camera = notice.alert, notice.alert.camera
        standing = self._open.setdefault(camera, {})
        if alert.state.is_end:
            standing.pop(alert.event_id, None)
        else:
            standing[alert.event_id] = alert
        told = self._keep({f"{self._base}/{camera}/state": _state(alert, is_open=bool(standing))})
        if told is not Outcome.SENT:
            return told
        if notice.frame is not None and self._settings.snapshots:
            self._tell_snapshot(notice)
        return self._publish(f"{self._base}/{camera}/alert", body_of(alert, self._settings.site), retain=False)

    def _tell_snapshot(self, notice: Notice) -> None:
        if notice.frame is None:
            return
        try:
            jpeg = encode_jpeg(shrink(overlay(notice.frame.image, notice.alert), SNAPSHOT_WIDTH))
        except PictureError as error:
            _log.error("the snapshot of alert %s was not sent: %s", notice.alert.event_id, error)
            return
        self._keep({f"{self._base}/{notice.alert.camera}/snapshot": jpeg})

    def _depart(self, camera: str) -> Outcome:
        """Take back what is retained of a camera that was taken away: an empty message does that."""
        told = discovery_of(self._settings.discovery or "", self._base, self._settings.site, camera)
        topics = [topic for topic in (*told, *self._retained) if topic in told or f"{self._base}/{camera}/" in topic]
        with self._lock:
            for topic in topics:
                self._retained.pop(topic, None)
        self._open.pop(camera, None)
        outcomes = [self._publish(topic, b"", retain=True) for topic in topics]
        return next((each for each in outcomes if each is not Outcome.SENT), Outcome.SENT)

    def _keep(self, topics: dict[str, bytes]) -> Outcome:
        """Publish retained messages, and again after each connection."""
        with self._lock:
            self._retained |= topics
        outcomes = [self._publish(topic, payload, retain=True) for topic, payload in topics.items()]
        return next((each for each in outcomes if each is not Outcome.SENT), Outcome.SENT)

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> Outcome:
        code = self._client.publish(topic, payload, qos=1, retain=retain).rc
        # Without a connection the client itself holds the message.
        held = code in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN)
        return Outcome.SENT if held else Outcome.LATER

    # What follows is called by the client's thread.

    def _connected(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            if str(reason) != self._refused:
                self._refused = str(reason)
                _log.error("the MQTT broker %s refuses us: %s", self._settings.host, reason)
            return
        self._refused = None
        _log.info("connected to the MQTT broker %s", self._settings.host)
        with self._lock:
            retained = {f"{self._base}/availability": b"online", **self._retained}
        for topic, payload in retained.items():
            client.publish(topic, payload, qos=1, retain=True)

    def _disconnected(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            _log.warning("the MQTT broker %s is away: %s", self._settings.host, reason)


def _state(alert: Alert | None, *, is_open: bool = False) -> bytes:
    """Return what stands at a camera's state: the last alert, and whether one is open."""
    told: dict[str, Any] = {"attack": "ON" if is_open else "OFF"}
    if alert is not None:
        told |= {
            "state": alert.state.value,
            "label": alert.label_name,
            "recovered": alert.recovered_name,
            "score": round(alert.score, 4),
            "threshold": round(alert.threshold, 4),
            "subject": alert.subject,
            "event_id": alert.event_id,
            "raised": datetime.fromtimestamp(alert.raised_wall_ns / 1e9, UTC).isoformat(timespec="seconds"),
        }
    else:
        told |= {"label": None, "score": None}
    return json.dumps(told, ensure_ascii=False).encode()
