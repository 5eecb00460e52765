"""The gate's threshold keeps the target share, and `taintwatch calibrate gate` puts it where a run finds it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.cli_calibrate import calibrate_group
from taintwatch_calibration.gate import calibrate_gate
from taintwatch_models.bundled import bundled_radar
from taintwatch_models.calibration_file import Calibration, TightCalibration, read_calibration, write_calibration
from taintwatch_models.errors import CalibrationError, UsageError
from taintwatch_models.graph.verification import check_pixels
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from tests.system.program import taintwatch
from tests.tiny_model import footage, write_model, write_video

RADAR = bundled_radar()
FRAMES = BenignFrames(check_pixels(RADAR.info.preprocessing, 120), False, 0, "smooth noise")


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(calibrate_group, ["gate", *map(str, arguments)])


def test_about_the_target_share_is_checked_on_frames_that_the_threshold_was_not_chosen_on() -> None:
    gate = calibrate_gate(RADAR, FRAMES, share=0.2, tight=TightCalibration(swing_weight=0.25), threads=1)
    assert gate.held_out is not None
    assert gate.held_out.frames == 60
    assert gate.held_out.low <= 0.2 <= gate.held_out.high
    assert gate.swing_weight == 0.25
    wider = calibrate_gate(RADAR, FRAMES, share=0.5, tight=TightCalibration(swing_weight=0.25), threads=1)
    assert wider.threshold < gate.threshold


@pytest.mark.parametrize(("share", "sentence"), [(0.01, "give at least 200"), (0.0, "between 0 and 1")])
def test_too_few_frames_and_a_senseless_share_are_refused(share: float, sentence: str) -> None:
    with pytest.raises(CalibrationError, match=sentence):
        calibrate_gate(RADAR, FRAMES, share=share, tight=TightCalibration(), threads=1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the tiny model, its calibration, and benign pictures of many brightnesses."""
    model = write_model(tmp_path / "m.onnx")
    info = load_radar_file(ModelSettings(path=str(model))).info
    calibration = Calibration(model_hash=info.source_sha256, model_name="m", target_fpr=0.02)
    write_calibration(calibration, tmp_path / "m.calibration.json")
    (tmp_path / "benign").mkdir()
    rng = np.random.default_rng(0)
    for index in range(60):
        small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "benign" / f"{index:03}.png"), cv2.resize(small, (40, 40)))
    return tmp_path


def test_the_command_puts_the_gate_into_the_calibration_and_leaves_the_rest(place: Path) -> None:
    before = read_calibration(place / "m.calibration.json")
    done = invoke("--model", place / "m.onnx", "--benign", place / "benign", "--share", "0.1", "--json")
    assert done.exit_code == 0, done.output
    after = read_calibration(place / "m.calibration.json")
    assert after.gate is not None
    assert (after.tight, after.paper, after.model_hash) == (before.tight, before.paper, before.model_hash)
    printed = json.loads(done.output.splitlines()[-1])
    assert printed["threshold"] == after.gate.threshold
    assert after.gate.target_share == 0.1


def test_a_run_with_the_gate_says_how_many_frames_were_not_checked_and_still_finds_the_attack(place: Path) -> None:
    video = write_video(place / "walk.mp4", footage(60, range(30, 50)))
    benign = write_video(place / "benign.mp4", footage(60))
    assert invoke("--model", place / "m.onnx", "--benign", benign, "--share", "0.1").exit_code == 0
    lines = {}
    for more in ((), ("--gate",)):
        done = taintwatch(
            "run", "--source", video, "--model", place / "m.onnx", "--json", "--quiet", "--no-publish", *more
        )
        assert done.returncode == 0, done.stderr
        lines[more] = [json.loads(line) for line in done.stdout.splitlines()]
    plain, gated = lines[()], lines[("--gate",)]
    assert plain[-1]["unchecked"] == 0
    assert 20 <= gated[-1]["unchecked"] <= 40
    assert next(line["state"] for line in gated if line["kind"] == "alert") == "raised"
    assert plain[-1]["alerts"] == gated[-1]["alerts"] == 1


def test_wrong_use_is_told_in_one_sentence(place: Path) -> None:
    given = ("--model", place / "m.onnx", "--benign", place / "benign")
    for arguments, sentence in (
        (("--benign", place / "benign"), "the bundled model's own calibration is not overwritten"),
        ((*given, "--calibration", place / "n.json"), "no such calibration"),
        ((*given, "--out", place / "no" / "c.json"), "its folder does not exist"),
    ):
        done = invoke(*arguments)
        assert isinstance(done.exception, UsageError | CalibrationError)
        assert sentence in str(done.exception)
    done_run = taintwatch("run", "--source", place / "benign", "--model", place / "m.onnx", "--gate", "--no-publish")
    assert done_run.returncode == 78
    assert "the gate has no threshold for this model" in done_run.stderr
