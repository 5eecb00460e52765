"""Everything that is done to the daemon. Each fault is injected, noticed from outside, ended, and recovered from."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import zmq

from benchmarks.soaking.bench import Bench, Effect
from benchmarks.soaking.cameras import Mode
from benchmarks.soaking.site import CAMERAS

__all__ = ["FAULTS", "KILL", "settle"]

STEP_S = 3600
CROWD = 200
LISTENER = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe(b"")
socket.connect(sys.argv[1])
socket.recv()
print("heard", flush=True)
time.sleep(600)
"""


def settle(bench: Bench) -> None:
    """Wait until every camera gives frames."""
    for camera in CAMERAS:
        bench.wait_for_frames(camera, 1)


def rtsp_server_killed(bench: Bench) -> Effect:
    """The camera's server dies; another is started at the same address."""
    bench.rtsp.kill()
    detected = bench.wait("the dead server is noticed", lambda seen: not seen.running("rtsp"))
    time.sleep(bench.pace.outage_s)
    bench.rtsp.start()
    return Effect(detected, bench.wait_for_frames("rtsp"))


def connection_black_holed(bench: Bench) -> Effect:
    """The camera holds the connection, takes new ones, and says nothing."""
    return _misbehave(bench, Mode.SILENT)


def stream_truncated(bench: Bench) -> Effect:
    """The camera hangs up in the middle of each picture."""
    return _misbehave(bench, Mode.TRUNCATED)


def stream_of_garbage(bench: Bench) -> Effect:
    """The camera sends random bytes for pictures."""
    return _misbehave(bench, Mode.GARBAGE)


def resolution_changed(bench: Bench) -> Effect:
    """The pictures double in size in the middle of the stream, and shrink again: nothing to notice but frames."""
    bench.mjpeg.mode = Mode.LARGE
    larger = bench.wait_for_frames("mjpeg")
    time.sleep(bench.pace.outage_s)
    bench.mjpeg.mode = Mode.GOOD
    return Effect(None, max(larger, bench.wait_for_frames("mjpeg")))


def clock_stepped(bench: Bench) -> Effect:
    """The wall clock jumps an hour forward, and later back: alerts must still come and end."""
    stepped = bench.wait_until("the clock is stepped", _clock_setter(bench, STEP_S))
    forward = bench.wait_for_alert()
    time.sleep(bench.pace.outage_s)
    bench.wait_until("the clock is set back", _clock_setter(bench, 0))
    back = bench.wait_for_alert()
    for camera in CAMERAS:
        bench.wait_for_frames(camera, 1)
    return Effect(stepped, max(forward, back))


def evidence_disk_full(bench: Bench) -> Effect:
    """The evidence's disk is filled: alerts must still come, and be kept again once there is room."""
    size = bench.daemon.log_size()
    bench.site.fill_disk()
    detected = bench.wait_until("the full disk is said", lambda: _complains(bench.daemon.log_since(size)))
    bench.wait_for_alert()
    time.sleep(bench.pace.outage_s)
    known = {event for event, _, _ in bench.subscriber.alerts}
    bench.site.empty_disk()
    return Effect(detected, bench.wait_until("a new alert is kept with its picture", lambda: _pictured(bench, known)))


def subscriber_slow(bench: Bench) -> Effect:
    """Somebody subscribes to all and reads nothing: nobody else may notice."""
    with zmq.Context() as context, context.socket(zmq.SUB) as slow:
        slow.linger, slow.rcvhwm = 0, 1
        slow.setsockopt(zmq.RCVBUF, 1024)
        slow.subscribe(b"")
        slow.connect(bench.site.endpoint)
        time.sleep(bench.pace.outage_s)
        return Effect(None, _next_heartbeat(bench))


def subscriber_vanished(bench: Bench) -> Effect:
    """A subscriber's process is killed while it listens."""
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER, bench.site.endpoint], stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is not None:
            process.stdout.readline()
        process.kill()
    return Effect(None, _next_heartbeat(bench))


def subscribers_200(bench: Bench) -> Effect:
    """200 subscribers come at once, all hear something, and go."""
    start = time.monotonic()
    with zmq.Context(io_threads=1) as context:
        crowd = [context.socket(zmq.SUB) for _ in range(CROWD)]
        poller = zmq.Poller()
        for each in crowd:
            each.linger = 0
            each.subscribe(b"")
            each.connect(bench.site.endpoint)
            poller.register(each, zmq.POLLIN)
        while crowd and time.monotonic() - start < bench.pace.patience_s:
            for each, _ in poller.poll(100):
                poller.unregister(each)
                each.close(linger=0)
                crowd.remove(each)
        heard = time.monotonic() - start
        for each in crowd:
            each.close(linger=0)
        bench.wait_until(f"all of {CROWD} subscribers hear something", lambda: not crowd)
    return Effect(None, max(heard, _next_heartbeat(bench)))


def hangup_storm(bench: Bench) -> Effect:
    """Reloads without end, some of them wrong; in the end there is one camera more, and then there is not."""
    start = time.monotonic()
    for number in range(bench.pace.hangups):
        bench.site.configure(extra_camera=number % 3 == 0, broken=number % 3 == 1)
        bench.daemon.hang_up()
        time.sleep(0.02)
    bench.site.configure(broken=True)
    bench.daemon.hang_up()
    bench.wait_until("a wrong configuration is refused", lambda: "reload refused" in bench.daemon.status)
    detected = time.monotonic() - start
    bench.site.configure(extra_camera=True)
    bench.daemon.hang_up()
    added = bench.wait_for_frames("extra")
    bench.site.configure()
    bench.daemon.hang_up()
    removed = bench.wait("the extra camera is gone", lambda seen: not seen.running("extra"))
    for camera in CAMERAS:
        bench.wait_for_frames(camera, 1)
    return Effect(detected, max(added, removed))


def daemon_killed(bench: Bench) -> Effect:
    """The daemon is ended with SIGKILL, noticed by its silence, and started again."""
    before = bench.subscriber.heartbeat
    instance = None if before is None else before.envelope.instance
    bench.daemon.kill()
    detected = bench.wait_until("the silence is noticed", lambda: _silent(bench))
    start = time.monotonic()
    bench.daemon.start()
    bench.wait(
        "the new daemon is heard",
        lambda seen: seen.heartbeat is not None and seen.heartbeat.envelope.instance != instance,
    )
    recovered = time.monotonic() - start
    settle(bench)
    bench.look_into_store()
    bench.subscriber.forget_silence()
    return Effect(detected, recovered)


KILL = "daemon_killed"
FAULTS: Mapping[str, Callable[[Bench], Effect]] = {
    "rtsp_server_killed": rtsp_server_killed,
    "connection_black_holed": connection_black_holed,
    "stream_truncated": stream_truncated,
    "stream_of_garbage": stream_of_garbage,
    "resolution_changed": resolution_changed,
    "clock_stepped": clock_stepped,
    "evidence_disk_full": evidence_disk_full,
    "subscriber_slow": subscriber_slow,
    "subscriber_vanished": subscriber_vanished,
    "subscribers_200": subscribers_200,
    "hangup_storm": hangup_storm,
    KILL: daemon_killed,
}


def _misbehave(bench: Bench, mode: Mode) -> Effect:
    rejected = bench.subscriber.rejected("mjpeg")
    bench.mjpeg.mode = mode
    detected = bench.wait(
        f"the camera that is {mode} is noticed",
        lambda seen: not seen.running("mjpeg") or seen.rejected("mjpeg") > rejected,
    )
    time.sleep(bench.pace.outage_s)
    bench.mjpeg.mode = Mode.GOOD
    return Effect(detected, bench.wait_for_frames("mjpeg"))


def _clock_setter(bench: Bench, seconds: int) -> Callable[[], bool]:
    """Step the clock; return what tells whether the daemon has noticed."""
    bench.clock.step(seconds)

    def noticed() -> bool:
        heartbeat = bench.subscriber.heartbeat
        ahead_s = 0.0 if heartbeat is None else heartbeat.envelope.wall_ns / 1e9 - time.time()
        return abs(ahead_s - seconds) < STEP_S / 2

    return noticed


def _complains(log: str) -> bool:
    return "are not kept" in log or "are left out" in log


def _pictured(bench: Bench, known: set[str]) -> bool:
    """Whether all alerts are in the database, and one that is not in `known` has its picture."""
    waiting = bench.metric("taintwatch_evidence_waiting") + bench.metric("taintwatch_evidence_trouble")
    pictures = bench.site.evidence.glob("media/*/frame.jpg")
    return waiting == 0 and any(picture.parent.name not in known for picture in pictures)


def _next_heartbeat(bench: Bench) -> float:
    before = bench.subscriber.heartbeats
    return bench.wait("a heartbeat comes", lambda seen: seen.heartbeats > before)


def _silent(bench: Bench) -> bool:
    """Whether nothing comes for two heartbeats' time: what a watcher would notice. The last may still be on its way."""
    heard = bench.subscriber.heartbeats
    time.sleep(1.0)
    return bench.subscriber.heartbeats == heard
