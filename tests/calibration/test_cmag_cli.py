"""`taintwatch cmag train`, `cmag calibrate` and `calibrate check`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from taintwatch.cli.main import main
from taintwatch_calibration.thresholds import calibrate
from taintwatch_models.calibration_file import read_calibration, write_calibration
from taintwatch_models.cmag.file import read_cmag
from taintwatch_models.errors import CalibrationError, ModelError, UsageError
from tests.cmag_scene import CmagScene, benign_pictures, frames_of, make_scene, noisy, write_pictures


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> CmagScene:
    """A tiny model with reconstructors, calibrated for `tight` only; benign pictures in `benign`, new ones in `new`."""
    folder = tmp_path_factory.mktemp("cli")
    made = make_scene(folder)
    before, _ = calibrate(made.radar, frames_of(benign_pictures(200, seed=1)), target_fpr=0.05, variants=("tight",))
    write_calibration(before, folder / "tiny.calibration.json")
    write_pictures(folder / "benign", benign_pictures(200, seed=1))
    write_pictures(folder / "new", benign_pictures(120, seed=2))
    write_pictures(folder / "other-lens", noisy(benign_pictures(60, seed=3)))
    return made


def test_train_writes_reconstructors_bound_to_the_model_and_a_sheet_to_look_at(
    scene: CmagScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.cmag.onnx"
    status = main(
        ["cmag", "train", "--model", str(scene.model), "--benign", str(scene.model.with_name("benign")), "--out",
         str(out), "--size", "16", "--width", "4", "--epochs", "1", "--threads", "1"]
    )  # fmt: skip
    assert status == 0, capsys.readouterr().err
    info = read_cmag(out).info
    assert info.model_hash == scene.radar.info.source_sha256
    assert (info.size, info.benign_frames) == (16, 200)
    sheet = cv2.imread(str(tmp_path / "mine.cmag.png"))
    assert sheet is not None
    assert sheet.shape[0] == 4 * 96
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.cmag.onnx", "mine.cmag.png"]


def test_calibrate_then_check_tells_whether_the_thresholds_hold(
    scene: CmagScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "c.json", str(scene.model)
    status = main(
        ["cmag", "calibrate", "--model", model, "--benign", str(scene.model.with_name("benign")), "--fpr", "0.05",
         "--combine", "either", "--out", str(out)]
    )  # fmt: skip
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "ssim: suspicious below" in said.out
    assert "joint (either), held-out false-positive rate" in said.out
    calibration = read_calibration(out, model_hash=scene.radar.info.source_sha256)
    assert calibration.cmag is not None
    assert calibration.combination is not None
    assert calibration.combination.target_fpr == 0.05

    command = ["calibrate", "check", "--model", model, "--calibration", str(out), "--detector", "cmag", "--detector",
               "joint", "--json", "--benign"]  # fmt: skip
    assert main([*command, str(scene.model.with_name("new"))]) == 0
    found = {row["detector"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["cmag"]["holds"]
    assert found["joint"]["frames"] == 120
    assert found["cmag"]["low"] <= found["cmag"]["rate"] <= found["cmag"]["high"]

    assert main([*command, str(scene.model.with_name("other-lens"))]) == 1
    said = capsys.readouterr()
    assert not any(row["holds"] for row in json.loads(said.out) if row["detector"] == "cmag")
    assert "no longer hold" in said.err.splitlines()[-1]


def test_check_says_so_in_a_table_for_people(scene: CmagScene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "check", "--model", str(scene.model), "--benign", str(scene.model.with_name("new"))]) == 0
    assert "tight" in capsys.readouterr().out


def folder_of(count: int, tmp_path: Path) -> str:
    return str(write_pictures(tmp_path / "few", benign_pictures(count, seed=9)))


def grey(tmp_path: Path) -> str:
    return str(write_pictures(tmp_path / "grey", np.full((120, 32, 32, 3), 90, np.uint8)))


@pytest.mark.parametrize(
    ("command", "sentence", "status"),
    [
        ("train --benign {few}", "12 benign frames are too few to train", UsageError.exit_status),
        ("train --benign {grey}", "all 120 pictures are of a single colour", UsageError.exit_status),
        ("train --benign {few} --out {tmp}/none/x.onnx", "its folder does not exist", UsageError.exit_status),
        ("train --benign {few} --temperature 0", "--temperature must be above 0", UsageError.exit_status),
        ("calibrate --benign {few}", "12 benign frames are too few for a false-positive", CalibrationError.exit_status),
        ("calibrate --benign {grey}", "all 120 pictures are of a single colour", UsageError.exit_status),
        ("calibrate --benign {few} --cmag {model}", "not CMAG reconstructors", ModelError.exit_status),
        ("calibrate --benign {few} --calibration {tmp}/no.json", "no such calibration", CalibrationError.exit_status),
        ("calibrate --benign {benign} --fpr 0.05 --statistic hue --out {tmp}/c.json", "no statistic 'hue'",
         CalibrationError.exit_status),
    ],
)  # fmt: skip
def test_wrong_use_is_one_sentence_and_writes_nothing(
    command: str, sentence: str, status: int, scene: CmagScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"few": folder_of(12, tmp_path), "grey": grey(tmp_path), "tmp": tmp_path, "model": scene.model,
              "benign": scene.model.with_name("benign")}  # fmt: skip
    before = sorted(path.name for path in scene.model.parent.iterdir())
    words = command.format(**places).split()
    assert main(["cmag", words[0], "--model", str(scene.model), *words[1:]]) == status
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("taintwatch: ")
    assert sentence in said
    assert sorted(path.name for path in scene.model.parent.iterdir()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "grey"]


def test_the_bundled_models_own_files_are_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cmag", "train", "--benign", "x"]) == UsageError.exit_status
    assert "--out" in capsys.readouterr().err
