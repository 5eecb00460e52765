"""Ports for programs that are told theirs before they bind it."""

from __future__ import annotations

import random
import socket
from pathlib import Path

__all__ = ["free_port"]

LOWEST, BELOW = 15_000, 32_000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port of loopback that nobody has now.

    It lies below those that the system hands out to whoever wants any, so that nobody is given it before it is bound.
    """
    below = min(BELOW, int(RANGE.read_text().split()[0])) if RANGE.exists() else BELOW
    for port in random.SystemRandom().sample(range(min(LOWEST, below - 1000), below), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("none of a hundred ports is free")
