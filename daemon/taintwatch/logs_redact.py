"""Taking credentials out of text: the log's last safeguard, whoever wrote the text."""

from __future__ import annotations

import re

from taintwatch.sources.url import describe_url

__all__ = ["redact"]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]*")
_STREAMS = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps")
_TRAILING = ".,;:!)]}"


def redact(text: str) -> str:
    """Return `text` with every address in it shown as `describe_url` shows it: without user, password and query.

    Addresses that are not streams (tcp://, ipc://) are left as they are unless they hold an `@`. Never raises.
    """
    return _ADDRESS.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    address = match[0].rstrip(_TRAILING)
    rest = match[0][len(address) :]
    if address.partition("://")[0].lower() not in _STREAMS and "@" not in address:
        return match[0]
    return describe_url(address) + rest
