"""Webhooks: each alert as a POST of JSON, signed with a shared secret, repeated until it was taken."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version

import requests

from taintwatch.logs import redact
from taintwatch.notify.outlet import Item, Notice, Outcome
from taintwatch.records import Alert

__all__ = ["SIGNATURE", "TIMESTAMP", "Webhook", "body_of", "signature"]

_log = logging.getLogger(__name__)

SIGNATURE, TIMESTAMP, EVENT = "X-Taintwatch-Signature", "X-Taintwatch-Timestamp", "X-Taintwatch-Event"
TIMEOUT_S = (5.0, 10.0)  # to connect, and for each part of the answer
TRY_AGAIN = frozenset({408, 425, 429})  # and whatever is 500 or more
SCHEMA = 1


def body_of(alert: Alert, site: str) -> bytes:
    """Return what is sent: one JSON object, of the same alert always the same bytes."""
    told = {"schema": SCHEMA, "kind": "alert", "site": site, "camera": alert.camera, "body": asdict(alert)}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return `sha256=` and the hexadecimal HMAC-SHA256 (RFC 2104) of timestamp, full stop, and body.

    The receiver makes it anew with the same secret, compares in constant time, and refuses old timestamps.
    """
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Webhook:
    """Sends notices to one address. Used by its outlet's thread only."""

    url: str
    site: str
    states: frozenset[str]
    """Of alerts that are sent: raised, updated, cleared, interrupted."""
    secret: bytes | None = None
    ca: str | None = None
    """File of certificates to trust in place of the system's."""
    wall_s: Callable[[], float] = time.time

    def __call__(self, item: Item) -> Outcome:
        """Send an item; only an answer of 200 to 299 counts."""
        if not isinstance(item, Notice) or item.alert.state.value not in self.states:
            return Outcome.LEFT
        body = body_of(item.alert, self.site)
        try:
            # No redirect is followed: what is signed is for this address.
            with requests.post(
                self.url, data=body, headers=self._headers(item.alert, body), timeout=TIMEOUT_S, stream=True,
                allow_redirects=False, verify=self.ca or True,
            ) as answer:  # fmt: skip
                status = answer.status_code
        except requests.RequestException as error:
            _log.info("webhook %s cannot be reached: %s", redact(self.url), type(error).__name__)
            return Outcome.LATER
        if 200 <= status < 300:
            return Outcome.SENT
        if status in TRY_AGAIN or status >= 500:
            return Outcome.LATER
        _log.error("webhook %s refused alert %s: status %d", redact(self.url), item.alert.event_id, status)
        return Outcome.REFUSED

    def _headers(self, alert: Alert, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"taintwatch/{version('taintwatch')}",
            EVENT: f"{alert.event_id}/{alert.state.value}",
        }
        if self.secret is not None:
            headers[TIMESTAMP] = str(round(self.wall_s()))
            headers[SIGNATURE] = signature(self.secret, headers[TIMESTAMP], body)
        return headers
