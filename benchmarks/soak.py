"""Run the daemon for a while with four real cameras, break everything around it, and see whether it can be left alone.

    python -m benchmarks.soak --minutes 20 [--json docs/results/soak.json]

Needs GStreamer's RTSP server; one fault needs root (a small disk of its own), one a C compiler. On Debian:
apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{good,bad,ugly} gcc libc6-dev
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.soaking.bench import Bench, Effect, FaultError, Pace
from benchmarks.soaking.cameras import MjpegCamera, RtspCamera
from benchmarks.soaking.clock import SteppedClock
from benchmarks.soaking.daemon import Daemon
from benchmarks.soaking.faults import FAULTS, KILL, settle
from benchmarks.soaking.report import Result, measure, print_table
from benchmarks.soaking.site import SoakSite
from benchmarks.soaking.subscriber_log import SubscriberLog
from benchmarks.timed_run import timed_run
from taintwatch_calibration.results import write_json
from tests.ports import free_port

__all__ = ["main", "soak"]

LONG = Pace(outage_s=6.0, patience_s=120.0, hangups=40)
SHORT = Pace(outage_s=0.5, patience_s=60.0, hangups=20)
LONG_FROM_MINUTES = 5.0
SAMPLE_S = 1.0
QUIET_LOOKS, LONGEST_LOOKS = 40, 240  # four a second


def soak(minutes: float, folder: Path, tell: Callable[[str], None] = print) -> Result:
    """Soak for so many minutes (at least one round of all faults) in `folder`; return what came of it.

    Raises `RuntimeError` where the daemon or a camera cannot even be started.
    """
    long = minutes >= LONG_FROM_MINUTES
    start = time.monotonic()
    with ExitStack() as stack:
        bench = _set_up(folder, LONG if long else SHORT, stack)
        stack.enter_context(bench.daemon.sampled(SAMPLE_S))
        effects: dict[str, list[Effect]] = {name: [] for name in FAULTS}
        failures: dict[str, list[str]] = {name: [] for name in FAULTS}
        if long:
            # The first life is ended early and the second at the very end: a long one lies between.
            time.sleep(10.0)
            _inject(bench, KILL, effects, failures, tell)
            time.sleep(60.0)
        _settle_and_note(bench)
        for name in _programme(bench, start + minutes * 60.0, tell):
            _inject(bench, name, effects, failures, tell)
        _settle_and_note(bench)
        _inject(bench, KILL, effects, failures, tell)
        time.sleep(1.0)
        bench.daemon.stop()
        bench.subscriber.wait(lambda seen: False, 2.0)
        bench.look_into_store()
        return measure(bench, (time.monotonic() - start) / 60.0, 60.0 if long else 5.0, effects, failures)


def _set_up(folder: Path, pace: Pace, stack: ExitStack) -> Bench:
    rtsp, mjpeg, clock = RtspCamera(), MjpegCamera(), SteppedClock(folder)
    stack.callback(mjpeg.close)
    stack.callback(rtsp.kill)
    rtsp.start()
    site = SoakSite(folder, rtsp, mjpeg, free_port(), free_port(), free_port())
    stack.callback(site.close)
    daemon = Daemon(folder, site.config, clock.environment())
    stack.callback(daemon.close)
    subscriber = stack.enter_context(SubscriberLog(site.endpoint))
    daemon.start()
    bench = Bench(daemon, site, rtsp, mjpeg, subscriber, clock, pace)
    settle(bench)
    subscriber.forget_silence()
    return bench


def _programme(bench: Bench, until: float, tell: Callable[[str], None]) -> Iterator[str]:
    """Yield faults, round after round, until the time is up; each at least once."""
    names = [name for name in FAULTS if name != KILL]
    if not bench.clock.available:
        tell("no C compiler here: the clock is not stepped")
        names.remove("clock_stepped")
    if not bench.site.small_disk:
        tell("a disk cannot be mounted here (that takes root): it is not filled")
        names.remove("evidence_disk_full")
    for number in itertools.count():
        for name in names:
            if number > 0 and time.monotonic() > until:
                return
            yield name


def _inject(
    bench: Bench,
    name: str,
    effects: dict[str, list[Effect]],
    failures: dict[str, list[str]],
    tell: Callable[[str], None],
) -> None:
    try:
        effect = FAULTS[name](bench)
    except FaultError as error:
        failures[name].append(str(error))
        tell(f"{name}: {error}")
    else:
        effects[name].append(effect)
        seen = "" if effect.detected_s is None else f"noticed within {effect.detected_s:.2f} s, "
        tell(f"{name}: {seen}recovered within {effect.recovered_s:.2f} s")


def _settle_and_note(bench: Bench) -> None:
    """Note what the daemon holds when all is well: the least of many looks, for clips are written now and then.

    At the end it is given a minute to come back to what it held before: what it keeps for longer is a leak.
    """
    settle(bench)
    before = next((each for each in bench.quiet if each.pid == bench.daemon.pid), None)
    least = bench.daemon.sample()
    for number in range(LONGEST_LOOKS):
        time.sleep(0.25)
        look = bench.daemon.sample()
        threads, descriptors = min(least.threads, look.threads), min(least.descriptors, look.descriptors)
        least = replace(look, threads=threads, descriptors=descriptors)
        back = before is None or (threads <= before.threads and descriptors <= before.descriptors)
        if number >= QUIET_LOOKS and back:
            break
    bench.quiet.append(least)


def main() -> int:
    """Soak for the minutes asked for, at least one round; print the table, write the JSON."""
    with timed_run("soak", __doc__, minutes=20.0) as run:
        result = soak(run.minutes, run.folder, run.report)
        write_json(run.document, result.as_json())
    print_table(result)
    failed = result.alerts_lost or result.threads_leaked or result.descriptors_leaked
    return 1 if failed or any(each.failed for each in result.faults) else 0


if __name__ == "__main__":
    sys.exit(main())
