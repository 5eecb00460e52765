"""Keeps every group of cameras running somewhere: places, looks after, restarts elsewhere, moves, says how it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from taintwatch.config.sections import Config
from taintwatch.fleet.groups import CameraGroup, config_of, groups_of
from taintwatch.fleet.placement import Needs, Node, choose_node, find_move
from taintwatch_models.errors import TaintwatchError

__all__ = ["Cluster", "GroupLost", "Handle", "Supervisor"]

_log = logging.getLogger(__name__)

AVOID_S = 30.0  # a machine on which something was just lost gets nothing new for so long, if there is another
MOVE_S = 15.0  # between two moves that even the cluster out
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0  # before a group that failed by itself is tried again
STEADY_S = 60.0  # a group that ran for so long has forgotten its failures


class GroupLost(TaintwatchError):  # noqa: N818 (it says what is so)
    """A group's process, or its machine, is gone."""


class Handle(Protocol):
    """One group that was started somewhere. No method waits."""

    def poll(self) -> Mapping[str, Any] | None:
        """Return a new `GroupState` as a dictionary, where there is one. Raises `GroupLost`."""
        ...

    def stop(self) -> None:
        """Ask it to end cleanly."""
        ...

    def ended(self) -> bool:
        """Whether it has ended after `stop`, or is lost."""
        ...

    def kill(self) -> None:
        """End it at once, if it is there at all."""
        ...


class Cluster(Protocol):
    """Machines on which groups run."""

    def nodes(self) -> tuple[Node, ...]:
        """Return those that are alive. Raises `TaintwatchError` where the cluster is gone."""
        ...

    def start(self, name: str, config: Config, node: Node) -> Handle:
        """Begin to start a group there."""
        ...


@dataclass(slots=True)
class _Placed:
    """One group: where it runs, if anywhere, and what is known of it."""

    group: CameraGroup
    node: Node | None = None
    handle: Handle | None = None
    started: float = 0.0
    heard: float = 0.0
    state: Mapping[str, Any] = field(default_factory=dict)
    restarts: int = 0
    failures: int = 0
    not_before: float = 0.0
    reason: str | None = None
    moving: bool = False


class Supervisor:
    """Used by one thread, which calls `step` about twice a second."""

    def __init__(self, config: Config, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `UsageError`, `ConfigError` for a configuration that no fleet can run."""
        self._config = config
        self._cluster = cluster
        self._clock = clock
        self._needs = Needs.of(config.fleet)
        self._groups = {group.name: _Placed(group) for group in groups_of(config)}
        self._nodes: tuple[Node, ...] = ()
        self._avoid: dict[str, float] = {}
        self._next_move = clock() + MOVE_S
        self._full_told = False

    @property
    def finished(self) -> bool:
        """Whether every group's sources have ended."""
        return all(placed.state.get("state") == "ended" for placed in self._groups.values())

    def step(self) -> None:
        """Look at everything once, and do what is due. Raises `TaintwatchError` where the cluster is gone."""
        now = self._clock()
        self._nodes = self._cluster.nodes()
        self._avoid = {node: until for node, until in self._avoid.items() if until > now}
        for placed in self._groups.values():
            if placed.handle is not None:
                self._look(placed, now)
        for placed in self._groups.values():
            if placed.handle is None and now >= placed.not_before:
                self._place(placed, now)
        self._even_out(now)

    def stop(self, timeout_s: float, wait: Callable[[float], None] = time.sleep) -> bool:
        """Let every group end cleanly; return whether all did within `timeout_s`."""
        running = [placed.handle for placed in self._groups.values() if placed.handle is not None]
        for handle in running:
            handle.stop()
        give_up = self._clock() + timeout_s
        while not (ended := all(handle.ended() for handle in running)) and self._clock() < give_up:
            wait(0.1)
        for handle in running:
            handle.kill()
        return ended

    def status(self) -> dict[str, Any]:
        """Return where each camera runs and how it is. JSON-ready."""
        counts = self._placement()
        return {
            "fleet": self._config.site,
            "wall_ns": time.time_ns(),
            "nodes": [
                {
                    "node": node.id,
                    "host": node.host,
                    "groups": sum(place == node.id for place in counts.values()),
                    "room": node.room(self._needs),
                }
                for node in self._nodes
            ],
            "groups": [self._said(placed) for placed in self._groups.values()],
        }

    def _said(self, placed: _Placed) -> dict[str, Any]:
        state = dict(placed.state)
        known = {camera["camera"]: camera for camera in state.pop("cameras", ())}
        where = "waiting" if placed.handle is None else "moving" if placed.moving else state.get("state", "starting")
        if placed.handle is None:
            known = {}
        cameras = [known.get(one.name) or {"camera": one.name, "state": where} for one in placed.group.cameras]
        return state | {
            "group": placed.group.name,
            "state": where,
            "node": None if placed.node is None else placed.node.id,
            "host": None if placed.node is None else placed.node.host,
            "restarts": placed.restarts,
            "reason": placed.reason or state.get("reason"),
            "cameras": cameras,
        }

    def _look(self, placed: _Placed, now: float) -> None:
        """Take in what a group says; let go of one that is lost, silent, stuck, or ended where it should run."""
        handle, node = placed.handle, placed.node
        if handle is None or node is None:
            return
        if placed.moving and handle.ended():
            self._let_go(placed)
            return
        try:
            state = handle.poll()
        except GroupLost as error:
            self._lost(placed, now, str(error))
            return
        if state is not None:
            placed.state, placed.heard = state, now
        said = placed.state.get("state")
        if node.id not in {each.id for each in self._nodes}:
            self._lost(placed, now, f"its machine {node.host} left the cluster")
        elif said == "failed":
            self._failed(placed, now, str(placed.state.get("reason")))
        elif str(placed.state.get("reason") or "").startswith("hanging"):
            self._lost(placed, now, str(placed.state.get("reason")))
        elif said in (None, "loading") and now - placed.started > self._config.fleet.start_s:
            self._lost(placed, now, f"it did not start within {self._config.fleet.start_s:g} s")
        elif said is not None and now - placed.heard > self._config.fleet.lost_after_s:
            self._lost(placed, now, f"it was silent for {self._config.fleet.lost_after_s:g} s")
        elif said == "running":
            placed.reason = None
            placed.failures *= now - placed.started < STEADY_S

    def _lost(self, placed: _Placed, now: float, reason: str) -> None:
        """Nothing is wrong with the group itself: it starts elsewhere at once."""
        if placed.node is not None:
            self._avoid[placed.node.id] = now + AVOID_S
        _log.warning("group %s is lost (%s); it is started elsewhere", placed.group.name, reason)
        placed.restarts += 1
        self._let_go(placed, reason)

    def _failed(self, placed: _Placed, now: float, reason: str) -> None:
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**placed.failures)
        _log.error("group %s failed (%s); it is tried again in %.0f s", placed.group.name, reason, wait_s)
        placed.failures += 1
        placed.restarts += 1
        placed.not_before = now + wait_s
        self._let_go(placed, reason)

    def _let_go(self, placed: _Placed, reason: str | None = None) -> None:
        if placed.handle is not None:
            placed.handle.kill()
        placed.handle = placed.node = None
        placed.state, placed.moving, placed.reason = {}, False, reason

    def _place(self, placed: _Placed, now: float) -> None:
        node = choose_node(self._nodes, self._placement(), self._needs, frozenset(self._avoid))
        if node is None:
            placed.reason = placed.reason or "no machine of the cluster has room for it"
            if not self._full_told:
                self._full_told = True
                _log.error("the cluster has no room for every group: cameras are not watched; see `fleet status`")
            return
        placed.handle = self._cluster.start(placed.group.name, config_of(self._config, placed.group), node)
        placed.node, placed.started, placed.heard, placed.state = node, now, now, {}
        _log.info("group %s (%d cameras) starts on %s", placed.group.name, len(placed.group.cameras), node.host)

    def _even_out(self, now: float) -> None:
        """Move one group where machines came: only while all the others run, so that little is away at once."""
        all_run = all(placed.state.get("state") in ("running", "ended") for placed in self._groups.values())
        if now < self._next_move or not all_run:
            return
        self._full_told = False
        move = find_move(self._nodes, self._placement(), self._needs, frozenset(self._avoid))
        if move is None:
            return
        self._next_move = now + MOVE_S
        placed = self._groups[move.group]
        if placed.handle is not None:
            _log.info("group %s moves to another machine", move.group)
            placed.moving, placed.state = True, {}
            placed.handle.stop()

    def _placement(self) -> dict[str, str]:
        return {name: placed.node.id for name, placed in self._groups.items() if placed.node is not None}
