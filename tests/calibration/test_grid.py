"""`taintwatch trial grid` on a small classifier: all its cells, resumed, and with ready-made patches."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from taintwatch.cli.main import main
from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.bench.detectors import LEARNT, BenchDetectors
from taintwatch_calibration.bench.patch_files import read_patch
from taintwatch_calibration.bench.patch_grid import all_cells, plan_of
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.thresholds import tight_scores
from taintwatch_models.calibration_file import Calibration, TightCalibration
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from tests.craft_scene import write_classifier, write_pictures
from tests.tiny_model import write_model


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    model = write_classifier(tmp_path / "model.onnx")
    images = write_pictures(tmp_path / "images", 90, wrong=3)
    out, table = tmp_path / "grid", tmp_path / "table.json"
    return ["trial", "grid", "--model", str(model), "--images", str(images), "--out", str(out), "--json", str(table)]


def test_the_grid_has_36_cells_and_24_patches() -> None:
    cells = all_cells()
    assert len(set(cells)) == 36
    plans = {plan_of(cell, 1, 10, 0) for cell in cells}
    assert len(plans) == 24  # those crafted at several sizes serve three cells each


def test_a_grid_is_complete_and_is_not_done_twice(tmp_path: Path, arguments: list[str]) -> None:
    assert main([*arguments, "--iterations", "25"]) == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["pictures"]["wrong_skipped"] == 3
    rows = table["cells"]
    assert len(rows) == 72
    keys = {(r["batch_size"], r["sizes"], r["patch_size"], r["position"], r["detector"]) for r in rows}
    assert len(keys) == 72
    large = [row for row in rows if row["patch_size"] == 0.4 and row["batch_size"] == 16]
    for row in large:
        assert row["successes"] == row["attempts"] > 0
        assert row["success_rate"] == 1.0
    assert all(row["tpr"] == 1.0 and row["fpr"] <= 0.2 for row in large if row["detector"] == "tight")
    for row in rows:
        if row["successes"] == 0:
            assert row["tpr"] is None
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "grid").rglob("*") if path.parent.name != "grid"}
    assert main([*arguments, "--iterations", "25"]) == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "grid").rglob("*") if path.parent.name != "grid"}
    assert after == kept
    assert json.loads((tmp_path / "table.json").read_text())["cells"] == rows


def test_tight_weighs_anomaly_here_as_in_the_daemon(tmp_path: Path) -> None:
    plain = load_radar_file(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))
    pixels = np.random.default_rng(0).integers(90, 160, (100, 32, 32, 3)).astype(np.uint8)
    frames = BenignFrames(pixels, False, 0, "noise")
    radar, tight = fit_anomaly(plain, frames).radar, TightCalibration(anomaly_weight=2.0)
    calibration = Calibration(tight=tight)
    detectors = BenchDetectors(radar, calibration, LEARNT, OnnxRadar(radar, ("tight", "paper"), calibration))
    expected = tight_scores(radar, frames, tight, progress=lambda what, done, total: None)
    scores = detectors.detect(pixels).scores
    np.testing.assert_allclose(scores["default"], expected, rtol=1e-5)
    unweighed = tight_scores(radar, frames, TightCalibration(), progress=lambda what, done, total: None)
    np.testing.assert_allclose(scores["tight"], unweighed, rtol=1e-5)
    assert np.abs(expected - unweighed).max() > 0.1


def test_ready_made_patches_are_shown_at_every_size_and_place(tmp_path: Path, arguments: list[str]) -> None:
    folder = tmp_path / "patches"
    folder.mkdir()
    magenta = np.zeros((16, 16, 3), np.uint8)
    magenta[..., 0] = magenta[..., 2] = 255
    cv2.imwrite(str(folder / "magenta.png"), magenta)
    np.save(folder / "grey.npy", np.full((3, 16, 16), 0.5, np.float32))
    page = tmp_path / "page.md"
    assert main([*arguments, "--patches", str(folder), "--markdown", str(page)]) == 0
    lines = page.read_text().splitlines()
    assert len(lines) == 2 + 12
    assert "| grey.npy | 0.2 | bottom-right | 0.0% of 21 | none succeeds | none succeeds |" in lines
    rows = json.loads((tmp_path / "table.json").read_text())["cells"]
    assert len(rows) == 2 * 6 * 2
    assert all(row["success_rate"] == 1 for row in rows if row["patch"] == "magenta.png" and row["patch_size"] == 0.4)
    assert all(row["success_rate"] == 0 for row in rows if row["patch"] == "grey.npy")


def test_bad_input_is_one_sentence(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    few = write_pictures(tmp_path / "few", 30)
    (tmp_path / "patches.gz").write_bytes(b"no gzip")
    cases = {
        ("--fpr", "0.9"): "--fpr must be above 0 and at most 0.5",
        ("--target", "toster"): "did you mean 'toaster'?",
        ("--patches", str(empty)): "no PNG or NPY file in it",
        ("--patches", str(tmp_path / "patches.gz")): "not a gzipped file that can be read",
        ("--images", str(empty)): "holds no picture",
        ("--images", str(few)): "the bench needs at least 80 pictures",
    }
    for more, sentence in cases.items():
        assert main([*arguments, *more]) == 2
        assert sentence in capsys.readouterr().err


def test_patches_that_are_none_are_said(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(5))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"a patch is \(side, side, 3\)"):
        read_patch(tmp_path / "flat.npy")
    with pytest.raises(UsageError, match="not an image that can be decoded"):
        read_patch(tmp_path / "text.png")
