"""The fleet's cluster is Ray's: groups are actors, each bound to the machine that was chosen for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from taintwatch.config.sections import Config
from taintwatch.fleet.group_service import GroupService
from taintwatch.fleet.placement import Needs, Node
from taintwatch.fleet.supervisor import GroupLost, Handle
from taintwatch_models.errors import TaintwatchError, UsageError, first_line

__all__ = ["RayCluster", "ray_cluster"]

STORE_BYTES = 80 << 20  # of Ray's object store, which next to nothing goes through
# A machine that is gone is noticed within about three seconds; Ray's own defaults take some thirty.
HEALTH = {
    "health_check_initial_delay_ms": 2000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}


class RayCluster:
    """The cluster that Ray is connected to."""

    def __init__(self, ray: Any, needs: Needs) -> None:
        self._ray = ray
        self._needs = needs

    def nodes(self) -> tuple[Node, ...]:
        """Return the machines that are alive. Raises `TaintwatchError` where Ray's head is gone."""
        try:
            found = self._ray.nodes()
        except Exception as error:
            raise TaintwatchError(f"the Ray cluster is gone ({first_line(error)})") from error
        return tuple(_node(each) for each in found if each["Alive"])

    def start(self, name: str, config: Config, node: Node) -> Handle:
        """Begin to start a group on that machine, and on no other."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self._ray.remote(GroupService).options(
            num_cpus=self._needs.cpus,
            num_gpus=self._needs.gpus,
            memory=self._needs.memory_bytes,
            max_restarts=0,
            max_concurrency=4,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        return _Actor(self._ray, actor.remote(config), name)


class _Actor:
    def __init__(self, ray: Any, actor: Any, name: str) -> None:
        self._ray, self._actor, self._name = ray, actor, name
        self._asked: Any = None
        self._stopping: Any = None

    def poll(self) -> Mapping[str, Any] | None:
        if self._asked is None:
            self._asked = self._actor.state.remote()
        if not self._ray.wait([self._asked], timeout=0)[0]:
            return None
        asked, self._asked = self._asked, None
        try:
            state: Mapping[str, Any] = self._ray.get(asked)
        except self._ray.exceptions.RayError as error:
            raise GroupLost(f"its process is gone: {type(error).__name__}") from error
        return state

    def stop(self) -> None:
        if self._stopping is None:
            self._stopping = self._actor.stop.remote()

    def ended(self) -> bool:
        return self._stopping is not None and bool(self._ray.wait([self._stopping], timeout=0)[0])

    def kill(self) -> None:
        self._ray.kill(self._actor, no_restart=True)


@contextmanager
def ray_cluster(config: Config) -> Iterator[RayCluster]:
    """Give the cluster that `[fleet] address` or RAY_ADDRESS names; else one on this machine, ended afterwards.

    Raises `UsageError` where Ray is not installed, or no cluster can be reached or started.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("the fleet needs Ray; install it with pip install 'taintwatch[fleet]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    started = not ray.is_initialized()
    if started:
        _connect(ray, config.fleet.address or os.environ.get("RAY_ADDRESS"))
    try:
        yield RayCluster(ray, Needs.of(config.fleet))
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    alone = {} if address else {"object_store_memory": STORE_BYTES, "_system_config": HEALTH}
    try:
        ray.init(address=address, include_dashboard=False, **quiet, **alone)
    except Exception as error:
        raise UsageError(f"no Ray cluster can be reached or started ({first_line(error)})") from error


def _node(said: Mapping[str, Any]) -> Node:
    resources = said.get("Resources", {})
    return Node(
        id=said["NodeID"],
        host=said.get("NodeManagerHostname") or said.get("NodeManagerAddress", ""),
        cpus=float(resources.get("CPU", 0.0)),
        gpus=float(resources.get("GPU", 0.0)),
        memory_bytes=int(resources.get("memory", 0)),
    )
