"""Learning what is benign and judging by it, on a classifier whose one weakness is known: magenta."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taintwatch_models.detection.anomaly import early_layers
from taintwatch_models.detection.archive import write_archive
from taintwatch_models.detection.cells import log_averages
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.looks import CombinedRadar, FirstLook
from taintwatch_models.detection.observer import Observer
from taintwatch_models.detection.reference import Reference, read_reference, version, write_reference
from taintwatch_models.errors import CalibrationError, UsageError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile
from tests.tiny_model import write_model


@pytest.fixture(scope="module")
def radar(tmp_path_factory: pytest.TempPathFactory) -> RadarFile:
    path = write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    return load_radar_file(ModelSettings(path=str(path)))


@pytest.fixture(scope="module")
def pictures(radar: RadarFile) -> np.ndarray:
    return general_pictures(radar.info.preprocessing)


@pytest.fixture(scope="module")
def learnt(radar: RadarFile, pictures: np.ndarray) -> Reference:
    return learn(radar, pictures[::2], pictures[1::2], threads=1)


@pytest.fixture(scope="module")
def run(radar: RadarFile, learnt: Reference) -> CombinedRadar:
    return CombinedRadar(radar, learnt, SessionSettings(device="cpu", threads=1))


def with_magenta(pictures: np.ndarray, side: int = 14) -> np.ndarray:
    changed = pictures // 4
    changed[:, 12 : 12 + side, 3 : 3 + side] = (255, 0, 255)
    return changed


def test_the_graphs_statistics_and_place_are_what_numpy_works_out(
    radar: RadarFile, learnt: Reference, pictures: np.ndarray
) -> None:
    layers, settings = learnt.layers, SessionSettings(device="cpu", threads=1)
    shown = np.concatenate([pictures[:7], np.zeros((1, 32, 32, 3), np.uint8)])
    looked = FirstLook(radar, layers, learnt.windows, settings)(radar.info.preprocessing.normalise(shown))
    observed = next(Observer(radar, layers, settings, lambda count: None)(shown))
    maps = [(log_averages(own, at) - at.centre) / at.spread for own, at in zip(observed.cells, layers, strict=True)]
    early = np.mean(maps[: early_layers(len(maps))], axis=0)
    places, statistics = observed.looked.located(np.mean(maps, axis=0), early)
    statistics["feature_anomaly"] = learnt.windows.distances(observed.looked.features)
    assert set(looked.statistics) == set(statistics)
    for name, values in statistics.items():
        assert looked.statistics[name] == pytest.approx(values, abs=1e-4)
    assert looked.places.tolist() == places.tolist()


def test_both_target_rates_have_a_threshold_within_its_interval(learnt: Reference) -> None:
    high, low = learnt.points
    assert (high.target_fpr, low.target_fpr) == (0.02, 0.001)
    assert high.threshold < low.threshold
    for point in learnt.points:
        assert point.low <= point.threshold <= point.high
        assert point.frames == learnt.about.site_frames


def test_benign_frames_seldom_exceed_the_threshold_that_they_were_judged_by(learnt: Reference) -> None:
    high, low = learnt.points
    assert high.alarms + high.novel_alarms <= 0.05 * (high.frames + high.novel_frames)
    assert low.alarms + low.novel_alarms <= 0.02 * (low.frames + low.novel_frames)


def test_the_score_of_an_attack_is_above_that_of_its_background(
    radar: RadarFile, run: CombinedRadar, learnt: Reference, pictures: np.ndarray
) -> None:
    attacked = run(radar.info.preprocessing.normalise(with_magenta(pictures[:40])))
    benign = run(radar.info.preprocessing.normalise(pictures[:40]))
    assert (attacked["label"] == 1).all()
    assert attacked["combined_looked"].mean() > 0.9
    assert np.median(attacked["combined_score"]) > np.quantile(benign["combined_score"], 0.95)


def test_the_window_lies_on_the_attack_and_filling_it_brings_the_label_back(
    radar: RadarFile, run: CombinedRadar, pictures: np.ndarray
) -> None:
    outputs = run(radar.info.preprocessing.normalise(with_magenta(pictures[:40])))
    rows, columns = outputs["combined_box"][:, 0], outputs["combined_box"][:, 1]
    assert np.median(np.abs(rows - 12)) <= 4
    assert np.median(np.abs(columns - 3)) <= 4
    looked = outputs["combined_looked"]
    assert (outputs["combined_label"][looked] == 0).mean() > 0.9
    assert (outputs["combined_label"][~looked] == -1).all()


def test_what_the_second_look_did_not_see_is_not_a_number(run: CombinedRadar, radar: RadarFile) -> None:
    outputs = run(radar.info.preprocessing.normalise(np.full((4, 32, 32, 3), 128, np.uint8)))
    assert (np.isnan(outputs["combined_necessity"]) == ~outputs["combined_looked"]).all()
    assert np.isfinite(outputs["combined_score"]).all()


def test_footage_is_measured_on_its_last_part(radar: RadarFile, pictures: np.ndarray) -> None:
    found = learn(radar, pictures[:150], pictures[150:], footage=True, threads=1)
    assert [point.frames for point in found.points] == [30, 30]
    assert found.about.site_frames == 150


def test_a_reference_comes_back_as_it_was_written(
    tmp_path: Path, radar: RadarFile, learnt: Reference, run: CombinedRadar, pictures: np.ndarray
) -> None:
    path = tmp_path / "tiny.reference.npz"
    write_reference(learnt, path)
    again = CombinedRadar(
        radar, read_reference(path, radar.info.source_sha256), SessionSettings(device="cpu", threads=1)
    )
    inputs = radar.info.preprocessing.normalise(with_magenta(pictures[:20]))
    assert again(inputs)["combined_score"] == pytest.approx(run(inputs)["combined_score"], abs=1e-6)


def test_a_reference_of_another_model_is_refused(tmp_path: Path, learnt: Reference) -> None:
    path = tmp_path / "other.reference.npz"
    write_reference(replace(learnt, model_hash="f" * 64), path)
    with pytest.raises(CalibrationError, match="belongs to another model"):
        read_reference(path, learnt.model_hash)


@pytest.mark.parametrize("damage", ["cut", "nan", "pickle", "text"])
def test_a_damaged_reference_is_one_sentence(tmp_path: Path, learnt: Reference, damage: str) -> None:
    path = tmp_path / "bad.reference.npz"
    write_reference(learnt, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "nan":
        write_reference(replace(learnt, gate=float("nan")), path)
    elif damage == "pickle":
        np.savez(path, head=np.array([{"a": 1}], dtype=object))
    else:
        path.write_text("no archive")
    with pytest.raises(CalibrationError, match="not a readable reference"):
        read_reference(path)


def test_too_few_frames_are_refused_with_what_to_do(radar: RadarFile, pictures: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="give at least 100"):
        learn(radar, pictures[:50], pictures[50:], threads=1)


def test_a_folder_of_few_general_photographs_is_refused(tmp_path: Path, radar: RadarFile) -> None:
    with pytest.raises(UsageError, match="leave --general out"):
        general_pictures(radar.info.preprocessing, tmp_path)


def test_progress_reaches_its_end(radar: RadarFile, pictures: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    learn(radar, pictures[:120], pictures[120:], threads=1, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_a_reference_of_another_version_is_to_be_learnt_anew(tmp_path: Path) -> None:
    write_archive(tmp_path / "old.npz", {"format": "taintwatch-reference/1"}, {"hosts": np.zeros(1)})
    with pytest.raises(
        CalibrationError, match=r"another version of Taintwatch.*learn it anew with `taintwatch calibrate"
    ):
        read_reference(tmp_path / "old.npz")


def test_a_reference_is_of_the_appearance_network_that_it_was_learnt_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = version()
    other = tmp_path / "appearance.onnx"
    other.write_bytes(b"trained anew")
    monkeypatch.setattr("taintwatch_models.detection.reference.bundled_path", lambda name: other)
    version.cache_clear()
    try:
        assert version() != before
    finally:
        version.cache_clear()
