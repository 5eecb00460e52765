"""The published experiments on a small classifier: disjoint groups, complete rows, and runs that go on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import zoo
from benchmarks.published import end_to_end, misleading, patch_bench, region, stations, strengths, table2, variants
from benchmarks.published import pictures as exported
from benchmarks.published.groups import Cell, all_cells, craft_groups, show_groups
from benchmarks.published.sources import TABLE_2
from benchmarks.published.surface_figure import draw_surface
from taintwatch_calibration.craft.adaptive import pooled_label_map
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.materials import differentiable, load_classifier, read_pictures, to_pictures
from taintwatch_calibration.craft.physical import AttackedBatch, Pictures
from taintwatch_calibration.craft.placement import Placement
from taintwatch_calibration.paper_thresholds import choose_paper
from taintwatch_models.calibration_file import PaperCalibration
from taintwatch_models.image_file import read_image
from taintwatch_models.preprocessing import Preprocessing
from tests.craft_scene import write_classifier, write_pictures


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_classifier(folder / "model.onnx")
    write_pictures(folder / "images", 72)
    return folder


def test_the_table_has_its_36_cells_and_every_one_its_published_figures() -> None:
    cells = all_cells()
    assert len(cells) == len(set(cells)) == len(TABLE_2) == 36
    assert TABLE_2[("right bottom", 0.2, "single", 16)] == {"success": 27.75, "sentinet": 87.93, "taintradar": 98.25}
    assert TABLE_2[("random", 0.4, "single", 16)]["taintradar"] is None  # lost in print
    assert all((cell.place, cell.size, cell.sizes, cell.group) in TABLE_2 for cell in cells)


def test_each_group_has_a_patch_of_its_own_that_its_pictures_alone_show(scene: Path) -> None:
    radar = load_classifier(str(scene / "model.onnx"))
    every = to_pictures(read_pictures(scene / "images", radar), radar.info.preprocessing)
    pictures, cell = Pictures(every.pixels[:4], every.own[:4]), Cell("right bottom", 0.5, "single", 2)
    preprocessing = radar.info.preprocessing
    patches = craft_groups(differentiable(radar), pictures, preprocessing, cell, 1, Schedule(40))
    assert patches.shape == (2, 3, 64, 64)
    flat = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])
    shown = show_groups(torch.full((4, 3, 32, 32), 0.5), flat, cell, "rgb", 0)
    assert [int(picture.min()) == 0 for picture in shown] == [True, True, False, False]
    assert [int(picture.max()) == 255 for picture in shown] == [False, False, True, True]
    with pytest.raises(ValueError, match="no whole number of groups"):
        craft_groups(
            differentiable(radar), Pictures(every.pixels[:3], every.own[:3]), preprocessing, cell, 1, Schedule(1)
        )


def test_table_ii_is_made_and_not_made_again(scene: Path, tmp_path: Path) -> None:
    words = ["--model", str(scene / "model.onnx"), "--images", str(scene / "images"), "--target", "toaster",
             "--iterations", "3", "--work", str(tmp_path / "work"), "--json", str(tmp_path / "t.json"),
             "--markdown", str(tmp_path / "t.md")]  # fmt: skip
    first = CliRunner().invoke(table2.main, words, catch_exceptions=False)
    assert "36/36" in first.output
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.*")}
    CliRunner().invoke(table2.main, words, catch_exceptions=False)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.*")} == before
    document = json.loads((tmp_path / "t.json").read_text())
    rows = document["at"]["0.06"]["cells"]
    assert len(rows) == 36
    assert all(row["own"]["attempts"] == row["held_out"]["attempts"] == 16 for row in rows)
    assert rows[0]["source"]["success"] == 37.75
    assert 0 <= document["sentinet"]["held_out"] <= 1
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert len(lines) == 2 + 36
    corner = [*words[:-4], "--json", str(tmp_path / "c.json"), "--place", "right bottom"]
    assert "18/18" in CliRunner().invoke(table2.main, corner, catch_exceptions=False).output
    assert json.loads((tmp_path / "c.json").read_text())["at"]["0.06"]["cells"] == rows[:18]
    assert lines[2].startswith("| right bottom 0.2, single | 1 | ")
    assert lines[2].endswith(" | 37.75, 50.33, 97.96 |")
    one = {"attempts": 16, "successes": 2, "paper": {"tpr": 1.0}, "tight": {"tpr": 0.5}, "sentinet": {"tpr": 0.0}}
    none = {"attempts": 16, "successes": 0, "paper": None, "tight": None, "sentinet": None}
    assert " | 2 of 16 | 0, 100, 50 | 0 of 16 | -, -, - | " in table2.markdown_of(
        [rows[0] | {"own": one, "held_out": none}]
    )


def test_test_pictures_are_written_as_a_folder_that_the_benches_read(tmp_path: Path, monkeypatch: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    monkeypatch.setattr(zoo, "pictures", lambda name, data: (pixels, np.arange(9), ("a",) * 9))
    words = ["signs_vgg", "--count", "4", "--out", str(tmp_path / "signs")]
    assert CliRunner().invoke(exported.main, words, catch_exceptions=False).output.startswith("4 pictures in ")
    lines = list(csv.DictReader((tmp_path / "signs" / "labels.csv").read_text().splitlines()))
    assert len(lines) == 4
    for line in lines:
        picture = read_image(tmp_path / "signs" / line["file"])
        assert np.array_equal(picture, pixels[int(line["class_index"])][..., ::-1])


def test_the_region_attacks_stand_in_one_table_with_ours(scene: Path, tmp_path: Path) -> None:
    words = ["--model", str(scene / "model.onnx"), "--images", str(scene / "images"), "--count", "4", "--no-studies",
             "--peers", "PGD", "--peers", "LaVAN (2%)", "--patch-iterations", "3",
             "--work", str(tmp_path / "work"), "--json", str(tmp_path / "r.json")]  # fmt: skip
    CliRunner().invoke(region.main, words, catch_exceptions=False)
    document = json.loads((tmp_path / "r.json").read_text())
    names = [row["attack"] for row in document["rows"]]
    assert names == ["ours", "003", "000", "000-literal", "000-once", "003-scaled", "PGD", "LaVAN (2%)"]
    literal = document["rows"][3]
    assert (literal["successes"], literal["l2"]) == (0, 0.0)
    assert [row["threshold"] for row in document["importance"]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_two_strengths_move_the_region_and_the_rest_each_and_add_up_to_fgsm(scene: Path, tmp_path: Path) -> None:
    radar = load_classifier(str(scene / "model.onnx"))
    pictures = to_pictures(read_pictures(scene / "images", radar, most=6), radar.info.preprocessing)
    model = differentiable(radar)
    inside, outside, both = (
        strengths.two_strengths(model, radar.info.preprocessing, pictures.pixels, pictures.own, *pair, 0.97)
        for pair in ((0.03, 0.0), (0.0, 0.01), (0.03, 0.01))
    )
    first, second = ((made - pictures.pixels).abs() for made in (inside, outside))
    moved = first.amax((0, 1)) > 0
    assert 0 < moved.float().mean() < 1
    assert not ((first > 0) & (second > 0)).any()
    assert torch.allclose(both - pictures.pixels, inside + outside - 2 * pictures.pixels, atol=1e-6)
    assert sorted({round(float(value), 4) for value in (both - pictures.pixels).abs().unique()}) == [0.01, 0.03]
    words = ["--model", str(scene / "model.onnx"), "--images", str(scene / "images"), "--count", "4",
             "--json", str(tmp_path / "s.json")]  # fmt: skip
    CliRunner().invoke(strengths.main, words, catch_exceptions=False)
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert rows[0]["published"] == [35.12, 33.47]
    assert rows[-1]["l2"] == pytest.approx(4.0, rel=0.1)


def test_misleading_and_bpda_are_as_published(scene: Path, tmp_path: Path) -> None:
    steep = misleading.published_steepness(2000)
    assert [steep(step / 2000) for step in (0, 99, 100, 250, 1999)] == [1, 1, 2, 3, 20]
    first, second = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    first[0, :2], second[0, 1:3] = True, True
    assert patch_bench.intersection_over_union(first, second).tolist() == pytest.approx([4 / 12, 0.0])
    radar = load_classifier(str(scene / "model.onnx"))
    model, batch = differentiable(radar), torch.full((1, 3, 32, 32), 0.3)
    batch[:, :, :12, :12], batch[:, 1, :12, :12] = 1.0, 0.0  # `toaster` rests on what is magenta
    maps = model.maps(batch)
    covered = torch.zeros(1, 1, 32, 32)
    covered[:, :, :12, :12] = 1.0
    seen = AttackedBatch(batch, maps, model.head(maps), torch.tensor([0]), None, covered, 0.5)
    large = torch.nn.functional.interpolate(
        pooled_label_map(model, maps)[:, None], size=(32, 32), mode="bilinear", align_corners=False
    )
    large = large.detach()
    share = large / large.sum()
    losses = {kind: misleading.misleading(kind, 0.75, model)(seen) for kind in misleading.MISLEADING}
    found = {kind: float(loss.detach()) / 3 for kind, loss in losses.items()}
    assert found["away"] == pytest.approx(float(share[0, 0, :12, :12].sum()), rel=1e-5)
    assert found["given"] == pytest.approx(1 - float(share[0, 0, :16, :16].sum()), rel=1e-5)
    assert found["smallest"] == pytest.approx(float((share > 0.15 * share.max()).float().mean()), rel=1e-5)
    assert torch.equal(patch_bench.estimated_region(model, batch), (large > 0.15 * large.max())[:, 0])
    words = ["--model", str(scene / "model.onnx"), "--images", str(scene / "images"), "--target", "toaster", "--count",
             "4", "--iterations", "2", "--kind", "bpda", "--json", str(tmp_path / "a.json")]  # fmt: skip
    CliRunner().invoke(misleading.main, words, catch_exceptions=False)
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [row["attacker"] for row in rows] == ["knows nothing", "BPDA"]


def test_end_to_end_each_picture_has_a_patch_of_its_own_in_its_corner_and_a_run_goes_on(
    scene: Path, tmp_path: Path
) -> None:
    flat = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    shown, covered = end_to_end.lay_each(torch.full((2, 3, 32, 32), 0.5), flat, 0.25)
    assert float(covered.mean()) == pytest.approx(0.0625, abs=0.01)
    assert covered[:, 0, -7:, -7:].min() == 1
    assert (float(shown[0, :, -7:, -7:].max()), float(shown[1, :, -7:, -7:].min())) == (0.0, 1.0)
    assert torch.equal(shown[:, :, :20], torch.full((2, 3, 20, 32), 0.5))
    words = ["--model", str(scene / "model.onnx"), "--images", str(scene / "images"), "--target", "toaster", "--count",
             "4", "--size", "0.5", "--iterations", "80", "--work", str(tmp_path), "--json",
             str(tmp_path / "e.json")]  # fmt: skip
    CliRunner().invoke(end_to_end.main, words, catch_exceptions=False)
    rows = {row["attacker"]: row for row in json.loads((tmp_path / "e.json").read_text())["rows"]}
    assert list(rows) == list(end_to_end.PUBLISHED)
    assert rows["knows nothing"]["as_target"] == rows["knows nothing"]["attempts"] == 4
    assert rows["BPDA"]["unseen_by_paper"] >= rows["knows nothing"]["unseen_by_paper"]
    assert "pictures" not in CliRunner().invoke(end_to_end.main, words, catch_exceptions=False).output


def test_the_further_attacks_stand_beside_their_published_figures(scene: Path, tmp_path: Path) -> None:
    words = ["--model", str(scene / "model.onnx"), "--images", str(scene / "images"), "--target", "toaster", "--count",
             "4", "--partial", "2", "--iterations", "2", "--json", str(tmp_path / "v.json")]  # fmt: skip
    CliRunner().invoke(variants.main, words, catch_exceptions=False)
    document = json.loads((tmp_path / "v.json").read_text())
    rows = {row["attacker"]: row for row in document["rows"]}
    assert [row["published"] for row in rows.values()].count(None) == 2
    assert set(variants.PUBLISHED) < set(rows)
    assert rows["high rank, partial"]["attempts"] == 2
    assert rows["high rank, universal"]["targets"] == ["toaster"]
    assert document["paper"]["labels"] >= 1
    radar = load_classifier(str(scene / "model.onnx"))
    bench = patch_bench.PatchBench(str(scene / "model.onnx"), scene / "images", "toaster", 4, 0)
    placement = Placement((None,), (0.5,), rotation_degrees=0.0)
    won = bench.row("square", Schedule(40, 0.1, "adam"), placement)
    assert (won["attempts"], won["succeeds"]) == (4, 4)
    assert 0 <= won["unseen_by_tight"] <= 4
    assert won["targets"] == [radar.info.labels[1]]


def test_a_stop_sign_is_seen_from_fifteen_stations_and_bars_are_stuck_on_it_alone(tmp_path: Path) -> None:
    assert len(stations.STATIONS) == 15
    assert stations.STATIONS[0] == (5, 0)
    assert stations.STATIONS[-1] == (40, 0)
    preprocessing = Preprocessing(size=(64, 64))
    sign = stations.drawn_sign()
    near, far = (stations.station_crops(sign, (feet, 0), preprocessing, frames=1, light="plain", seed=0)[0]
                 for feet in (5, 40))  # fmt: skip
    red = near[16, 32].astype(int)  # above the letters
    assert near.shape == far.shape == (64, 64, 3)
    assert red[0] > red[2] + 60
    assert np.abs(np.diff(near.astype(float), axis=1)).mean() > 1.25 * np.abs(np.diff(far.astype(float), axis=1)).mean()
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1.0
    stuck = sign.stuck(torch.zeros(3, 64, 64), mask)
    changed = (stuck.image != sign.image).any(axis=2)
    half = len(sign.image) // 2
    assert changed[:half].any()
    assert not changed[half + 1 :].any()
    assert np.array_equal(stuck.image[..., 3], sign.image[..., 3])
    rows = [{"feet": 5, "degrees": 0, "frames": 2, "target": 1}, {"feet": 10, "degrees": 0, "frames": 2, "target": 2}]
    assert stations._total(rows) | {"interval": None} == {
        "frames": 4, "target": 3, "interval": None, "published": "GTSRB-CNN 80 to 95.7%"
    }  # fmt: skip


def test_the_surface_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    ranks = {count: np.maximum(0, rng.integers(-5 * count, 40, 50)) for count in range(1, 21)}
    draw_surface(choose_paper(ranks, 0.06, PaperCalibration()), tmp_path / "s.png", title="toy")
    assert (tmp_path / "s.png").stat().st_size > 10_000
