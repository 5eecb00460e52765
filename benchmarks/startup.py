"""How long a start takes: `taintwatch run` until its alert socket is bound and its model warm, and the bare import.

    python -m benchmarks.startup [--repeats 5] [--json docs/results/startup.json]

The clock starts before the process does and stops at the `started` line, which is printed once the model is loaded and
warm and the socket bound; cameras open after it.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scripts import run_main
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.errors import TaintwatchError

__all__ = ["main"]

PROGRAM = Path(sys.executable).with_name("taintwatch")


def ready_s(*more: str) -> float:
    """Start the daemon on the simulator; return the seconds until it says that it has started."""
    arguments = [str(PROGRAM), "run", "--source", "sim:", "--json", "--quiet", "--bind", "tcp://127.0.0.1:*", *more]
    start = time.perf_counter()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline() if process.stdout is not None else ""
        spent = time.perf_counter() - start
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    if '"started"' not in line:
        raise TaintwatchError(f"taintwatch run did not start: {said.strip()[-300:]}")
    return spent


def python_s(code: str) -> float:
    """Return the seconds that a fresh interpreter takes for `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def repeated(measure: Callable[[], float], repeats: int) -> dict[str, Any]:
    """Return the median and all values, in seconds; the first run, which warms the disk cache, is left out.

    `processor_s` is what a run costs: on a machine that others use too it says what an idle one would take.
    """
    measure()
    before = _processor_s()
    values = sorted(round(measure(), 4) for _ in range(repeats))
    spent = (_processor_s() - before) / repeats
    median = round(statistics.median(values), 4)
    return {"median_s": median, "processor_s": round(spent, 4), "all_s": values, "load_1min": os.getloadavg()[0]}


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    document: dict[str, Any] = {**machine()}
    measures: dict[str, Callable[[], float]] = {
        "interpreter": lambda: python_s("pass"),
        "import_taintwatch": lambda: python_s("import taintwatch"),
        "import_the_service": lambda: python_s("import taintwatch.service"),
        "run_until_ready": ready_s,
        "run_until_ready_all_detectors": lambda: ready_s("--detector", "tight", "--detector", "paper"),
    }
    for name, measure in measures.items():
        document[name] = repeated(measure, options.repeats)
        print(
            f"{name}: {document[name]['median_s']:.2f} s (median of {options.repeats}), "
            f"{document[name]['processor_s']:.2f} s of processor time",
            flush=True,
        )
    if options.json is not None:
        write_json(options.json, document)


if __name__ == "__main__":
    sys.exit(run_main(main, "startup"))
