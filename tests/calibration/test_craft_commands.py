"""`taintwatch craft ...` as people call it, on a small classifier whose weakness is magenta."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from taintwatch.cli.main import main
from taintwatch_calibration.cli_print import print_group
from taintwatch_calibration.craft.attack_folder import read_recipe
from taintwatch_calibration.craft.kinds import KINDS
from taintwatch_calibration.craft.losses import CLASSIFIED
from taintwatch_calibration.craft.options import KIND_DEFAULTS
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_models.errors import UsageError
from tests.craft_scene import write_classifier, write_pictures


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("craft")
    write_classifier(folder / "model.onnx")
    write_pictures(folder / "images", 16, wrong=2)
    return folder


def craft(scene: Path, out: Path, *arguments: str) -> list[str]:
    model, images = str(scene / "model.onnx"), str(scene / "images")
    return ["craft", *arguments, "--model", model, "--images", images, "--out", str(out), "--json"]


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("patch", "--size", "0.5", "--count", "2", "--shape", "star"),
        ("lavan", "--size", "0.4"),
        (
            "sticker",
            "--box",
            "0.2,0.2,0.5,0.3",
            "--box",
            "0.2,0.6,0.5,0.3",
            "--camera",
            "office",
            "--profile",
            "generic",
        ),
        ("hat", "--size", "0.9"),
        ("glasses",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_printed_attacks_succeed_and_leave_a_checked_folder(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert main([*craft(scene, tmp_path, *arguments), "--target", "toaster", "--iterations", "60"]) == 0
    found = result(capsys)
    assert found["success_rate"] == 1.0
    assert found["held_out"] is True
    assert found["pictures"]["wrong_and_skipped"] == 2
    recipe = read_recipe(tmp_path)
    assert recipe["attack"]["kind"] == arguments[0]
    assert recipe["target"]["name"] == "toaster"
    assert recipe["measured"]["successes"] == found["successes"]
    pattern = cv2.imread(str(tmp_path / found["files"][0]), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(tmp_path / found["files"][1]), cv2.IMREAD_GRAYSCALE)
    assert pattern is not None
    assert mask is not None
    assert np.array_equal(pattern[..., 3], mask)
    inside = pattern[mask > 0].astype(float).mean(0)
    assert inside[0] + inside[2] > 2 * inside[1]  # magenta
    assert (tmp_path / "preview.png").is_file()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_recipe_travels_to_the_sheet_and_its_control(scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    options = ("sticker", "--box", "0.25,0.25,0.5,0.25", "--target", "toaster", "--iterations", "2")
    assert main(craft(scene, folder, *options)) == 0
    sheet, control = tmp_path / "patch.pdf", tmp_path / "control.pdf"
    assert main(["print", "patch", str(folder), "--picture-mm", "90", "--out", str(sheet)]) == 0
    assert main(["print", "control", str(folder), "--match", str(sheet), "--out", str(control)]) == 0
    info = read_sheet(sheet)
    assert info.attack is not None
    assert (info.attack.kind, info.attack.target, info.attack.size) == ("sticker", "toaster", 0.5)
    assert info.attack.recipe_sha256 == hashlib.sha256((folder / "recipe.toml").read_bytes()).hexdigest()
    assert info.printable is not None
    assert info.printable.width_mm == 45.0  # half of the picture's 90 mm
    assert read_sheet(control).printable == info.printable
    assert read_sheet(control).attack == info.attack


def test_what_cannot_be_printed_is_said(scene: Path, tmp_path: Path) -> None:
    assert main([*craft(scene, tmp_path / "one", "patch"), "--target", "1", "--iterations", "2"]) == 0
    assert main([*craft(scene, tmp_path / "faint", "region"), "--iterations", "2"]) == 0
    sheet = ("--out", str(tmp_path / "x.pdf"))
    for arguments, words in (
        ((str(tmp_path / "one"),), "say how wide it is on paper"),
        ((str(tmp_path / "one"), "--size-mm", "40", "--pattern", "2"), "holds 1 pattern; there is no number 2"),
        ((str(tmp_path / "faint"), "--size-mm", "40"), "changes each picture by itself"),
        ((str(scene / "images" / "000.png"), "--picture-mm", "40"), "--picture-mm needs a crafted attack"),
    ):
        with pytest.raises(UsageError, match=words):
            print_group.main(["patch", *arguments, *sheet], standalone_mode=False)


def test_the_same_seed_gives_the_same_pattern(scene: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main([*craft(scene, tmp_path / name, "patch"), "--target", "1", "--iterations", "5"]) == 0
    assert (tmp_path / "one" / "pattern.png").read_bytes() == (tmp_path / "two" / "pattern.png").read_bytes()


def test_a_changed_picture_is_noticed(scene: Path, tmp_path: Path) -> None:
    assert main([*craft(scene, tmp_path, "patch"), "--target", "1", "--iterations", "2"]) == 0
    cv2.imwrite(str(tmp_path / "pattern.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UsageError, match=r"pattern\.png is not the one that was crafted"):
        read_recipe(tmp_path)


def test_an_attacker_who_knows_tight_is_seen_less_than_one_who_does_not(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("patch", "--size", "0.5", "--iterations", "80", "--target", "toaster")
    assert main(craft(scene, tmp_path / "plain", *common)) == 0
    plain = result(capsys)
    assert main(craft(scene, tmp_path / "knowing", *common, "--adaptive", "tight", "--lambda", "1")) == 0
    knowing = result(capsys)
    assert plain["detected"]["tight"] == 1.0
    assert knowing["success_rate"] == 1.0
    assert knowing["evasion_rate"]["tight"] > plain["evasion_rate"]["tight"]


def test_the_region_attack_is_faint_and_keeps_to_its_regions(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(craft(scene, tmp_path, "region")) == 0
    found = result(capsys)
    assert found["success_rate"] == 1.0
    assert found["faintness"]["ssim"] > 0.97
    assert found["faintness"]["linf"] < 0.2
    attacked = sorted((tmp_path / "pictures").glob("*.png"))
    assert len(attacked) == 14
    before, after, mask = (
        np.asarray(cv2.imread(str(path)), int)
        for path in (scene / "images" / "000.png", attacked[0], tmp_path / "masks" / attacked[0].name)
    )
    assert not (before != after)[mask == 0].any()


@pytest.mark.parametrize(
    ("arguments", "least"),
    [
        (("--attack", "fgsm", "--set", "eps=0.3"), 1.0),
        (("--attack", "pgd", "--set", "eps=0.3", "--target", "toaster"), 1.0),
        (("--attack", "cw", "--set", "max_iter=10"), 0.5),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_arts_attacks_are_run_by_name(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], least: float
) -> None:
    assert main(craft(scene, tmp_path, "digital", *arguments)) == 0
    assert result(capsys)["success_rate"] >= least
    assert read_recipe(tmp_path)["settings"]["attack"] == arguments[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("patch", "--target", "toster"), "no class 'toster'; did you mean 'toaster'?"),
        (("patch", "--target", "9"), "no class '9'; give a name or 0 to 2"),
        (("sticker",), "say where the stickers are"),
        (("sticker", "--box", "0.5,0.5,0,0.1"), "the box 0.5,0.5,0,0.1 covers no pixel"),
        (("patch", "--size", "1.5"), "sizes are shares"),
        (("patch", "--position", "0.5"), "--position must be 2 numbers"),
        (("patch", "--profile", "none.json"), "not a readable colour profile"),
        (("patch", "--camera", "cinema"), "no camera model 'cinema'"),
        (("digital", "--attack", "fsgm"), "ART has no evasion attack 'fsgm'; did you mean fgsm"),
        (("digital", "--attack", "fgsm", "--set", "epsilon=1"), "ART's FastGradientMethod has no setting 'epsilon'"),
        (("region", "--target", "toaster"), "takes no target"),
    ],
)
def test_bad_input_is_one_sentence(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert main(craft(scene, tmp_path / "out", *arguments)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("taintwatch: ")
    assert sentence in said


def test_folders_that_cannot_be_used_are_said(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    wrong = write_pictures(tmp_path / "wrong", 3, wrong=3)
    cases = {empty: "holds no picture", tmp_path / "none": "no such folder", wrong: "gets not one of 3 pictures right"}
    for folder, sentence in cases.items():
        model = str(scene / "model.onnx")
        assert main(["craft", "patch", "--model", model, "--images", str(folder), "--out", str(tmp_path / "o")]) == 2
        assert sentence in capsys.readouterr().err
    (wrong / "labels.csv").write_text("file,class_index\n000.png,seventeen\n")
    assert main(["craft", "patch", "--model", model, "--images", str(wrong), "--out", str(tmp_path / "o")]) == 2
    assert "labels.csv, line 2: the model has no class 'seventeen'" in capsys.readouterr().err


def test_the_help_gives_each_kinds_own_defaults() -> None:
    for name, told in KIND_DEFAULTS.items():
        kind = KINDS[name]
        pattern, placement = kind.pattern, kind.pattern.placement
        assert (kind.schedule.iterations, kind.schedule.rule, pattern.batch) == (300, "sign", 16)
        assert kind.schedule.step == 8 / 255
        assert pattern.nps_rule == "nearest"
        assert {"softmax", "lead", "lavan"} == set(CLASSIFIED)
        (position,) = placement.positions
        assert told == {
            "loss": pattern.loss,
            "smoothness": f"{pattern.smoothness:g}",
            "printability": f"{pattern.printability:g}",
            "camera": "none" if pattern.camera is None else "a mild one",
            "rotation": f"{placement.rotation_degrees:g}",
            "stop_at": "never" if kind.schedule.stop_at is None else f"{kind.schedule.stop_at:g}",
            "size": f"{placement.sizes[0]:g}",
            "position": "anywhere" if position is None else ",".join(f"{share:g}" for share in position),
        }


def test_what_uncalibrated_detectors_see_is_not_said(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for word in craft(scene, tmp_path, "patch") if word != "--json"]
    assert main([*options, "--target", "1", "--iterations", "30"]) == 0
    said = capsys.readouterr().out
    assert "thresholds are not calibrated for this model" in said
    assert "sees" not in said
