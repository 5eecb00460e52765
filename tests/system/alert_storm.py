"""A program that stores and publishes alerts, pictures and clips as fast as it can, until it is killed.

    python -m tests.system.alert_storm FOLDER PUBLISH_ENDPOINT REPLAY_ENDPOINT [quiet]

It opens and closes evidence, publisher and replay as the daemon does, and prints `ready` once it publishes. `quiet`: it
has nothing new to say, and only answers for what its predecessors said.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from taintwatch.alerts.outbox import new_instance_id
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.replay_server import ReplayServer
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.evidence.reader import AlertReader
from taintwatch.evidence.recorder import ClipSettings
from taintwatch.records import AlertState
from taintwatch_models.records import Frame, read_only
from tests.alert_fakes import an_alert, an_identity

__all__ = ["main"]

LIFE = (AlertState.RAISED, AlertState.UPDATED, AlertState.UPDATED, AlertState.CLEARED)


def main(folder: str, publish: str, replay: str, quiet: str = "") -> None:
    """Publish until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    instance = new_instance_id()
    settings = EvidenceSettings(Path(folder), clips=ClipSettings(0.1, 0.1, 50, 64), min_free_mb=0)
    evidence = Evidence(settings)
    server = ReplayServer(AlertReader(evidence.folder.history), replay)
    evidence.serve(server)
    publisher = Publisher(
        an_identity(instance), publish, cameras=["door"], heartbeat_s=0.05, store=evidence.store, replay=server.endpoint
    )
    for alert in evidence.interrupted():
        publisher.publish_alert(alert)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    index = 0
    if quiet:
        stopping.wait()
    while not stopping.is_set():
        event_id = f"{instance[:8]}-{index // len(LIFE)}"
        now_ns = time.monotonic_ns()
        image = np.full((48, 64, 3), index % 256, np.uint8)
        alert = replace(an_alert(event_id=event_id, state=LIFE[index % len(LIFE)]), raised_wall_ns=time.time_ns())
        publisher.publish_alert(alert)
        evidence.offer(Frame("door", index, read_only(image), now_ns, time.time_ns()), alert)
        index += 1
        time.sleep(0.001)
    publisher.close()
    evidence.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
