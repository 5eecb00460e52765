"""What all tests share: where the measuring data lies, and skipping where it or a GPU is missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres_server import MISSING, PostgresServer, postgres_server

# Tests run side by side: threads that spin for each other's cores only slow all down. Before NumPy and torch come in.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# How fast a busy machine is says nothing about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the measuring data or a GPU where there is none."""
    for item in items:
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="the measuring data is not in ../shared/data"))
        if item.get_closest_marker("cuda") and shutil.which("nvidia-smi") is None:
            item.add_marker(pytest.mark.skip(reason="there is no NVIDIA GPU here"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Name what failed once more, as the last line of all: where only the end of a log is kept, it says enough."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")  # none in a worker of xdist
    if reporter is None:
        return
    reports = [report for outcome in ("failed", "error") for report in reporter.stats.get(outcome, ())]
    if reports:
        reporter.write_line("failed: " + "; ".join(dict.fromkeys(map(_in_one_line, reports))))


def _in_one_line(report: pytest.CollectReport | pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    reason = "" if crash is None else f" ({crash.message.strip().partition(chr(10))[0][:200]})"
    return f"{report.nodeid}{reason}"


@pytest.fixture(autouse=True)
def _denormals_stay() -> Iterator[None]:
    """Whatever flushes denormals to zero puts that back: the tests that follow in the process count on IEEE 754."""
    yield
    assert sys.float_info.min / 2 > 0, "this test left the process flushing denormals to zero"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the measuring data; a test that takes it carries `pytest.mark.shared`."""
    if not SHARED.is_dir():
        pytest.skip("the measuring data is not in ../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that runs; a test that takes it is skipped where the programs are missing."""
    if MISSING is not None:
        pytest.skip(MISSING)
    with postgres_server() as server:
        yield server
