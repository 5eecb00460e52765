"""A calibration that would blind the daemon, or that is none, is refused in one sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taintwatch_models.bundled import bundled_calibration_path
from taintwatch_models.calibration_file import read_calibration
from taintwatch_models.errors import CalibrationError

BUNDLED = bundled_calibration_path().read_text()
HEAD = '{"format": "taintwatch-calibration/1", '


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(CalibrationError) as caught:
        read_calibration(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 4000, "1e300", "-1e7"])
def test_a_threshold_that_never_alarms_is_refused(tmp_path: Path, number: str) -> None:
    blinding = re.sub(r'("threshold": )[-\d.e]+', lambda match: match[1] + number, BUNDLED, count=1)
    assert refused(tmp_path / "c.json", blinding).startswith(f"{tmp_path / 'c.json'}: ")


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[" * 100_000, '{"a":' * 50_000, HEAD + '"tight": []}', HEAD + '"colour": 1}',
        HEAD + '"cmag": {"limits": [], "target_fpr": 0.1}}', HEAD + '"tight": {"held_out": {"frames": 1}}}',
        HEAD + '"tight": {"threshold": true}}', HEAD + '"tight": {"saliency_threshold": 2}}',
        HEAD + '"target_fpr": -1}', HEAD + '"paper": {"labels": 0}}',
    ],
)  # fmt: skip
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    refused(tmp_path / "c.json", text)


def test_a_pipe_in_place_of_a_calibration_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.json")
    with pytest.raises(CalibrationError, match="not a regular file"):
        read_calibration(tmp_path / "c.json")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(BUNDLED)), text=st.text(max_size=20))
def test_whatever_is_changed_in_a_calibration_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_text(BUNDLED[:at] + text + BUNDLED[at + len(text) :], encoding="utf-8", errors="surrogatepass")
    try:
        read_calibration(path)
    except CalibrationError:
        return
