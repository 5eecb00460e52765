"""CMAG's variants: the paper's equations against plain formulas, stages that settings share, and one small run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.cmag import ablation, loss_gradients
from benchmarks.cmag.ablation_training import Setting, error_and_similarity, train_setting
from benchmarks.cmag.magnet_autoencoder import MAGNET_STATISTICS, MagnetAutoencoder, magnet_values
from benchmarks.cmag.trial_attacks import Attack
from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_calibration.cmag.frames import CmagValues
from taintwatch_calibration.cmag.similarity import global_similarity
from tests.cmag_scene import benign_pictures


def test_the_global_similarity_is_the_papers_formula_over_the_whole_picture() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(size=(3, 2, 8, 8)), rng.uniform(size=(3, 2, 8, 8))
    wanted = []
    for x, y in zip(first, second, strict=True):
        channels = []
        for one, two in zip(x, y, strict=True):
            c1, c2 = 0.01**2, 0.03**2
            light = (2 * one.mean() * two.mean() + c1) / (one.mean() ** 2 + two.mean() ** 2 + c1)
            contrast = (2 * one.std() * two.std() + c2) / (one.var() + two.var() + c2)
            covariance = ((one - one.mean()) * (two - two.mean())).mean()
            channels.append(light * contrast * (covariance + c2 / 2) / (one.std() * two.std() + c2 / 2))
        wanted.append(np.mean(channels))
    found = global_similarity(torch.from_numpy(first), torch.from_numpy(second))
    assert found.numpy() == pytest.approx(np.array(wanted), rel=1e-9)


def test_the_error_is_a_mean_or_a_sum_beside_what_is_unlike() -> None:
    made, wanted = torch.rand(4, 1, 16, 16), torch.rand(4, 1, 16, 16)
    squares = ((made - wanted) ** 2).flatten(1)
    for setting, error in (
        (Setting("a"), squares.mean(1)),
        (Setting("b", error="sum", window="whole"), squares.sum(1)),
    ):
        similarity = setting.similarity(16)
        unlike = 1 - similarity(made, wanted)
        loss = float(error_and_similarity(setting, similarity, made, wanted))
        assert loss == pytest.approx(float((0.5 * error + 0.5 * unlike).mean()), rel=1e-5)


def pictures_of(count: int, seed: int) -> BenignData:
    """Pictures of one brightness on each half, with maps and logits that say which."""
    rng = np.random.default_rng(seed)
    halves = rng.uniform(size=(count, 1, 1, 2)).astype(np.float32)
    pictures = np.repeat(np.repeat(halves, 16, 2), 8, 3)
    features = np.repeat(np.repeat(halves, 4, 2), 2, 3)
    return BenignData(features, np.concatenate([halves[:, 0, 0], 1 - halves[:, 0, 0]], 1) * 4, pictures)


def test_a_stage_that_two_settings_share_is_trained_once_and_the_reconstruction_comes_to_resemble(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    data = pictures_of(64, 0)
    ours = Setting("ours", epochs=4, batch=16)
    trained = train_setting(ours, data, tmp_path, 0, said.append)
    losses = [float(line.rsplit(" ", 1)[1]) for line in said if "fmr" in line]
    assert losses[-1] < 0.9 * losses[0]
    sharp = train_setting(Setting("sharp", temperature=0.001, epochs=4, batch=16), data, tmp_path, 0, said.append)
    assert [line.split()[1] for line in said if line.startswith("sharp")] == ["lr"] * 4 + ["gr"] * 4
    train_setting(Setting("mean", join="mean", epochs=4, batch=16), data, tmp_path, 0, said.append)
    assert [line.split()[1] for line in said if line.startswith("mean")] == ["gr"] * 4
    features, logits, _ = (torch.from_numpy(part[:4]) for part in data.parts)
    assert torch.equal(trained.pictures(features, logits)["fmr"], sharp.pictures(features, logits)["fmr"])
    values, means = trained.values(pictures_of(40, 1))
    assert values.statistics["ssim"].shape == values.statistics["l2"].shape == (40,)
    assert means["ssim_gr"] == pytest.approx(float(values.statistics["ssim"].mean()), abs=1e-4)


def test_extreme_thresholds_are_those_of_the_training_pictures_and_keep_no_rate() -> None:
    def values_of(pictures: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> CmagValues:
        return CmagValues(np.zeros(len(pictures), np.int64), {"l2": pictures[:, 0, 0, 0].astype(np.float64)})

    def column(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.array(values, np.float32)[:, None, None, None]

    judged = ablation.Judged(column(1, 2, 3), column(*range(100)), column(2.5, 3.5, 98.5, 0), ())
    assert ablation.rates(values_of, judged, (("l2",),), "extreme")[0]["fpr"]["rate"] == 0.5
    assert ablation.rates(values_of, judged, (("l2",),))[0]["fpr"]["rate"] == 0.25


def test_every_setting_and_peer_has_a_row_for_each_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "ATTACKS", (Attack("fgsm", 0.0), Attack("fgsm", 0.9)))
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    images = rng.integers(0, 60, (300, 28, 28), np.uint8)
    images[labels == 0, :14] += 150
    images[labels == 1, 14:] += 150
    (tmp_path / "digits").mkdir()
    np.savez(tmp_path / "digits" / "mnist.npz", train_images=images[:200], train_labels=labels[:200],
             test_images=images[200:], test_labels=labels[200:])  # fmt: skip
    words = ["--data", tmp_path, "--work", tmp_path / "work", "--dataset", "mnist", "--setting", "ours", "--setting",
             "thresholds: extreme", "--training", 64, "--benign", 40, "--fgsm", 4,
             "--gan-steps", 2, "--gan-iterations", 2, "--gan-restarts", 1, "--gan-benign", 20,
             "--json", tmp_path / "v.json", "--markdown", tmp_path / "v.md"]  # fmt: skip
    CliRunner().invoke(ablation.main, [str(word) for word in words], catch_exceptions=False)
    document = json.loads((tmp_path / "v.json").read_text())
    assert [(row["detector"], row["statistics"]) for row in document["rows"]] == [
        *[("ours", names) for names in (["ssim", "l2"], ["ssim"], ["l2"])],
        *[("thresholds: extreme", names) for names in (["ssim", "l2"], ["ssim"], ["l2"])],
        ("MagNet", ["l1", "l2", "jsd10", "jsd40"]), ("Defense-GAN", ["l2"]),
    ]  # fmt: skip
    successes = [attack["successes"] for attack in document["datasets"]["mnist"]["attacks"]]
    assert successes[0] == 0 < successes[1]
    assert all([part["n"] for part in row["attacks"]] == successes for row in document["rows"])
    assert document["rows"][-1]["fpr"]["n"] == 20
    lines = (tmp_path / "v.md").read_text().splitlines()
    assert len(lines) == 2 + 2 + 4
    assert lines[4].startswith("| ours | - | ")
    again = CliRunner().invoke(ablation.main, [str(word) for word in words], catch_exceptions=False)
    assert (again.output, json.loads((tmp_path / "v.json").read_text())) == ("", document)


def test_magnets_statistics_are_zero_where_the_autoencoder_changes_nothing() -> None:
    model = MagnetAutoencoder(3)
    model.layers = torch.nn.Identity()
    pictures = np.moveaxis(benign_pictures(5), -1, 1).astype(np.float32) / 255
    found = magnet_values(model, lambda x: x.mean(dim=(2, 3)), pictures.astype(np.float32))
    assert tuple(found.statistics) == MAGNET_STATISTICS
    assert all(np.allclose(column, 0, atol=1e-9) for column in found.statistics.values())


def test_gradients_are_those_of_the_loss_and_are_counted_on_the_object() -> None:
    pictures = torch.rand(2, 1, 4, 4)

    def loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return (made - wanted).square().sum((1, 2, 3))

    sizes = loss_gradients.gradient_size(torch.nn.Hardtanh(0, 0.5), loss, pictures)
    assert torch.allclose(sizes, 2 * (pictures[:, 0] - 0.5).clamp_min(0))
    half = torch.zeros(1, 1, 4, 4)
    half[:, :, :2] = 1.0
    weights = torch.ones(1, 4, 4)
    weights[:, 2:] = 3.0
    assert loss_gradients.on_object(weights, half).tolist() == [0.25]
    assert loss_gradients.kept(weights, 5 - weights).tolist() == pytest.approx([-1.0])
    assert loss_gradients.kept(weights, 2 * weights).tolist() == pytest.approx([1.0])
