"""The seam for what protects a socket: one object with one method, called before the socket is bound or connected."""

from __future__ import annotations

from typing import Any, Protocol

import zmq

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch_models.errors import PublishError

__all__ = ["LoopbackOnly", "Security", "Unprotected"]


class Security(Protocol):
    """Anything that makes a socket safe for an endpoint."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Set the socket's options for `endpoint`, or raise `PublishError` where it must not be used."""
        ...


class LoopbackOnly:
    """For a publisher without encryption: lets it bind only where no other machine can listen."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Refuse with `PublishError` a tcp endpoint that other machines may reach. Sets nothing."""
        if not parse_endpoint(endpoint).local:
            raise PublishError(
                f"Alerts cannot be published on {endpoint}: other machines could read them, and no encryption (CURVE) "
                "is configured. Use tcp://127.0.0.1:PORT."
            )


class Unprotected:
    """For a subscriber to a publisher without encryption: sets nothing, refuses nothing."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Do nothing: the publisher decides who may listen."""
