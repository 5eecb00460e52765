"""Topics: `taintwatch/v1/<site>/<camera>/<kind>/`, and the names that they are made of."""

from __future__ import annotations

import re
from enum import StrEnum

from taintwatch_models.errors import ConfigError

__all__ = ["DAEMON", "ROOT", "Kind", "check_name", "companion_topics", "topic_of"]

ROOT = "taintwatch/v1/"

DAEMON = "_daemon"
"""Stands in a topic for the daemon itself, where a message concerns no camera; no camera may have this name."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Kind(StrEnum):
    """The kinds of messages."""

    ALERT = "alert"
    STATUS = "status"
    HEARTBEAT = "heartbeat"


def check_name(what: str, name: str) -> str:
    """Return `name` where it may stand in a topic: 1 to 64 of `A-Z a-z 0-9 . _ -`, not only dots.

    `what` ("site", "camera") is for the message of the `ConfigError`.
    """
    if not NAME.fullmatch(name) or not name.strip("."):
        raise ConfigError(
            f"The {what} name {name!r} cannot be used. Take 1 to 64 letters, digits, dots, hyphens and underscores."
        )
    if what == "camera" and name == DAEMON:
        raise ConfigError(f"The camera name '{DAEMON}' is kept for the daemon itself. Take another one.")
    return name


def topic_of(site: str, camera: str, kind: Kind) -> str:
    """Return the topic. It ends with a slash, so that subscribing to camera `a` never matches camera `ab`."""
    return f"{ROOT}{site}/{camera}/{kind.value}/"


def companion_topics(prefix: str) -> tuple[str, ...]:
    """Return the topic prefixes to subscribe to besides `prefix`, so that heartbeats come with what it asks for.

    A prefix that ends within the site or the camera brings the heartbeats along by itself; one that names a kind does
    not.
    """
    parts = prefix.removeprefix(ROOT).split("/")
    names_a_kind = prefix.startswith(ROOT) and len(parts) >= 3 and parts[2] != ""
    if not names_a_kind or topic_of(parts[0], parts[1], Kind.HEARTBEAT).startswith(prefix):
        return ()
    return (topic_of(parts[0], parts[1], Kind.HEARTBEAT),)
