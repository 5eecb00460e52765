"""The survey's bench: its square, its tables, and a run that goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.survey import __main__ as survey
from benchmarks.survey.attacks import ATTACKS, WORN
from benchmarks.survey.cells import share_of
from benchmarks.survey.detectors import DETECTORS
from benchmarks.survey.headlines import headline, published
from benchmarks.survey.loading import SUBJECTS
from benchmarks.survey.rows import ROWS
from benchmarks.survey.subject import Subject, split_subject
from benchmarks.survey.summary import page
from taintwatch_models.errors import UsageError
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import read_description
from tests.craft_scene import SIZE, write_classifier


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    path = write_classifier(tmp_path / "model.onnx")
    radar = prepare(path, read_description(path.with_suffix(".toml"))).radar
    rng = np.random.default_rng(0)
    grey = rng.integers(100, 150, (400, SIZE, SIZE, 1), np.uint8).repeat(3, axis=3)
    labels = np.zeros(400, np.int64)
    return replace(
        split_subject("signs_vgg", radar, (grey, labels), (grey[:40], labels[:40]), 1, tmp_path, tmp_path),
        site=grey[:150],
    )


@contextmanager
def loaded(monkeypatch: pytest.MonkeyPatch, subject: Subject) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(survey, "load_subject", lambda *given, **named: subject)
        yield


def times_written(work: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for kind in ("attacks", "detectors") for path in (work / kind).glob("*.json")}


def test_every_attack_and_detector_has_its_place_in_the_square_and_every_row_its_measure_or_its_reason() -> None:
    assert set(survey.SQUARE) == set(SUBJECTS)
    assert {name for attacks, _ in survey.SQUARE.values() for name in attacks} == set(ATTACKS)
    assert {name for _, detectors in survey.SQUARE.values() for name in detectors} == set(DETECTORS)
    for row in ROWS:
        assert bool(row.here) != bool(row.out), row.name
        kind, _, name = row.here.partition(" ")
        known: dict[str, Any] = {"attack": ATTACKS, "detector": DETECTORS, "network": SUBJECTS}
        assert not row.here or kind == "python" or name in known[kind], row.name
    names = {name for row in ROWS for kind, _, name in [row.here.partition(" ")] if kind == "attack"}
    assert names == set(ATTACKS)  # what is measured is a row


def test_a_share_has_its_wilson_interval() -> None:
    assert share_of(np.array([True] * 3 + [False])) == {
        "count": 3, "n": 4, "share": 0.75, "interval": [0.3006, 0.9544],
    }  # fmt: skip
    assert share_of(np.zeros(0, bool))["share"] is None


def test_a_run_writes_tables_and_goes_on_where_it_was_stopped(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--network", "signs_vgg", "--only", "fgsm", "--only", "adversarial_patch", "--only", "lgs", "--only",
             "patchguard", "--only", "tight", "--pictures", "4", "--steps", "0.1", "--held-out", "20",
             "--work", str(tmp_path / "work"), "--json", str(tmp_path / "s.json")]  # fmt: skip
    with loaded(monkeypatch, subject):
        found = CliRunner().invoke(survey.command, words, catch_exceptions=False)
        assert found.exit_code == 0
        cells = times_written(tmp_path / "work")
        assert len(cells) == 5
        CliRunner().invoke(survey.command, words, catch_exceptions=False)
        assert times_written(tmp_path / "work") == cells
        judged = [*words[:2], "--as-stored", "--only", "squeezing", "--held-out", "20", *words[-4:]]
        CliRunner().invoke(survey.command, judged, catch_exceptions=False)  # at another scale nothing is attacked anew
        after = times_written(tmp_path / "work")
        assert {path: after[path] for path in cells} == cells
        assert len(after) == 6
        more = [*words[:2], "--only", "pgd", "--only", "lgs", *words[-10:]]
        CliRunner().invoke(survey.command, more, catch_exceptions=False)  # what is known of other attacks stays
        lgs = json.loads((tmp_path / "work" / "detectors" / "signs_vgg_lgs.json").read_text())
        assert set(lgs["tpr"]) == {"fgsm", "adversarial_patch", "pgd"}
        again = [*words[:2], "--stored", *words[-4:]]
        CliRunner().invoke(survey.command, again, catch_exceptions=False)
    document = json.loads((tmp_path / "s.json").read_text())
    by_name = {cell["detector"]: cell for cell in document["detectors"]}
    assert set(by_name) == {"lgs", "patchguard", "squeezing", "tight"}
    assert {cell["steps"] for cell in document["attacks"]} == {0.1}
    assert by_name["lgs"]["fpr"]["0.02"]["n"] == 20
    assert set(by_name["lgs"]["recovery"]) == {"benign", "benign_without", "fgsm", "adversarial_patch", "pgd"}
    assert set(by_name["tight"]["tpr"]) == {"fgsm", "adversarial_patch"}
    assert by_name["patchguard"]["recovery"]["benign"]["count"] == 20
    assert "recovery" not in by_name["tight"]
    assert [cell["attack"] for cell in document["attacks"]] == ["adversarial_patch", "fgsm", "pgd"]
    text = page(document)
    assert "### Attacks on signs_vgg" in text
    assert "| FGSM (Goodfellow et al., 2014) | " in text
    assert "| CAR | 2021 | digital | out: the slides give the name alone" in text
    assert "| `lgs` | " in text
    assert "| MagNet | 2017 | defence | `detector magnet` | " in text
    assert "| not measured |" in text
    assert "### Labels behind the defences, signs_vgg" in text


def test_a_headline_sums_up_what_the_cells_say_and_stands_beside_the_published_figure() -> None:
    def share(count: int, total: int) -> dict[str, Any]:
        return share_of(np.arange(total) < count)

    result = {
        "attacks": [{"attack": "pgd", "network": "signs_vgg", "success": share(9, 10)},
                    {"attack": "pgd", "network": "signs_robust", "success": share(3, 10)}],
        "detectors": [{"detector": "lgs", "network": "signs_vgg",
                       "tpr": {name: {"0.02": share(count, total)} for name, count, total in
                               (("pgd", 1, 9), ("fgsm", 4, 9), ("rp2", 2, 2))},
                       "recovery": {"benign": share(30, 60), "pgd": share(5, 10), "fgsm": share(5, 10)}}],
    }  # fmt: skip
    lines = {row.here: (published(asdict(row)), headline(asdict(row), result)) for row in ROWS if row.here}
    assert lines["attack pgd"] == ("93.18% at l2 5.57 (CIFAR-10)", "signs_vgg: 9 of 10, signs_robust: 3 of 10")
    assert lines["network signs_robust"][1] == "pgd 3 of 10 (11 to 60%), without it 9 of 10 (60 to 98%)"
    assert lines["detector lgs"][1] == (
        "sees at 2%: physical 2 of 2 (34 to 100%), digital 5 of 18 (12 to 51%); right behind it: benign 30 of 60 (38 "
        "to 62%), attacked 10 of 20 (30 to 70%)"
    )
    assert lines["detector sac"][1] == "not measured"
    assert lines["python -m benchmarks.faces"][1] == "[faces](faces.md)"
    assert all(figures for figures, _ in lines.values())


def test_a_name_that_is_not_there_ends_in_one_sentence() -> None:
    for words, sentence in (
        (["--network", "vgg"], "the survey has no network 'vgg'; it has signs_vgg"),
        (["--only", "car"], "the survey has no attack or detector 'car'; it has adversarial_patch"),
    ):
        found = CliRunner().invoke(survey.command, words)
        assert isinstance(found.exception, UsageError)
        assert str(found.exception).startswith(sentence)


def test_what_is_worn_is_measured_on_faces_alone() -> None:
    assert survey.SQUARE["faces"][0] == WORN
