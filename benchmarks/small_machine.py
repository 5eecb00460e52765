"""What the daemon needs on a small machine: one core and 1 GB, limited by the kernel.

    python -m benchmarks.small_machine [--model MODEL.onnx] [--json docs/results/small_machine.json]

`taintwatch run` plays an H.264 file (640 x 480) as fast as it can, pinned to one core, in a control group with a limit
on its memory (cgroup v2 or v1; takes root), or under RLIMIT_DATA where there is none. Beside the frames a second, which
hold on an idle core, stands the processor time of a frame, which holds on a busy one too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame_rate import PROGRAM, write_video
from benchmarks.scripts import run_main
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.errors import UsageError

__all__ = ["MemoryGroup", "limited", "main", "memory_group"]

_ROOT = Path("/sys/fs/cgroup")
_JOIN = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
_DATA = 'ulimit -d "$1" && shift && exec "$@"'


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A control group with a limit on memory."""

    folder: Path
    peak: str
    """The file that says the most that was used."""
    kind: str

    def peak_mb(self) -> float:
        """The most that its processes used together, files in the page cache included."""
        return int((self.folder / self.peak).read_text()) / 1e6


@contextmanager
def memory_group(megabytes: int, root: Path = _ROOT) -> Iterator[MemoryGroup | None]:
    """Make a control group that may use so much; None where that cannot be had."""
    for parent, limit, peak, kind in (
        (root, "memory.max", "memory.peak", "cgroup v2"),
        (root / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "cgroup v1"),
    ):
        folder = parent / f"taintwatch-bench-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        if not (folder / peak).is_file():  # an ordinary folder, or a kernel that does not count this
            folder.rmdir()
            continue
        (folder / limit).write_text(str(megabytes * 1_000_000))
        try:
            yield MemoryGroup(folder, peak, kind)
        finally:
            with suppress(OSError):  # what still runs in it keeps it
                folder.rmdir()
        return
    yield None


@contextmanager
def one_core() -> Iterator[int]:
    """Let this process and what it starts run on one core alone; give its number."""
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


def limited(words: Sequence[str], group: MemoryGroup | None, megabytes: int) -> list[str]:
    """Return the command that runs `words` within the limit."""
    if group is None:
        return ["sh", "-c", _DATA, "sh", str(megabytes * 1_000_000 // 1024), *words]
    return ["sh", "-c", _JOIN, "sh", str(group.folder), *words]


def play(video: Path, model: str | None, detector: str | None, megabytes: int) -> dict[str, Any]:
    """Run the daemon on a video within the limits; JSON-ready. Raises `UsageError` where it did not live to the end."""
    words = [str(PROGRAM), "run", "--source", str(video), "--threads", "1", "--max-batch", "1"]
    words += ["--no-publish", "--json", "--quiet"]
    words += [] if model is None else ["--model", model]
    words += [] if detector is None else ["--detector", detector]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with memory_group(megabytes) as group, one_core():
        done = subprocess.run(limited(words, group, megabytes), capture_output=True, text=True, check=False)
        peak = None if group is None else round(group.peak_mb(), 1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it was ended for its memory"])[-1]
        raise UsageError(f"the daemon did not live to the end on one core and {megabytes} MB: {reason}")
    summary = json.loads(done.stdout.splitlines()[-1])
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "detector": detector or "the model's default", "frames": summary["frames"], "rejected": summary["rejected"],
        "fps": round(summary["fps"], 1), "processor_s": round(spent, 2),
        "limit": "RLIMIT_DATA" if group is None else group.kind, "limit_mb": megabytes,
        "group_peak_mb": peak, "resident_peak_mb": round(after.ru_maxrss / 1e3, 1),
    }  # fmt: skip


def measure(model: str | None, detector: str | None, frames: int, megabytes: int) -> dict[str, Any]:
    """Play a short and a long video: their difference is what a frame costs, without starting and ending."""
    with tempfile.TemporaryDirectory() as folder:
        videos = [Path(folder) / f"{name}.mp4" for name in ("short", "long")]
        for video, count in zip(videos, (max(1, frames // 10), frames), strict=True):
            write_video(video, count)
        short, long = (play(video, model, detector, megabytes) for video in videos)
    spent = (long["processor_s"] - short["processor_s"]) / (long["frames"] - short["frames"])
    return {
        **long, "processor_ms_a_frame": round(1e3 * spent, 2), "fps_of_an_idle_core": round(1 / spent, 1),
        "load_1min": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def describe(found: dict[str, Any]) -> str:
    """Return one run in a line."""
    return (
        f"{found['detector']}: {found['fps']} frames/s, {found['processor_ms_a_frame']} ms of processor time a frame "
        f"({found['fps_of_an_idle_core']} frames/s on an idle core), {found['resident_peak_mb']} MB resident at most, "
        f"{found['group_peak_mb']} MB with files, within {found['limit_mb']} MB ({found['limit']}); "
        f"load {found['load_1min']}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="ONNX file; default: the bundled sign model")
    parser.add_argument("--detectors", nargs="+", default=["default", "tight"], help="`default`: the model's")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--json", type=Path, default=Path("docs/results/small_machine.json"))
    options = parser.parse_args(arguments)
    document: dict[str, Any] = {"model": options.model and Path(options.model).stem, **machine(), "runs": []}
    for name in options.detectors:
        found = measure(options.model, None if name == "default" else name, options.frames, options.megabytes)
        document["runs"].append(found)
        print(describe(found), flush=True)
    write_json(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "small_machine"))
