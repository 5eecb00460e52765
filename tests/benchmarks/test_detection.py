"""`python -m benchmarks.detection`: what it refuses before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.detection.__main__ import command
from benchmarks.scripts import run_script


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--fpr", "0.9"), "--fpr must be above 0 and at most 0.5"),
        (("--reference", "resnet"), "there is no reference model 'resnet'; there are bundled, mobilenet_v2"),
        (("--peer", "none"), "there is no peer 'none'; there are sentinet"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(command, "detection", ["--data", str(tmp_path), *arguments]) == 2
    assert sentence in capsys.readouterr().err
