"""The fleet's supervisor over a cluster that a test breaks: nothing stays unwatched while there is room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from taintwatch.config.load import parse_config
from taintwatch.config.sections import Config
from taintwatch.fleet.groups import config_of, groups_of
from taintwatch.fleet.placement import Move, Needs, Node, choose_node, find_move
from taintwatch.fleet.status_file import read_status, status_lines, status_path, write_status
from taintwatch.fleet.supervisor import GroupLost, Supervisor
from taintwatch_models.errors import ConfigError, TaintwatchError, UsageError

NEEDS = Needs(1.0, 0.0, 100 << 20)


def node(name: str, cpus: float = 4.0) -> Node:
    return Node(name, f"host-{name}", cpus, 0.0, 64 << 30)


def a_config(cameras: int = 4, size: int = 1, more: str = "") -> Config:
    tables = "".join(f'[[camera]]\nname = "c{number}"\nsource = "sim:"\n' for number in range(cameras))
    return parse_config(f'site = "shop"\n{tables}\n[fleet]\ncameras_per_group = {size}\n{more}', "fleet.toml")


@dataclass
class FakeHandle:
    config: Config
    node: Node
    said: dict[str, Any] = field(default_factory=lambda: {"state": "running"})
    gone: bool = False
    silent: bool = False
    stopped: bool = False
    killed: bool = False

    def poll(self) -> Mapping[str, Any] | None:
        if self.gone:
            raise GroupLost("its process is gone")
        cameras = [{"camera": camera.name, "state": "running", "fps": 1.0} for camera in self.config.camera]
        return None if self.silent else self.said | {"cameras": cameras}

    def stop(self) -> None:
        self.stopped = True

    def ended(self) -> bool:
        return self.stopped

    def kill(self) -> None:
        self.killed = True


class FakeCluster:
    def __init__(self, *nodes: Node) -> None:
        self.alive = list(nodes)
        self.started: dict[str, FakeHandle] = {}

    def nodes(self) -> tuple[Node, ...]:
        return tuple(self.alive)

    def start(self, name: str, config: Config, node: Node) -> FakeHandle:
        assert name not in self.started or self.started[name].killed, "it runs twice"
        self.started[name] = FakeHandle(config, node)
        return self.started[name]

    def where(self) -> list[str]:
        return sorted(handle.node.id for handle in self.started.values() if not handle.killed)


class Fleet:
    """A supervisor with its own time: two steps a second."""

    def __init__(self, config: Config, *nodes: Node) -> None:
        self.now = 0.0
        self.cluster = FakeCluster(*nodes)
        self.supervisor = Supervisor(config, self.cluster, clock=lambda: self.now)
        self.run(1.0)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.5)):
            self.now += 0.5
            self.supervisor.step()

    def states(self) -> list[str]:
        status = self.supervisor.status()
        return [camera["state"] for group in status["groups"] for camera in group["cameras"]]


def test_groups_are_spread_evenly() -> None:
    fleet = Fleet(a_config(), node("a"), node("b"))
    assert fleet.cluster.where() == ["a", "a", "b", "b"]
    assert fleet.states() == ["running"] * 4


@pytest.mark.parametrize("how", ["process", "machine", "silence", "hang"])
def test_a_lost_group_runs_elsewhere_within_seconds(how: str) -> None:
    fleet = Fleet(a_config(), node("a"), node("b"))
    lost = [handle for handle in fleet.cluster.started.values() if handle.node.id == "a"]
    for handle in lost:
        handle.gone = how == "process"
        handle.silent = how == "silence"
        handle.said["reason"] = "hanging: inference" if how == "hang" else None
    if how == "machine":
        del fleet.cluster.alive[0]
    fleet.run(7.0)
    assert fleet.cluster.where() == ["b"] * 4
    assert fleet.states() == ["running"] * 4
    assert all(handle.killed for handle in lost)
    assert [group["restarts"] for group in fleet.supervisor.status()["groups"]].count(1) == 2


def test_what_has_no_room_waits_for_a_machine_and_is_said() -> None:
    fleet = Fleet(a_config(6), node("a"))
    assert fleet.states() == ["running"] * 4 + ["waiting"] * 2
    told = [group["reason"] for group in fleet.supervisor.status()["groups"]]
    assert told[4:] == ["no machine of the cluster has room for it"] * 2
    fleet.cluster.alive.append(node("b"))
    fleet.run(2.0)
    assert fleet.states() == ["running"] * 6


def test_groups_move_to_a_new_machine_one_at_a_time_and_cleanly() -> None:
    fleet = Fleet(a_config(), node("a", 8.0))
    fleet.cluster.alive.append(node("b", 8.0))
    before = dict(fleet.cluster.started)
    fleet.run(16.0)
    assert fleet.cluster.where() == ["a", "a", "a", "b"]
    fleet.run(60.0)
    assert fleet.cluster.where() == ["a", "a", "b", "b"]
    moved = [handle for name, handle in before.items() if fleet.cluster.started[name] is not handle]
    assert [handle.stopped for handle in moved] == [True, True]


def test_a_group_that_fails_by_itself_is_tried_again_ever_more_seldom() -> None:
    fleet = Fleet(a_config(1), node("a"))
    starts = []
    for _ in range(240):
        (handle,) = fleet.cluster.started.values()
        if handle not in starts:
            starts.append(handle)
            handle.said = {"state": "failed", "reason": "no such model"}
        fleet.run(0.5)
    assert 5 <= len(starts) <= 8  # after 1, 2, 4, 8, ... seconds
    assert fleet.supervisor.status()["groups"][0]["reason"] == "no such model"


def test_a_group_that_never_starts_is_started_elsewhere() -> None:
    fleet = Fleet(a_config(1, more="start_s = 10.0\n"), node("a"), node("b"))
    (handle,) = fleet.cluster.started.values()
    handle.said = {"state": "loading"}
    first = handle.node.id
    fleet.run(12.0)
    assert fleet.cluster.where() == [{"a": "b", "b": "a"}[first]]


def test_stopping_lets_every_group_end_cleanly() -> None:
    fleet = Fleet(a_config(), node("a"))
    assert fleet.supervisor.stop(1.0, wait=lambda _: None)
    assert all(handle.stopped for handle in fleet.cluster.started.values())


def test_a_group_has_the_daemon_s_sections_and_a_chain_of_its_own() -> None:
    evidence = '[evidence]\nfolder = "kept"\ndatabase = "postgresql://db/h"\nmedia = "shared"\n[vote]\nk = 2\n'
    config = a_config(5, 2, evidence)
    groups = groups_of(config)
    assert [(group.name, [camera.name for camera in group.cameras]) for group in groups] == [
        ("shop-0000", ["c0", "c1"]),
        ("shop-0001", ["c2", "c3"]),
        ("shop-0002", ["c4"]),
    ]
    part = config_of(config, groups[1])
    assert (part.site, part.vote, part.camera) == ("shop", config.vote, groups[1].cameras)
    assert (part.evidence.folder, part.evidence.daemon) == ("kept/shop-0001", "shop-0001")
    assert part.publish.bind == "tcp://127.0.0.1:*"
    assert (part.web.bind, part.metrics.enabled) == (None, False)


def test_what_no_fleet_can_run_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no \[\[camera\]\]"):
        groups_of(parse_config("", "fleet.toml"))
    with pytest.raises(ConfigError, match="media is missing"):
        groups_of(a_config(more='[evidence]\nfolder = "kept"\ndatabase = "postgresql://db/h"\n'))
    with pytest.raises(ConfigError, match="replay names one endpoint"):
        groups_of(a_config(more='[evidence]\nfolder = "kept"\nreplay = "tcp://127.0.0.1:7000"\n'))


def test_placement_counts_cores_memory_and_gpus() -> None:
    wide, narrow = node("wide", 8.0), node("narrow", 2.0)
    placed: dict[str, str] = {}
    for number in range(10):
        chosen = choose_node([wide, narrow], placed, NEEDS)
        assert chosen is not None
        placed[f"g{number}"] = chosen.id
    assert sorted(placed.values()) == ["narrow"] * 2 + ["wide"] * 8
    assert choose_node([wide, narrow], placed, NEEDS) is None
    assert choose_node([node("a")], {}, Needs(1.0, 0.5, 1)) is None  # it has no GPU
    assert Node("g", "g", 64.0, 2.0, 1 << 40).room(Needs(1.0, 0.5, 1)) == 4
    assert Node("a", "a", 64.0, 0.0, 1 << 30).room(NEEDS) == 10  # by memory
    assert find_move([wide, narrow], {"g0": "narrow", "g1": "narrow"}, NEEDS) == Move("g1", "narrow", "wide")
    assert find_move([wide, narrow], {"g0": "wide", "g1": "narrow"}, NEEDS) is None


def test_the_status_is_read_from_its_file_and_an_old_one_is_refused(tmp_path: Path) -> None:
    config = a_config(2, more=f'status_file = "{tmp_path}/fleet.json"\n')
    path = status_path(config)
    with pytest.raises(TaintwatchError, match="no fleet runs here"):
        read_status(path)
    fleet = Fleet(config, node("a", 1.0))
    status = fleet.supervisor.status()
    write_status(path, status)
    assert read_status(path) == status
    assert path.stat().st_mode & 0o777 == 0o600
    lines = list(status_lines(status))
    assert lines[0] == "shop: 1 of 2 cameras running, on 1 machines"
    assert lines[2].startswith("c1  waiting  nowhere  shop-0001")  # the worst first
    assert lines[3].startswith("c0  running  host-a (a)  shop-0000  1.0 frames/s")
    with pytest.raises(TaintwatchError, match="does not run any more"):
        read_status(path, status["wall_ns"] + 60 * 10**9)
