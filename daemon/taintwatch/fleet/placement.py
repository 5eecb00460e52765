"""On which machine a group runs: by CPU, GPU and memory, evenly. Pure functions over what is known of the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from taintwatch.config.fleet import FleetSection

__all__ = ["Move", "Needs", "Node", "choose_node", "find_move"]

MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Needs:
    """What one group asks for."""

    cpus: float
    gpus: float
    memory_bytes: int

    @classmethod
    def of(cls, section: FleetSection) -> Needs:
        """Return what `[fleet]` says."""
        return cls(section.cpus, section.gpus, section.memory_mb * MEGABYTE)


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster (or a process that stands for one), and what it has in all."""

    id: str
    host: str
    cpus: float
    gpus: float
    memory_bytes: int

    def room(self, needs: Needs) -> int:
        """Return how many groups fit on it."""
        rooms = [self.cpus / needs.cpus, self.memory_bytes / needs.memory_bytes]
        if needs.gpus > 0:
            rooms.append(self.gpus / needs.gpus)
        return int(min(rooms) + 1e-9)


@dataclass(frozen=True, slots=True)
class Move:
    """One group that is to run elsewhere."""

    group: str
    source: str
    target: str


def choose_node(
    nodes: Iterable[Node], placed: Mapping[str, str], needs: Needs, avoid: frozenset[str] = frozenset()
) -> Node | None:
    """Return where the next group goes: the machine with the smallest share in use; None: there is no room.

    `placed`: group -> node. `avoid`: nodes on which something was just lost; they come last.
    """
    counts = _counts(placed)
    free = [node for node in nodes if counts.get(node.id, 0) < node.room(needs)]
    return min(
        free, key=lambda node: (node.id in avoid, counts.get(node.id, 0) / node.room(needs), node.id), default=None
    )


def find_move(
    nodes: Iterable[Node], placed: Mapping[str, str], needs: Needs, avoid: frozenset[str] = frozenset()
) -> Move | None:
    """Return the one move that evens the cluster out; None where it is even.

    A group moves only where that leaves its new machine less in use than its old one was: it costs its cameras a few
    seconds.
    """
    known = {node.id: node for node in nodes}
    counts = _counts(placed)
    target = choose_node(known.values(), placed, needs, avoid)
    busy = [node for node in known.values() if counts.get(node.id, 0) > 0 and node.room(needs) > 0]
    if target is None or target.id in avoid or not busy:
        return None
    source = max(busy, key=lambda node: (counts[node.id] / node.room(needs), node.id))
    after = (counts.get(target.id, 0) + 1) / target.room(needs)
    before = (counts[source.id] - 1) / source.room(needs)
    if source.id == target.id or after > before + 1e-9:
        return None
    group = max(name for name, place in placed.items() if place == source.id)
    return Move(group, source.id, target.id)


def _counts(placed: Mapping[str, str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in placed.values():
        counts[node] = counts.get(node, 0) + 1
    return counts
