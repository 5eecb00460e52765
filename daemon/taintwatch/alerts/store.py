"""The seam for what keeps alerts: it is called before an alert is published."""

from __future__ import annotations

from typing import Protocol

from taintwatch.alerts.messages import Message

__all__ = ["NullStore", "Store"]


class Store(Protocol):
    """Anything that keeps alert messages."""

    def save(self, message: Message) -> None:
        """Keep `message` durably before returning. Called in the publishing thread, in the order of the sequences.

        Raises `TaintwatchError` or `OSError` where it cannot: the alert is published all the same, and the failure
        counted in `PublisherStats.store_failures`.
        """
        ...


class NullStore:
    """Keeps nothing."""

    def save(self, message: Message) -> None:
        """Do nothing."""
