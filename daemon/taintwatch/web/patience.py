"""HTTP connections that do not wait for ever: whoever connects must ask something soon, whole, and again and again."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["REQUEST_S", "Impatient"]

REQUEST_S = 10.0


class Impatient(H11Protocol):
    """uvicorn's protocol, which by itself bounds only the time between two requests, and only while nothing comes.

    Somebody who connects and says nothing, or sends one header a minute, would hold one of the connections that are
    allowed. Here the first line and all headers of a request must have come `REQUEST_S` after the connection was made,
    or after the answer before.
    """

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        """Take data; a request that is whole is one that came in time."""
        super().data_received(data)
        if self._answering():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, where that is not there already."""
        super().on_response_complete()
        if not self._answering():
            self._expect_request()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_request(self) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self._due = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
