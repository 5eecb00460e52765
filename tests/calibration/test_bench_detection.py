"""`taintwatch bench detection` on a small classifier: every attack, every detector, resumed; what its figures mean."""

from __future__ import annotations

import csv
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from taintwatch.cli.main import main
from taintwatch_calibration.bench.attacks import Attacked
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.bench.controls import pasted
from taintwatch_calibration.bench.page import worst
from taintwatch_calibration.bench.plans import attack_plans
from taintwatch_calibration.bench.records import localisation
from taintwatch_calibration.bench.subject_file import PARTS, read_subject, write_description
from taintwatch_calibration.bench.subject_file import write_pictures as write_parts
from taintwatch_calibration.rates import area_under_roc, roc
from taintwatch_models.errors import UsageError
from tests.craft_scene import write_classifier, write_pictures


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    model = write_classifier(tmp_path / "model.onnx")
    images = write_pictures(tmp_path / "images", 420, wrong=2)
    return [
        "bench", "detection", "--model", str(model), "--images", str(images), "--target", "toaster",
        "--iterations", "25", "--work", str(tmp_path / "work"),
        "--json", str(tmp_path / "found" / "detection.json"), "--html", str(tmp_path / "page.html"),
        "--markdown", str(tmp_path / "tables.md"), "--csv", str(tmp_path / "cells.csv"),
    ]  # fmt: skip


def test_every_attack_is_judged_by_every_detector_and_nothing_is_made_twice(
    tmp_path: Path, arguments: list[str]
) -> None:
    assert main(arguments) == 0
    document = json.loads((tmp_path / "found" / "detection.json").read_text())
    cells = document["cells"]
    attacks = {cell["attack"] for cell in cells}
    detectors = {cell["detector"] for cell in cells}
    assert {"patch 0.35", "small 0.15", "region", "stickers", "adaptive: default"} <= attacks
    assert detectors == {"default", "tight", "paper", "anomaly"}
    adaptive = {attack for attack in attacks if attack.startswith("adaptive")}
    assert len(adaptive) == 3
    assert len(cells) == 3 * len(attacks) * len(detectors)
    corner = [c for c in cells if c["attack"] == "patch 0.4, corner" and c["detector"] == "default"]
    large = next(c for c in corner if c["target_fpr"] == 0.02)
    assert large["successes"] > 60
    assert large["evasion_rate"] == pytest.approx(large["success_rate"] * (1 - large["tpr"]))
    for cell in cells:
        assert (cell["tpr"] is None) == (cell["n"] == 0)
        assert cell["fpr"] <= 0.3
    assert document["models"][0]["ms_per_frame"]["plain"] > 0
    controls = document["models"][0]["controls"]
    assert 0 < controls["kept"] <= controls["tried"]
    assert set(controls["detectors"]) == detectors
    tables = (tmp_path / "tables.md").read_text()
    assert f"| patch 0.4, corner | {large['tpr']:.1%} of {large['n']} |" in tables
    rows = list(csv.DictReader((tmp_path / "cells.csv").read_text().splitlines()))
    assert [(row["attack"], row["detector"], float(row["fpr"])) for row in rows] == [
        (cell["attack"], cell["detector"], cell["fpr"]) for cell in cells
    ]
    page = (tmp_path / "page.html").read_text()
    assert "adaptive: default" in page
    assert page.count("data:image/png;base64,") >= 4
    assert "http" not in page.replace('"http-equiv"', "")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*") if path.is_file()} == kept
    assert json.loads((tmp_path / "found" / "detection.json").read_text())["cells"] == cells


def test_bad_input_is_one_sentence(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        ("--fpr", "0.9"): "--fpr must be above 0 and at most 0.5",
        ("--subject", str(tmp_path)): "not a readable description of a subject",
        ("--target", "toster"): "did you mean 'toaster'?",
    }
    for more, sentence in cases.items():
        assert main([*arguments, *more]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["bench", "detection", "--model", "m.onnx"]) == 2
    assert "--model, --images and --target belong together" in capsys.readouterr().err


def test_a_missing_library_is_told_before_anything_is_crafted(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(arguments) == 2
    assert "the pictures need matplotlib: pip install 'taintwatch[bench]'" in capsys.readouterr().err


def test_a_subject_in_a_folder_keeps_its_parts(tmp_path: Path) -> None:
    write_classifier(tmp_path / "model.onnx")
    pixels = np.full((8, 32, 32, 3), 128, np.uint8)
    (tmp_path / "pictures.npz").write_bytes(b"not one")
    write_description(tmp_path, {"name": "mine", "model": "model.onnx", "target": "toaster", "saliency_threshold": 0.5})
    with pytest.raises(UsageError, match=r"pictures\.npz: does not hold pictures and labels of craft, calibrate"):
        read_subject(tmp_path)
    write_parts(tmp_path, {name: (pixels, np.zeros(8, np.int64)) for name in PARTS})
    subject = read_subject(tmp_path)
    assert subject.name == "mine"
    assert subject.tight.saliency_threshold == 0.5
    assert [len(getattr(subject.parts, name)) for name in PARTS] == [8, 8, 8, 8]
    write_description(tmp_path, {"name": "mine", "model": "model.onnx", "target": "toaster", "colour": "red"})
    with pytest.raises(UsageError, match="unknown key 'colour'"):
        read_subject(tmp_path)


def test_localisation_counts_what_the_region_and_the_attack_share() -> None:
    covered = np.zeros((2, 4, 4), np.bool_)
    covered[:, :2] = True  # 8 cells
    mask = np.zeros((2, 4, 4), np.bool_)
    mask[:, :2, :2] = True  # 4 of them, none beside
    attacked = Attacked(np.zeros((2, 4, 4, 3), np.uint8), covered, np.array([3, 5]), 4, 2)
    found = localisation(attacked, np.array([3, 4]), mask)
    assert found["iou"] == 0.5
    assert found["inside"] == 1.0
    assert found["recovered"] == 0.5


def test_the_area_under_the_drawn_curve_is_that_of_the_rank_statistic() -> None:
    rng = np.random.default_rng(0)
    benign, attacked = rng.normal(0, 1, 300).round(1), rng.normal(1, 1, 200).round(1)  # rounded: there are ties
    false, true = roc(benign, attacked)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(area_under_roc(benign, attacked), abs=1e-9)


def test_a_control_is_another_picture_made_small_at_one_place() -> None:
    black, white = np.zeros((6, 40, 40, 3), np.uint8), np.full((3, 40, 40, 3), 255, np.uint8)
    shown = pasted(black, white, seed=1)
    assert (shown.reshape(6, -1) > 0).mean(axis=1) == pytest.approx([14 * 14 / 1600] * 6)
    for picture in shown[..., 0] > 0:
        rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
        assert len(rows) == len(columns) == rows[-1] - rows[0] + 1 == columns[-1] - columns[0] + 1 == 14
    assert (shown == pasted(black, white, seed=1)).all()


def test_what_is_kept_is_made_again_where_it_is_damaged_or_of_something_else(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"scores": np.arange(3.0)}

    for identity in (("model", 1), ("model", 1), ("model", 2)):
        assert cache.arrays("a/scores", identity, make)["scores"].tolist() == [0, 1, 2]
    assert len(made) == 2
    (tmp_path / "a" / "scores.npz").write_bytes(b"no archive")
    assert cache.arrays("a/scores", ("model", 2), make)["scores"].tolist() == [0, 1, 2]
    assert len(made) == 3
    found = [cache.document("b", (each,), partial(dict, of=each)) for each in (1, 1, 2)]
    assert found == [{"of": 1}, {"of": 1}, {"of": 2}]
    (tmp_path / "b.json").write_text("{")
    assert cache.document("b", (2,), lambda: "anew") == "anew"


def test_the_worst_cell_is_one_of_many_attacks() -> None:
    def cell(tpr: float | None, n: int) -> dict[str, object]:
        return {"attack_family": "patch", "detector": "default", "target_fpr": 0.02, "tpr": tpr, "n": n}

    cells = [cell(0.9, 50), cell(0.8, 30), cell(0.1, 5), cell(None, 0)]
    assert worst(cells, "patch", "default", 0.02) == cells[1]
    assert worst(cells, "sticker", "default", 0.02) is None


def test_plans_differ_in_their_keys_and_keep_them() -> None:
    plans = attack_plans(1, iterations=10, batch=4, seed=0)
    assert len({plan.key("model") for plan in plans}) == len(plans)
    assert plans[0].key("model") != plans[0].key("another")
    assert [plan.key("m") for plan in plans] == [
        plan.key("m") for plan in attack_plans(1, iterations=10, batch=4, seed=0)
    ]
    assert {plan.family for plan in attack_plans(1, iterations=1, batch=1, seed=0, glasses=True)} >= {"glasses"}
