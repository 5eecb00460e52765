"""Rows of the table in docs/sources.md: each input is watched by the real command, and none is missed silently."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.sources.files import file_cases
from benchmarks.sources.input_case import InputCase, judge
from benchmarks.sources.streams import stream_cases

CASES = [*file_cases(), *stream_cases()]
FAST = [case for case in CASES if not case.slow]

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


@pytest.mark.parametrize("case", FAST, ids=[f"{case.kind}: {case.name}" for case in FAST])
def test_an_input_is_judged_to_its_last_frame_or_said_to_be_unusable(case: InputCase, tmp_path: Path) -> None:
    outcome = judge(case, tmp_path)
    assert outcome.problems == (), outcome.said


def test_the_table_has_a_row_for_every_kind_of_input() -> None:
    kinds = {case.kind for case in CASES}
    expected = "MJPEG colour container damage folder image mistake name shape snapshot time transport"
    assert kinds == set(expected.split())
    assert len(CASES) >= 60
