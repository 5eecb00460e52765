"""Memory that was freed goes back to the system, and a process that was told to end does end."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from taintwatch.process import MemoryTrimmer, stop_on_signals, trim_memory

HOLES = """
from pathlib import Path
from taintwatch.process import trim_memory

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

before = resident_pages()
pieces = [bytes(60_000) for _ in range(2000)]  # below the size that gets a mapping of its own: 120 MB
held = pieces[::20] + pieces[-1:]  # holes everywhere, and the end is in use
del pieces
full = resident_pages()
assert trim_memory()
print((resident_pages() - before) / (full - before))
"""


@pytest.mark.skipif(not trim_memory(), reason="this C library cannot give memory back")
def test_holes_in_the_heap_are_given_back_to_the_system(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLES], capture_output=True, text=True, check=False, timeout=60, cwd=repository
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.3


def test_it_is_done_again_and_again_until_the_end() -> None:
    times, enough = [], threading.Event()

    def give() -> bool:
        times.append(threading.current_thread().name)
        if len(times) == 3:
            enough.set()
        return True

    with MemoryTrimmer(every_s=0.001, trim=give):
        assert enough.wait(30)
    assert set(times) == {"memory"}
    assert not any(thread.name == "memory" for thread in threading.enumerate())


def test_where_it_cannot_be_done_it_is_not_tried_again() -> None:
    tried = []

    def refuse() -> bool:
        tried.append(1)
        return False

    keeper = MemoryTrimmer(every_s=0.001, trim=refuse)
    with keeper:
        keeper._thread.join(30)
        assert not keeper._thread.is_alive()
    assert tried == [1]


STUCK = """
import os, sys
from taintwatch.process import stop_on_signals
with stop_on_signals(limit_s=0.5):
    print("ready", file=sys.stderr, flush=True)
    while True:
        os.write(1, bytes(65536))  # nobody reads it: once the pipe is full this never returns
"""


def test_a_process_whose_output_nobody_reads_any_more_ends_all_the_same_and_says_where_it_hung(
    repository: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repository
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.terminate()
        said = process.stderr.read()
        assert process.wait(60) == 1
    assert "Thread" in said
    assert 'File "<string>", line 7' in said


def test_leaving_in_time_ends_nothing() -> None:
    with stop_on_signals(limit_s=0.05):
        pass
    for thread in threading.enumerate():
        if thread.name == "stop":
            thread.join(30)
            assert not thread.is_alive()
