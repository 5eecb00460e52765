"""The seam for what protects a socket: it is configured before it is bound or connected, and renewed when told to."""

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

    def revision(self) -> int:
        """Return a number that grows when connections made so far must not go on: the socket must be made anew."""
        ...

    def release(self, context: zmq.Context[Any]) -> None:
        """Give back what `configure` set up in this context; before it is ended. May be called again."""
        ...


class LoopbackOnly:
    """For a publisher without encryption: lets it bind only where no other machine can listen."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Refuse with `PublishError` a tcp endpoint that other machines may reach. Sets nothing."""
        if not parse_endpoint(endpoint).local:
            raise PublishError(
                f"Alerts cannot be published on {endpoint}: other machines could read them, and no encryption (CURVE) "
                "is configured. Use tcp://127.0.0.1:PORT, or give [publish.curve] a key and its clients "
                "(`taintwatch keys new`)."
            )

    def revision(self) -> int:
        """Return 0: nothing changes."""
        return 0

    def release(self, context: zmq.Context[Any]) -> None:
        """Do nothing."""


class Unprotected:
    """For a subscriber to a publisher without encryption: sets nothing, refuses nothing."""

    def configure(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Do nothing: the publisher decides who may listen."""

    def revision(self) -> int:
        """Return 0: nothing changes."""
        return 0

    def release(self, context: zmq.Context[Any]) -> None:
        """Do nothing."""
