"""Addresses of the page and the metrics, and the names by which browsers may call them."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from taintwatch_models.errors import ConfigError

__all__ = ["Address", "check_bind", "host_of", "is_known_host", "parse_address"]

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>\d{1,5})")
_HOST_HEADER = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    family: socket.AddressFamily
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or (_is_ip(self.host) and ipaddress.ip_address(self.host).is_loopback)


def parse_address(key: str, bind: str) -> Address:
    """Read HOST:PORT or [V6]:PORT; port 0 takes a free one. `key` names it in the `ConfigError` that is raised."""
    match = _ADDRESS.fullmatch(bind)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigError(f"{key} is {bind!r}; it must be like 127.0.0.1:8080 or [::1]:8080")
    family = socket.AF_INET6 if match["six"] else socket.AF_INET
    return Address(family, match["six"] or match["host"], int(match["port"]))


def check_bind(section: str, bind: str, token: bool) -> Address:
    """Read where a section's server listens; `token`: whether it asks for one. Raises `ConfigError`."""
    address = parse_address(f"{section}.bind", bind)
    if not address.loopback and not token:
        raise ConfigError(f"{section}.bind is {bind}, which other machines may reach; set {section}.token_file")
    return address


def host_of(header: str) -> str | None:
    """Return the host that a Host header names, in lower case, without its port; None where it is malformed."""
    match = _HOST_HEADER.fullmatch(header)
    return None if match is None else (match["six"] or match["host"]).lower()


def is_known_host(header: str, names: frozenset[str]) -> bool:
    """Whether a Host header names us: by an address, as localhost, or by one of `names` (lower case).

    DNS rebinding needs a name that its owner can point elsewhere; an address cannot be.
    """
    host = host_of(header)
    return host is not None and (host == "localhost" or host in names or _is_ip(host))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
