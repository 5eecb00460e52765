"""A stream's address: what is wrong with it, its credentials, and how it may be shown to people."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, unquote, urljoin, urlsplit

__all__ = [
    "STREAM_SCHEMES",
    "describe_url",
    "foreign_part",
    "is_same_camera",
    "split_credentials",
    "stream_mistakes",
    "url_scheme",
    "with_credentials",
]

STREAM_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "srt", "tcp", "udp"})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_UDP_HOST = re.compile(r"[0-9A-Za-z._-]*(?::[0-9]{1,5})?")
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9._~-]*")
_HIDDEN = "..."
_PARTS = re.compile(r'^[ \t]*([^#\s][^\r\n]*)|URI="([^"\r\n]*)"', re.MULTILINE)
DEFAULT_PORTS = {"http": 80, "https": 443}


def url_scheme(spec: str) -> str | None:
    """Return the scheme of `SCHEME://REST` in lower case, or None where `spec` is no URL."""
    match = _SCHEME.match(spec)
    if match is None or not spec[match.end() :].startswith("//"):
        return None
    return match.group(1).lower()


def stream_mistakes(url: str) -> tuple[str, ...]:
    """Return what is wrong with a stream's address as it is written, one sentence each, none with a credential."""
    scheme = url_scheme(url.strip())
    if scheme not in STREAM_SCHEMES:
        known = ", ".join(sorted(STREAM_SCHEMES))
        return (f"a source of scheme {scheme!r} cannot be read: use {known}, a webcam, a file or a folder",)
    rest = url.strip().split("//", 1)[1]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    user_info, _, host = authority.rpartition("@")
    if "@" in rest[len(authority) :] and "@" not in authority:
        # What stands before the slash may be a part of the password: nobody may look it up as a host.
        return (
            f"{describe_url(url)}: its user or password holds a raw /, ?, # or @; percent-encode it "
            "(%2F, %3F, %23, %40), or give the keys user and password_file",
        )
    mistakes = []
    if not host.removeprefix(":").split(":")[0] and scheme != "udp":
        mistakes.append(f"{scheme}:// names no host: write {scheme}://HOST/PATH")
    elif host and not _HOST.fullmatch(host) and not (scheme == "udp" and _UDP_HOST.fullmatch(host)):
        mistakes.append(f"{describe_url(url)}: its host or port cannot be read; write {scheme}://HOST:PORT/PATH")
    elif (port := _port(host)) is not None and not 0 < port <= 65535:
        mistakes.append(f"{describe_url(url)}: there is no port {port}; ports go from 1 to 65535")
    if re.search(r"%(?![0-9A-Fa-f]{2})", user_info):
        mistakes.append(f"{describe_url(url)}: its user or password holds a raw %; write it as %25")
    return tuple(mistakes)


def _port(host: str) -> int | None:
    tail = host.rpartition("]")[2].rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
    return int(tail) if tail.isdigit() else None


def with_credentials(url: str, user: str | None, password: str | None) -> str:
    """Return `url` with user and password (as they are) in place of those that it has; as it is without a user."""
    if user is None:
        return url
    scheme, _, rest = url.partition("//")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    secret = "" if password is None else f":{quote(password, safe='')}"
    return f"{scheme}//{quote(user, safe='')}{secret}@{authority.rpartition('@')[2]}{rest[len(authority) :]}"


def split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return `url` without its user information, and user and password, decoded; None where it has none."""
    scheme, _, rest = url.partition("//")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    user_info, at, host = authority.rpartition("@")
    if not at:
        return url, None
    user, _, password = user_info.partition(":")
    return f"{scheme}//{host}{rest[len(authority) :]}", (unquote(user), unquote(password))


def is_same_camera(origin: str, target: str) -> bool:
    """Whether a redirect from `origin` to `target` stays with the camera: its host, at its port or the usual ones.

    A camera must not send us to another service of its network, or of this machine.
    """
    try:
        ours, theirs = urlsplit(origin), urlsplit(target)
        if theirs.scheme not in ("http", "https") or ours.hostname != theirs.hostname:
            return False
        port = theirs.port or DEFAULT_PORTS[theirs.scheme]
        own = ours.port or DEFAULT_PORTS.get(ours.scheme, 0)
    except ValueError:
        return False
    return port == own or (port in DEFAULT_PORTS.values() and not _is_this_machine(ours.hostname or ""))


def foreign_part(playlist: str, origin: str) -> str | None:
    """Return the first segment or key that an HLS playlist (RFC 8216) names elsewhere than at the camera; None: none.

    `origin`: the playlist's own address.
    """
    parts = (urljoin(origin, match[1] or match[2]) for match in _PARTS.finditer(playlist))
    return next((part for part in parts if not is_same_camera(origin, part)), None)


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.endswith(".localhost")


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
