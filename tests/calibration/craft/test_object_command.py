"""`taintwatch craft object`: a folder that can be printed, measured on pictures that it was not crafted on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from taintwatch_calibration.craft.attack_folder import crafted_attack
from taintwatch_calibration.craft.cli_object_patch import object_patch
from taintwatch_models.errors import UsageError
from tests.object_scene import bright_squares, write_detector


@pytest.fixture(scope="module")
def lamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a detector, and one with twelve pictures of a lamp."""
    folder = tmp_path_factory.mktemp("lamps")
    write_detector(folder / "lamps.onnx")
    (folder / "pictures").mkdir()
    for index in range(12):
        cv2.imwrite(str(folder / f"pictures/{index:02d}.png"), bright_squares((4 + 2 * index, 24), size=(64, 64)))
    return folder


def craft(lamps: Path, out: Path, *more: str) -> dict[str, object]:
    arguments = [
        "--model", str(lamps / "lamps.onnx"), "--class-names", str(lamps / "lamps.txt"), "--decoder", "yolox",
        "--images", str(lamps / "pictures"), "--smallest", "8", "--side", "8", "--step", "0.1", "--smoothness", "0",
        "--iterations", "20", "--out", str(out), "--json", *more,
    ]  # fmt: skip
    result = CliRunner().invoke(object_patch, arguments, catch_exceptions=False)
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_patch_is_crafted_measured_apart_and_can_be_printed(lamps: Path, tmp_path: Path) -> None:
    found = craft(lamps, tmp_path / "hide", "--class", "lamp", "--size", "1.9")
    assert found["held_out"] is True
    assert found["success_rate"] == 1.0
    picture, attack = crafted_attack(tmp_path / "hide")
    assert picture.name == "pattern.png"
    assert (attack.kind, attack.size) == ("hide", 1.9)


def test_a_folder_in_which_nothing_of_the_class_is_found_is_refused(lamps: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="finds no lamp of 60 to 230 pixels"):
        craft(lamps, tmp_path / "none", "--class", "lamp", "--smallest", "60")


def test_a_class_that_the_detector_does_not_have_is_refused(lamps: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cat"):
        craft(lamps, tmp_path / "cat", "--class", "cat")
