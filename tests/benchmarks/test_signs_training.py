"""A whole small training run: data made on the spot, checkpoint, resume, export and metrics."""

from __future__ import annotations

import json
import shutil
import tarfile
import tomllib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.scripts import run_script
from benchmarks.signs.cards import card_image
from benchmarks.signs.dataset import (
    LabelledImages,
    load_photographs,
    load_test,
    load_tracks,
    split_by_track,
)
from benchmarks.signs.evaluate import accuracy_report
from benchmarks.signs.material import Material
from benchmarks.signs.network import SignNet
from benchmarks.signs.run import Settings, TrainingRun, targets
from benchmarks.signs.train import command
from taintwatch_models.errors import UsageError

CLASSES = (12, 14)
CPU = torch.device("cpu")


def picture(label: int, seed: int) -> NDArray[np.uint8]:
    """A card with some noise: (64, 64, 3) RGB."""
    noise = np.random.default_rng(seed).normal(0, 8, (64, 64, 3))
    return np.clip(card_image(label, 0.9)[..., :3] + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two GTSRB files with 2 classes, 5 tracks each, 4 frames a track."""
    folder = tmp_path_factory.mktemp("signs")
    with tarfile.open(folder / "gtsrb_train_64.tar", "w") as archive:
        for label in CLASSES:
            for track in range(5):
                for frame in range(4):
                    pixels = picture(label, 100 * track + frame)
                    content = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
                    entry = tarfile.TarInfo(f"{label:02d}/{track:05d}_{frame:05d}.jpg")
                    entry.size = len(content)
                    archive.addfile(entry, BytesIO(content))
    images = np.stack([cv2.resize(picture(label, seed), (32, 32)) for label in CLASSES for seed in range(6)])
    np.savez(folder / "gtsrb_test_32.npz", x=images, y=np.repeat(CLASSES, 6))
    return folder


def make_run(data_folder: Path, out: Path, epochs: int = 2, seed: int = 1, **options: object) -> TrainingRun:
    out.mkdir(exist_ok=True)
    training, validation = split_by_track(load_tracks(data_folder), np.random.default_rng(0))
    empty = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    material = Material(training, validation, load_test(data_folder), empty_scenes=empty)
    settings = Settings(epochs=epochs, batch=16, ema_decay=0.5, critical_from=0.5, classes=CLASSES, width=4, seed=seed)
    return TrainingRun(out, settings, material, CPU, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, Path]:
    out = tmp_path_factory.mktemp("run")
    run = make_run(data_folder, out, epochs=2)
    run.train()
    return run, out


def test_whole_tracks_are_held_out(data_folder: Path) -> None:
    training, validation = split_by_track(load_tracks(data_folder), np.random.default_rng(0))
    assert len(training) == 32
    assert len(validation) == 8
    assert not set(training.tracks.tolist()) & set(validation.tracks.tolist())
    assert set(validation.labels.tolist()) == set(CLASSES)


def test_a_class_of_few_tracks_is_wholly_trained_on() -> None:
    data = LabelledImages(np.zeros((6, 2, 2, 3), np.uint8), np.zeros(6, np.int64), np.array([0, 0, 1, 1, 2, 2]))
    training, validation = split_by_track(data, np.random.default_rng(0))
    assert len(training) == 6
    assert len(validation) == 0


def test_the_exported_file_gives_torchs_logits_for_any_batch(finished: tuple[TrainingRun, Path]) -> None:
    run, out = finished
    session = onnxruntime.InferenceSession(out / "signs.onnx", providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input"]
    assert [o.name for o in session.get_outputs()] == ["logits"]
    for batch in (1, 3, 7):
        images = np.random.default_rng(batch).normal(size=(batch, 3, 64, 64)).astype(np.float32)
        (logits,) = session.run(None, {"input": images})
        with torch.no_grad():
            expected = run.network.eval()(torch.from_numpy(images)).numpy()
        assert logits.shape == (batch, 3)
        np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_the_declaration_beside_the_model_names_its_labels_and_preprocessing(
    finished: tuple[TrainingRun, Path],
) -> None:
    _, out = finished
    declared = tomllib.loads((out / "signs.toml").read_text())
    assert declared["labels"] == ["priority road", "stop", "background"]
    assert declared["preprocessing"]["size"] == [64, 64]
    assert declared["preprocessing"]["background"] == "background"
    assert len(declared["preprocessing"]["mean"]) == 3


def test_the_metrics_count_every_picture_by_class(finished: tuple[TrainingRun, Path]) -> None:
    _, out = finished
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["epochs_done"] == 2
    assert metrics["settings"]["seed"] == 1
    assert metrics["test"]["total"] == 12
    assert metrics["validation"]["total"] == 8
    assert metrics["cards"]["total"] == 2
    assert metrics["empty_scenes"]["by_class"]["background"]["total"] == 5
    assert sum(entry["correct"] for entry in metrics["test"]["by_class"].values()) == metrics["test"]["correct"]
    assert {path.name for path in out.iterdir()} == {"checkpoint.pt", "metrics.json", "signs.onnx", "signs.toml"}


def test_training_learns_to_tell_two_signs_apart(data_folder: Path, tmp_path: Path) -> None:
    run = make_run(data_folder, tmp_path, epochs=12)
    run.train()
    assert json.loads((tmp_path / "metrics.json").read_text())["cards"]["accuracy"] == 1.0


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    finished: tuple[TrainingRun, Path], data_folder: Path, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    ticks = iter([0.0, 0.0, 1.0])  # an epoch looks at the clock twice before its steps and once at its end

    def clock() -> float:
        try:
            return next(ticks)
        except StopIteration:
            raise KilledError from None

    with pytest.raises(KilledError):
        make_run(data_folder, tmp_path, clock=clock).train()
    assert not (tmp_path / "signs.onnx").exists()

    resumed = make_run(data_folder, tmp_path)
    resumed.resume()
    assert resumed.epoch == 1
    resumed.train()
    unbroken, _ = finished
    for name, value in unbroken.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, msg=name)


def test_a_resumed_run_may_be_made_longer_and_its_metrics_tell_of_it(
    finished: tuple[TrainingRun, Path], data_folder: Path, tmp_path: Path
) -> None:
    shutil.copy(finished[1] / "checkpoint.pt", tmp_path)
    longer = make_run(data_folder, tmp_path, epochs=4)
    longer.resume()
    longer.train()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["epochs_done"] == 4
    assert metrics["epochs_planned_before"] == [{"until_epoch": 2, "epochs": 2}]


def test_resuming_with_other_settings_or_too_few_epochs_is_refused(
    finished: tuple[TrainingRun, Path], data_folder: Path
) -> None:
    _, out = finished
    with pytest.raises(UsageError, match="was made with other settings"):
        make_run(data_folder, out, seed=2).resume()
    with pytest.raises(UsageError, match="has 2 epochs behind it"):
        make_run(data_folder, out, epochs=1).resume()


def test_resuming_without_a_checkpoint_is_refused(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint to resume from"):
        make_run(data_folder, tmp_path).resume()


def test_missing_data_ends_in_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu", "--threads", "1"]
    assert run_script(command, "train", arguments) == 2
    assert "gtsrb_train_64.tar is missing: --data must name the folder" in capfd.readouterr().err


def test_photographs_become_crops_and_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pictures"):
        load_photographs(tmp_path, np.random.default_rng(0))
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((90, 120, 3), (255, 0, 0), np.uint8))
    found = load_photographs(tmp_path, np.random.default_rng(0), crops=4)
    assert found.shape == (4, 64, 64, 3)
    assert (found == (0, 0, 255)).all()  # blue, and red-green-blue in order


def test_accuracy_is_counted_by_class_and_leaves_out_classes_without_pictures() -> None:
    report = accuracy_report(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), ("a", "b", "c"))
    assert report["accuracy"] == 0.75
    assert report["by_class"] == {
        "a": {"correct": 2, "total": 3, "accuracy": 0.6667},
        "b": {"correct": 1, "total": 1, "accuracy": 1.0},
    }


def test_the_bundled_network_has_large_enough_maps_and_few_enough_weights() -> None:
    network = SignNet(44)
    assert network.maps(torch.zeros(1, 3, 64, 64)).shape == (1, 192, 8, 8)
    assert sum(p.numel() for p in network.parameters()) * 4 < 4_000_000


@pytest.mark.shared
def test_the_real_data_has_all_43_classes_and_no_track_on_both_sides(shared_data: Path) -> None:
    training, validation = split_by_track(load_tracks(shared_data / "signs"), np.random.default_rng(0))
    assert len(training) + len(validation) == 13318
    assert set(training.labels.tolist()) == set(range(43))
    assert not set(training.tracks.tolist()) & set(validation.tracks.tolist())
    assert len(load_test(shared_data / "signs")) == 6000


def test_a_sign_whose_evidence_is_erased_is_to_be_guessed_at_and_nothing_else_is() -> None:
    labels = torch.tensor([0, 1, 2])  # two signs, then background
    wanted = targets(labels, 2, torch.tensor([True, False, True]), keep=0.5)
    expected = torch.tensor([[0.75, 0.25, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert torch.equal(wanted, expected)
    assert torch.equal(targets(labels, 2, None, 0.5), torch.eye(3))


def test_a_run_may_begin_from_anothers_weights_but_not_from_another_network(
    finished: tuple[TrainingRun, Path], tmp_path: Path
) -> None:
    first, folder = finished
    fresh = TrainingRun(tmp_path, replace(first.settings, seed=9), first._material, torch.device("cpu"))
    fresh.start_from(folder / "checkpoint.pt")
    for mine, theirs in zip(fresh.network.parameters(), first.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    wider = TrainingRun(tmp_path, replace(first.settings, width=12), first._material, torch.device("cpu"))
    with pytest.raises(UsageError, match="not of a network of this size"):
        wider.start_from(folder / "checkpoint.pt")
    with pytest.raises(UsageError, match="There is no checkpoint"):
        fresh.start_from(tmp_path / "gone.pt")
