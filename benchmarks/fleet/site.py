"""What the fleet runs on: PostgreSQL, NATS, Ray's node processes, the cameras and `taintwatch fleet run` itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.fleet.cameras import Attack
from taintwatch.evidence.chain import Signer
from taintwatch.fleet.ray_cluster import HEALTH
from tests.nats_broker import nats_broker
from tests.ports import free_port
from tests.postgres_server import postgres_server
from tests.tiny_model import write_model

__all__ = ["FleetSite"]

CONFIG = """
site = "bench"
[model]
path = "{folder}/tiny.onnx"
threads = 1
[detect]
detectors = ["tight"]
[vote]
k = 2
n = 3
gap_s = 15.0
[evidence]
folder = "{folder}/evidence"
database = "{database}"
images = false
signing_key = "{folder}/signing.key"
[nats]
url = "{broker}"
[limits]
max_batch = 8
[fleet]
address = "{ray}"
cameras_per_group = {per_group}
cpus = 1.0
memory_mb = 100
status_file = "{folder}/status.json"
"""
ATTEMPTS = 4
CAMERA = """
[[camera]]
name = "{name}"
source = "http://127.0.0.1:{port}/{name}.jpg"
snapshot_interval_s = 1.0
stale_after_s = 20.0
"""


class FleetSite:
    """Starts everything in a folder; each part can be killed by itself."""

    def __init__(self, folder: Path, cameras: Sequence[str], nodes: int, per_group: int, stack: ExitStack) -> None:
        self.folder = folder
        self.cameras = tuple(cameras)
        self._stack = stack
        self.database = stack.enter_context(postgres_server())
        self.broker = stack.enter_context(nats_broker())
        self._port = free_port()
        self._schedule = folder / "schedule.json"
        self.write_schedule([])
        self.public = Signer.of(folder / "signing.key").public
        write_model(folder / "tiny.onnx")
        groups = -(-len(cameras) // per_group)
        self._ray = self._start_ray(nodes, -(-groups // max(1, nodes - 1)) + 1)
        self._write_config(per_group)
        self._start([sys.executable, "-m", "benchmarks.fleet.cameras", str(self._port), str(self._schedule)], "cameras")
        self.fleet = self._start([sys.executable, "-m", "taintwatch.cli.main", "fleet", "run", "fleet.toml"], "fleet")

    def write_schedule(self, attacks: Sequence[Attack]) -> None:
        """Tell the cameras when they are attacked."""
        table: dict[str, list[tuple[float, float]]] = {}
        for attack in attacks:
            table.setdefault(attack.camera, []).append((attack.start_s, attack.end_s))
        partial = self._schedule.with_suffix(".part")
        partial.write_text(json.dumps(table))
        partial.rename(self._schedule)

    def status(self) -> dict[str, Any]:
        """Return what `fleet status` would read; empty while there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def wait(self, enough: Callable[[dict[str, Any]], bool], limit_s: float) -> float | None:
        """Wait until the status is so; return after how many seconds, None where it did not come about."""
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            if enough(self.status()):
                return time.monotonic() - began
            if self.fleet.poll() is not None:
                raise RuntimeError((self.folder / "fleet.log").read_text()[-2000:])
            time.sleep(0.2)
        return None

    def kill_node(self) -> str:
        """Kill the machine with the most groups, with all that runs on it; return its id."""
        groups = {node["node"]: node["groups"] for node in self.status()["nodes"]}
        busiest = max(self._ray.worker_nodes, key=lambda node: groups.get(node.node_id, 0))
        raylet = next(iter(busiest.all_processes["raylet"])).process
        family = psutil.Process(raylet.pid)
        for process in [*family.children(recursive=True), family]:
            process.send_signal(signal.SIGKILL)
        return str(busiest.node_id)

    def stop_fleet(self) -> int:
        """End the fleet cleanly; return its exit status."""
        self.fleet.send_signal(signal.SIGTERM)
        return self.fleet.wait(60)

    def _start_ray(self, nodes: int, cpus: int) -> Any:
        from ray.cluster_utils import Cluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "600")  # read when Ray is imported: before
        store = {"object_store_memory": 80 << 20, "memory": 4 << 30}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH, **store}
        cluster = _attempts(lambda: Cluster(initialize_head=True, head_node_args=head))
        self._stack.callback(cluster.shutdown)
        for _ in range(nodes):
            _attempts(lambda: cluster.add_node(wait=False, num_cpus=cpus, **store))
        cluster.wait_for_nodes(timeout=120)
        return cluster

    def _write_config(self, per_group: int) -> None:
        text = CONFIG.format(
            folder=self.folder,
            database=self.database.url,
            broker=self.broker.url,
            ray=self._ray.address,
            per_group=per_group,
        )
        text += "".join(CAMERA.format(name=name, port=self._port) for name in self.cameras)
        (self.folder / "fleet.toml").write_text(text)

    def _start(self, command: Sequence[str], name: str) -> subprocess.Popen[bytes]:
        root = Path(__file__).resolve().parents[2]
        paths = [str(root / part) for part in (".", "daemon", "calibration", "models")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        self._stack.callback(_end, process)
        return process


def _attempts(start: Callable[[], Any]) -> Any:
    """Start one of Ray's nodes: on a busy machine its own time limits (15 and 30 s) may be too short."""
    for left in range(ATTEMPTS - 1, -1, -1):
        try:
            return start()
        except Exception as error:
            if not left:
                raise RuntimeError(f"Ray does not start: {error}") from error
    raise RuntimeError("Ray was not tried")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait(30)
