"""Memory that was freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from taintwatch.process import MemoryTrimmer, trim_memory

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
