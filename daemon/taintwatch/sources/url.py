"""How a stream's address may be shown to people: never with a credential."""

from __future__ import annotations

import re

__all__ = ["describe_url", "url_scheme"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9._~-]*")
_HIDDEN = "..."


def url_scheme(spec: str) -> str | None:
    """Return the scheme of `SCHEME://REST` in lower case, or None where `spec` is no URL."""
    match = _SCHEME.match(spec)
    if match is None or not spec[match.end() :].startswith("//"):
        return None
    return match.group(1).lower()


def describe_url(url: str) -> str:
    """Return scheme, host, port and plain path of `url`; everything that may be a secret becomes `...`.

    User and password, query and fragment go. A path segment with anything but letters, digits and `._~-` goes too,
    because some cameras take `/user=admin_password=x_channel=1`. Where the password holds a raw `/`, `?`, `#` or `@`,
    nothing tells which part is the host: then no more than the scheme is shown. Never raises.
    """
    scheme = url_scheme(url)
    if scheme is None:
        return _HIDDEN
    rest = url.split("//", 1)[1]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    host = authority.rpartition("@")[2]
    if "@" in tail or not _HOST.fullmatch(host):
        return f"{scheme}://{_HIDDEN}"
    return f"{scheme}://{host.lower()}{_describe_tail(tail)}"


def _describe_tail(tail: str) -> str:
    path = re.split(r"[?#]", tail, maxsplit=1)[0]
    shown = "/".join(part if _PLAIN_SEGMENT.fullmatch(part) else _HIDDEN for part in path.split("/"))
    return shown if len(path) == len(tail) else f"{shown}?{_HIDDEN}"
