"""The demo's client: a real subscriber in a thread of its own, as another program would be."""

from __future__ import annotations

import threading
from collections.abc import Callable

from taintwatch.alerts.messages import Message
from taintwatch.alerts.subscriber import Subscriber
from taintwatch.records import Alert
from taintwatch_models.errors import PublishError

__all__ = ["Listener"]

CONNECT_S = 30.0
STEP_S = 0.2


class Listener:
    """Receives what is published on `endpoint` until it is closed. A context manager."""

    def __init__(self, endpoint: str, told: Callable[[Alert], None] = lambda alert: None) -> None:
        """`told` is called, in the listener's thread, for every alert that comes. Raises `UsageError`."""
        self._subscriber = Subscriber(endpoint)
        self._told = told
        self._alerts: list[Alert] = []
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo listener", daemon=True)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The alerts received so far, in order. Any thread may ask."""
        return tuple(self._alerts)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def wait_connected(self) -> None:
        """Wait for the first message (a heartbeat), so that no alert is missed. Raises `PublishError`."""
        if not self._connected.wait(CONNECT_S):
            raise PublishError(f"nothing was received from {self._subscriber.endpoint} within {CONNECT_S:g} s")

    def close(self) -> None:
        """Take what has still been sent, and end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with self._subscriber:
            while (event := self._subscriber.receive(STEP_S)) is not None or not self._stopping.is_set():
                if event is not None:
                    self._connected.set()
                if isinstance(event, Message) and isinstance(event.body, Alert):
                    self._alerts.append(event.body)
                    self._told(event.body)
