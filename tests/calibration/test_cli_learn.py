"""`taintwatch calibrate learn` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from taintwatch.cli.main import main
from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.general import unpack
from taintwatch_models.detection.reference import read_reference
from tests.tiny_model import footage, write_model, write_video


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benign")
    for index, picture in enumerate(unpack(bundled_path("general.npz"))):
        if index < 150:
            cv2.imwrite(str(folder / f"{index:03}.png"), cv2.resize(picture, (48, 48)))
    return folder


def learnt(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["calibrate", "learn", "--threads", "1", "--json", *arguments]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_photographs_are_learnt_into_a_file_beside_the_model(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "tiny.onnx")
    said = learnt(capsys, "--model", str(model), "--benign", str(photographs))
    assert said["file"] == str(tmp_path / "tiny.reference.npz")
    assert (said["site_frames"], said["footage"], said["general"]) == (150, False, "rendered")
    assert read_reference(tmp_path / "tiny.reference.npz").model_hash == said["model_hash"]
    assert "150 benign frames are few" in str(said["warnings"])


def test_a_folder_of_general_photographs_takes_the_rendered_ones_place(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "tiny.onnx")
    said = learnt(capsys, "--model", str(model), "--benign", str(photographs), "--general", str(photographs))
    assert (said["general"], said["general_frames"]) == (str(photographs), 150)


def test_of_footage_the_last_fifth_is_measured_and_a_change_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    calm = [np.clip(rng.normal(110, 6, (64, 64, 3)), 0, 255).astype(np.uint8) for _ in range(200)]
    changed = [frame.copy() for frame in calm[:50]]
    for frame in changed:
        frame[20:44, 8:36] = (255, 0, 255)
    video = write_video(tmp_path / "site.mp4", calm + changed)
    said = learnt(capsys, "--model", str(write_model(tmp_path / "tiny.onnx")), "--benign", str(video))
    assert said["footage"] is True
    assert "what came later differs from what was learnt" in str(said["warnings"])


def test_too_few_frames_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "short.mp4", footage(30))
    model = write_model(tmp_path / "tiny.onnx")
    assert main(["calibrate", "learn", "--model", str(model), "--benign", str(video)]) != 0
    assert "give at least 100" in capsys.readouterr().err
    assert not (tmp_path / "tiny.reference.npz").exists()


def test_the_bundled_models_reference_is_not_overwritten(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "learn", "--benign", str(photographs)]) != 0
    assert "--out" in capsys.readouterr().err


def test_a_camera_is_watched_and_what_was_kept_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    calm = [np.clip(rng.normal(110, 6, (64, 64, 3)), 0, 255).astype(np.uint8) for _ in range(240)]
    write_video(tmp_path / "calm.mp4", calm)
    model = write_model(tmp_path / "tiny.onnx")
    watch = ("--model", str(model), "--from", str(tmp_path / "calm.mp4"), "--minutes", "1")
    said = learnt(capsys, *watch, "--every", "75ms")
    assert (said["read"], said["site_frames"], said["early"], said["lost"]) == (240, 120, 120, 0)
    assert main(["calibrate", "learn", *watch, "--benign", "x"]) == 2
    assert main(["calibrate", "learn", *watch, "--every", "10s"]) == 2
    told = capsys.readouterr().err
    assert "give --benign or --from, one of them" in told
    assert "1 minutes with a frame every 10 s are 6 frames, and at least 100 are learnt from" in told
    check = ("calibrate", "check", "--model", str(model), "--threads", "1", "--json", "--benign")
    assert main([*check, str(tmp_path / "calm.mp4")]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["detector"], row["target_fpr"], row["frames"], row["holds"]) == ("combined", 0.001, 240, True)
    for frame in calm[:40]:
        frame[20:44, 8:36] = (255, 0, 255)
    write_video(tmp_path / "changed.mp4", calm)
    assert main([*check, str(tmp_path / "changed.mp4")]) == 1
    assert "the thresholds of combined no longer hold" in capsys.readouterr().err
