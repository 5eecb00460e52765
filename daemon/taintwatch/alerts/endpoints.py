"""Endpoints of ZeroMQ sockets: which are well-formed, and which stay on this machine."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

__all__ = ["Endpoint", "parse_endpoint"]

TCP = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5}|\*)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint taken apart."""

    text: str
    transport: str
    """`tcp`, `ipc` or `inproc`."""
    host: str
    """For tcp a name or an address without brackets, or `*`; else the path or name."""
    port: str = ""
    """For tcp a number, or `*` for any free one."""

    @property
    def local(self) -> bool:
        """Whether only programs on this machine can reach a socket that is bound here."""
        if self.transport != "tcp" or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # `*`, the name of an interface or of a host: it may be anything

    @property
    def six(self) -> bool:
        """Whether the address is an IPv6 one."""
        return self.transport == "tcp" and ":" in self.host


def parse_endpoint(text: str) -> Endpoint:
    """Take `tcp://host:port`, `ipc://path` or `inproc://name` apart. Raises `ValueError` that says what is wrong."""
    transport, separator, rest = text.partition("://")
    if not separator or transport not in ("tcp", "ipc", "inproc") or not rest:
        raise ValueError("it must be like tcp://127.0.0.1:5556, ipc:///run/taintwatch/alerts or inproc://alerts")
    if transport != "tcp":
        return Endpoint(text, transport, rest)
    match = TCP.fullmatch(rest)
    if match is None:
        raise ValueError("after tcp:// there must be a host, a colon and a port")
    if match["port"] != "*" and int(match["port"]) > 65_535:
        raise ValueError(f"port {match['port']} is above 65535")
    return Endpoint(text, transport, match["six"] or match["host"], match["port"])
