"""Preparing a model in a process of its own: the same graph as here, and an end whatever the file does to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from taintwatch_models import preparation_process
from taintwatch_models.errors import ModelError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.preparation_process import prepare_apart
from tests.tiny_model import write_model


def test_it_gives_the_graph_that_is_prepared_here(tmp_path: Path) -> None:
    settings = ModelSettings(path=str(write_model(tmp_path / "m.onnx")))
    here, apart = load_radar_file(settings), prepare_apart(settings)
    assert (apart.info, apart.proto.SerializeToString()) == (here.info, here.proto.SerializeToString())


def test_it_says_why_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"m\.onnx: not a valid ONNX model"):
        prepare_apart(ModelSettings(path=str(path)))


def test_it_is_ended_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation_process, "PREPARE_S", 0.05)
    settings = ModelSettings(path=str(write_model(tmp_path / "m.onnx")))
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"m\.onnx: takes longer than 0\.05 s to prepare"):
        prepare_apart(settings)
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    ("program", "said"), [("import os; os.abort()", "was ended by SIGABRT"), ("raise SystemExit(3)", "with status 3")]
)
def test_a_file_that_ends_the_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    (tmp_path / "crash.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(preparation_process, "__name__", "crash")
    with pytest.raises(ModelError, match=f"m.onnx: cannot be prepared; the process that did it .*{said}"):
        prepare_apart(ModelSettings(path="m.onnx"))
