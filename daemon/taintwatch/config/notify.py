"""The tables of the configuration that say who is notified of alerts: an MQTT broker, and webhooks."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from taintwatch.config.fields import Section, Text

__all__ = ["MqttSection", "NotifySection", "WebhookSection"]

Topic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=100)]
State = Literal["raised", "updated", "cleared", "interrupted"]


class MqttSection(Section):
    """An MQTT broker that hears of each alert, with Home Assistant's discovery."""

    host: Text | None = Field(default=None, description="The broker; none: nothing is sent.")
    port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        default=None, description="Its port; none: 1883, with tls 8883."
    )
    tls: bool = Field(default=False, description="Encrypt, and verify the broker's certificate.")
    ca: Text | None = Field(default=None, description="File of certificates to trust in place of the system's.")
    username: Text | None = Field(default=None, description="Name to log in with ...")
    password_file: Text | None = Field(
        default=None, description="... and the file with its password; only its owner may read it."
    )
    prefix: Topic = Field(default="taintwatch", description="What topics begin with: PREFIX/SITE/CAMERA/...")
    discover: bool = Field(default=True, description="Tell Home Assistant of each camera's entities ...")
    discovery: Topic = Field(default="homeassistant", description="... below this prefix.")
    snapshots: bool = Field(default=True, description="Send the picture of each alert, with what was found.")

    @model_validator(mode="after")
    def _fits(self) -> MqttSection:
        if self.password_file is not None and self.username is None:
            raise ValueError("'username' is missing; password_file is for one")
        if self.ca is not None and not self.tls:
            raise ValueError("'ca' is of no use without tls; set tls = true")
        return self


class WebhookSection(Section):
    """An address that each alert is posted to, as JSON. One table for each."""

    url: Text = Field(description="The address, https:// or http://.")
    secret_file: Text | None = Field(
        default=None, description="File with the secret that signs each request (HMAC-SHA256); 16 characters at least."
    )
    states: Annotated[tuple[State, ...], Field(strict=False, min_length=1)] = Field(
        default=("raised", "cleared", "interrupted"), description="What of an alert is posted; there is also updated."
    )
    ca: Text | None = Field(default=None, description="File of certificates to trust in place of the system's.")

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give an http:// or https:// address")
        if parts.username or parts.password:
            raise ValueError("leave user and password out; sign with secret_file")
        return url


class NotifySection(Section):
    """Who is notified of alerts."""

    mqtt: MqttSection = MqttSection()
    webhook: Annotated[tuple[WebhookSection, ...], Field(strict=False)] = Field(
        default=(), description="One table per address."
    )
