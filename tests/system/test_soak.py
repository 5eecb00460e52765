"""A minute's soak: real cameras of all kinds, every fault, and nothing lost or leaked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.soak import soak
from benchmarks.soaking.cameras import SYSTEM_PYTHON
from benchmarks.soaking.faults import FAULTS
from benchmarks.soaking.report import print_table

OPTIONAL = {"clock_stepped", "evidence_disk_full"}  # a C compiler; root


def gstreamer_is_here() -> bool:
    """Whether the system's Python can serve RTSP."""
    code = "import gi; gi.require_version('GstRtspServer', '1.0')"
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not gstreamer_is_here(),
    reason="GStreamer's RTSP server is not here (Debian: gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-*)",
)
def test_whatever_breaks_around_it_no_alert_is_lost_nothing_leaks_and_all_recovers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = soak(1.0, tmp_path, tell=lambda line: None)
    print_table(result)
    injected = {fault.name for fault in result.faults if fault.injected > 0}
    assert injected >= set(FAULTS) - OPTIONAL
    assert {fault.name: fault.failed for fault in result.faults if fault.failed} == {}
    assert all(fault.recovered_s is not None for fault in result.faults if fault.injected > 0)
    assert result.alerts > 10
    assert result.alerts_lost == 0
    assert (result.threads_leaked, result.descriptors_leaked) == (0, 0)
    assert "alert records lost         0" in capsys.readouterr().out
