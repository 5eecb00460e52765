"""From the configuration to the outlets that notify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from taintwatch.config.notify import MqttSection, WebhookSection
from taintwatch.config.sections import Config
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.notify.notifications import Notifications
from taintwatch.notify.outlet import Outlet
from taintwatch.notify.webhook import Webhook
from taintwatch.review.snoozes import Snoozes
from taintwatch.secret_files import read_token
from taintwatch_models.errors import ConfigError

if TYPE_CHECKING:
    from taintwatch.notify.mqtt import MqttSettings

__all__ = ["check_notify", "make_notifications"]

MQTT_WAIT_S = 5.0  # the client itself knows when the broker is back


def make_notifications(config: Config, instance: str) -> Notifications | None:
    """Return what notifies; None where nobody is to be. Raises `ConfigError` for secrets that cannot be read."""
    is_snoozed = _snoozed(config)
    outlets: list[Outlet] = []
    closing: list[Callable[[float], None]] = []
    for number, section in enumerate(config.notify.webhook, 1):
        outlets.append(Outlet(f"webhook {number}", _webhook(section, config.site), is_snoozed=is_snoozed))
    mqtt = config.notify.mqtt
    if mqtt.host is not None:
        from taintwatch.notify.mqtt import MqttSink  # paho only where it is wanted

        sink = MqttSink(_mqtt(mqtt, mqtt.host, config.site), client_id=f"taintwatch-{config.site}-{instance[:8]}")
        outlets.append(Outlet("mqtt", sink, is_snoozed=is_snoozed, longest_wait_s=MQTT_WAIT_S))
        closing.append(sink.close)
    return Notifications(outlets, closing) if outlets else None


def check_notify(config: Config) -> None:
    """Read every secret that notifying needs. Raises `ConfigError`."""
    for section in config.notify.webhook:
        _webhook(section, config.site)
    if config.notify.mqtt.host is not None:
        _password(config.notify.mqtt)
        _check_file(config.notify.mqtt.ca, "notify.mqtt.ca")


def _webhook(section: WebhookSection, site: str) -> Webhook:
    _check_file(section.ca, "notify.webhook.ca")
    secret = None
    if section.secret_file is not None:
        secret = read_token(Path(section.secret_file), "notify.webhook.secret_file").encode()
    return Webhook(section.url, site, frozenset(section.states), secret, section.ca)


def _mqtt(section: MqttSection, host: str, site: str) -> MqttSettings:
    from taintwatch.notify.mqtt import MqttSettings

    return MqttSettings(
        host=host, port=section.port or (8883 if section.tls else 1883), site=site, username=section.username,
        password=_password(section), tls=section.tls, ca=section.ca, prefix=section.prefix,
        discovery=section.discovery if section.discover else None, snapshots=section.snapshots,
    )  # fmt: skip


def _password(section: MqttSection) -> str | None:
    if section.password_file is None:
        return None
    return read_token(Path(section.password_file), "notify.mqtt.password_file", shortest=1)


def _check_file(file: str | None, key: str) -> None:
    if file is not None and not Path(file).is_file():
        raise ConfigError(f"{key} names {file}, which is not there; give a file of PEM certificates.")


def _snoozed(config: Config) -> Callable[[str], bool]:
    """Return whether a camera is snoozed; without an evidence folder nobody can say so."""
    if config.evidence.folder is None:
        return lambda camera: False
    return Snoozes(EvidenceFolder(Path(config.evidence.folder)).snoozes).is_snoozed
