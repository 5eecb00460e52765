"""Thresholds come from benign frames alone and keep the target false-positive rate on frames they never saw."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from taintwatch_calibration.benign import BenignFrames, read_benign, split_in_blocks
from taintwatch_calibration.cli_calibrate import calibrate_group
from taintwatch_calibration.thresholds import calibrate
from taintwatch_models.calibration_file import read_calibration
from taintwatch_models.errors import CalibrationError, SourceError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from tests.tiny_model import footage, write_model, write_video


def photographs(folder: Path, count: int) -> Path:
    """Smooth coloured pictures, each another."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index:03}.png"), cv2.resize(small, (40, 40), interpolation=cv2.INTER_CUBIC))
    return folder


def test_both_variants_keep_the_target_fpr_on_the_chosen_half(tmp_path: Path) -> None:
    radar = load_radar_file(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))
    frames = read_benign(str(photographs(tmp_path / "benign", 120)), radar.info.preprocessing)
    calibration, curve = calibrate(radar, frames, target_fpr=0.1)
    assert calibration.model_hash == radar.info.source_sha256
    assert calibration.tight.held_out is not None
    assert calibration.tight.held_out.frames == 60
    assert calibration.tight.held_out.low <= calibration.tight.held_out.rate <= calibration.tight.held_out.high
    assert calibration.tight.held_out.rate < 0.3
    assert curve is not None
    assert set(curve.false_positive_rates) == {1, 2, 3}  # no more K than classes


def test_too_few_frames_for_the_rate_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    radar = load_radar_file(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))
    frames = read_benign(str(photographs(tmp_path / "benign", 30)), radar.info.preprocessing)
    with pytest.raises(CalibrationError, match=r"30 benign frames are too few .* give at least 100"):
        calibrate(radar, frames, target_fpr=0.02)
    with pytest.raises(CalibrationError, match="above 0 and at most"):
        calibrate(radar, frames, target_fpr=0)


def test_footage_is_split_in_blocks_of_time_and_photographs_at_random() -> None:
    pixels = np.zeros((100, 2, 2, 3), np.uint8)
    choose, check = split_in_blocks(BenignFrames(pixels, True, 0, "video"))
    assert not set(choose) & set(check)
    assert len(choose) + len(check) == 100
    assert np.sum(np.diff(np.sort(choose)) > 1) == 4  # five blocks
    choose, check = split_in_blocks(BenignFrames(pixels, False, 0, "folder"))
    assert not set(choose) & set(check)
    assert np.sum(np.diff(np.sort(choose)) > 1) > 10


def test_a_long_video_is_thinned_evenly(tmp_path: Path) -> None:
    radar = load_radar_file(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))
    video = write_video(tmp_path / "v.mp4", footage(90))
    frames = read_benign(str(video), radar.info.preprocessing, most=40)
    assert 20 <= len(frames.pixels) <= 40
    assert frames.footage


def test_an_unreadable_picture_is_counted_and_nothing_else_is_lost(tmp_path: Path) -> None:
    radar = load_radar_file(ModelSettings(path=str(write_model(tmp_path / "m.onnx"))))
    folder = photographs(tmp_path / "benign", 5)
    (folder / "broken.jpg").write_bytes(b"no picture")
    frames = read_benign(str(folder), radar.info.preprocessing)
    assert (len(frames.pixels), frames.bad) == (5, 1)
    for picture in folder.glob("*.png"):
        picture.unlink()
    with pytest.raises(SourceError, match="none of its 1 images can be decoded"):
        read_benign(str(folder), radar.info.preprocessing)


def test_the_command_writes_a_calibration_that_a_run_accepts(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    folder = photographs(tmp_path / "benign", 60)
    arguments = ["thresholds", "--model", str(model), "--benign", str(folder), "--fpr", "0.1", "--json"]
    result = CliRunner().invoke(calibrate_group, arguments, catch_exceptions=False)
    said = json.loads(result.stdout)
    calibration = read_calibration(tmp_path / "m.calibration.json", model_hash=said["model_hash"])
    assert calibration.benign_frames == 60
    assert calibration.tight.threshold == said["tight"]["threshold"]
    shown = CliRunner().invoke(calibrate_group, arguments[:-1], catch_exceptions=False).stdout
    assert "held-out" in shown
