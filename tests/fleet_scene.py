"""A history with hundreds of cameras of several sites, for the page."""

from __future__ import annotations

from dataclasses import replace

from taintwatch.alerts.outbox import MessageWriter
from taintwatch.evidence.history import History
from taintwatch.evidence.store import AlertStore
from taintwatch.records import AlertState
from tests.alert_fakes import an_alert, an_identity

__all__ = ["CAMERAS", "SITES", "fill_history"]

CAMERAS, SITES = 400, 8


def fill_history(history: History, now_ns: int) -> None:
    """Store one alert of each camera, all cleared but those of three cameras; the latest come last."""
    for site in range(SITES):
        store = AlertStore(history, daemon=f"shop{site}")
        writer = MessageWriter(an_identity(f"start{site}", f"shop{site}"))
        messages = []
        for number in range(CAMERAS // SITES):
            camera = f"till{number:02}"
            state = AlertState.RAISED if (site, number) in ((3, 7), (3, 9), (5, 0)) else AlertState.CLEARED
            raised_ns = now_ns - (CAMERAS - number) * 10**9 - (0 if number % 2 else 2 * 86_400 * 10**9)
            alert = replace(an_alert(camera, f"{site}-{number}", state), raised_wall_ns=raised_ns)
            messages.append(writer.write(camera, alert).message)
        store._backlog.extend(messages)  # in one transaction, as after an outage
        store.retry()
        assert store.waiting == 0
    history.close()
