"""The GPU's checks go through on the CPU, refuse a machine without a GPU, and say what failed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import gpu
from taintwatch_models.onnx_session import gpu_present
from tests.tiny_model import write_model

SCRIPT = Path(gpu.__file__).with_name("gpu.sh")


def test_a_dry_run_measures_every_way_and_writes_table_and_json(tmp_path: Path) -> None:
    model, out, table = write_model(tmp_path / "tiny.onnx"), tmp_path / "gpu.json", tmp_path / "gpu.md"
    status = gpu.main(["--dry-run", "--models", str(model), "--json", str(out), "--table", str(table)])
    found = json.loads(out.read_text())
    assert status == 0
    assert found["dry_run"] is True
    assert [row["way"] for row in found["rows"]] == [way.name for way in gpu.ways(dry=True)]
    assert all(row["labels_agree"] == 1.0 for row in found["rows"])
    assert all(row["batch1"]["paper"]["p50"] > 0 for row in found["rows"])
    assert table.read_text().count("tiny") == len(found["rows"])


def test_what_cannot_be_measured_is_said_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    assert gpu.main(["--dry-run", "--models", str(broken)]) == 1
    assert "broken.onnx" in capsys.readouterr().out
    rows = list(gpu.run([write_model(tmp_path / "tiny.onnx")], dry=True, minutes=-1.0, rounds=1))
    assert {row["failure"] for row in rows} == {"not measured: no time was left"}


def test_targets_are_met_by_the_best_way_alone() -> None:
    def row(tight: float, rate: float) -> dict[str, object]:
        one = {"tight": {"p50": tight}, "paper": {"p50": 4.0}}
        return {"model": "vgg16", "way": "any", "batch1": one, "batch32": {"frames_per_second": rate}}

    assert gpu.verdicts([row(9.0, 2500.0), row(2.0, 100.0)], 32)["vgg16"]["met"]
    assert not gpu.verdicts([row(3.5, 2500.0)], 32)["vgg16"]["met"]
    assert not gpu.verdicts([{"model": "vgg16", "way": "any", "failure": "no"}], 32)["vgg16"]["met"]


def test_without_a_gpu_both_refuse_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "gpu_present", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(gpu_present(), reason="there is a GPU")
def test_the_script_refuses_in_one_sentence() -> None:
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--dry-run" in done.stderr
