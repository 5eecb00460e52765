"""The student: a second opinion on the picture, and what it shows where the classifier was led astray."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_calibration.cmag.networks import Shape
from taintwatch_calibration.cmag.statistics import STATISTICS, CmagGraph, fit_graph
from taintwatch_calibration.cmag.student import MOST_COMPONENTS, Student, varied
from taintwatch_calibration.cmag.training import TrainingSettings, train_reconstructors
from tests.cmag_scene import benign_pictures

SIZE = 16


def coloured(count: int, seed: int) -> BenignData:
    """Pictures, and a classifier that says how red, green and blue they are."""
    pictures = np.moveaxis(benign_pictures(count, seed)[:, ::2, ::2], -1, 1).astype(np.float32) / 255
    maps = pictures.reshape(count, 3, 4, 4, 4, 4).mean(axis=(3, 5))
    logits = (9 * pictures.mean(axis=(2, 3))).astype(np.float32)
    return BenignData(maps.astype(np.float32), logits, np.ascontiguousarray(pictures, np.float32))


@pytest.fixture(scope="module")
def graph() -> CmagGraph:
    settings = TrainingSettings(epochs=8, batch=32, rate=5e-3)
    training, validation = coloured(320, 0), coloured(120, 1)
    model = train_reconstructors(training, validation, Shape(3, (4, 4), 3, SIZE, width=8), settings)
    return fit_graph(model, training, validation)


def measured(graph: CmagGraph, data: BenignData) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        values = graph(*(torch.from_numpy(np.ascontiguousarray(part)) for part in data.parts))[3:]
    return dict(zip(STATISTICS, values, strict=True))


def test_it_learns_to_say_what_the_classifier_says(graph: CmagGraph) -> None:
    student, fresh = graph.reconstructors.student, coloured(100, 2)
    with torch.no_grad():
        said, wanted = student(torch.from_numpy(fresh.pictures)), student.components(torch.from_numpy(fresh.logits))
    assert float((said - wanted).square().mean()) < 0.2 * float(wanted.var())


def test_it_contradicts_a_classifier_that_was_led_astray_and_no_other(graph: CmagGraph) -> None:
    benign, fresh = coloured(200, 3), coloured(100, 4)
    elsewhere = np.roll(fresh.logits, 1, axis=1) + np.array([4, 0, -4], np.float32)
    astray = BenignData(fresh.features, elsewhere, fresh.pictures)
    for statistic in ("disagreement", "novelty"):
        limit = torch.quantile(measured(graph, benign)[statistic], 0.95)
        assert float((measured(graph, fresh)[statistic] > limit).float().mean()) < 0.2, statistic
        assert float((measured(graph, astray)[statistic] > limit).float().mean()) > 0.95, statistic


def test_novelty_sees_noise_that_changes_no_answer(graph: CmagGraph) -> None:
    fresh = coloured(100, 5)
    noise = np.random.default_rng(0).choice([-0.15, 0.15], fresh.pictures.shape)
    noisy = BenignData(fresh.features, fresh.logits, np.clip(fresh.pictures + noise, 0, 1).astype(np.float32))
    limit = torch.quantile(measured(graph, coloured(200, 3))["novelty"], 0.95)
    assert float((measured(graph, noisy)["novelty"] > limit).float().mean()) > 0.95


def test_logit_components_are_the_principal_components_of_benign_logits() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(500, 4)) @ rng.normal(size=(4, 200)) + 3).float()
    student = Student(200, 3, 32)
    student.fit(logits)
    components = student.components(logits)
    assert components.shape == (500, MOST_COMPONENTS)
    variances = components.square().mean(dim=0)
    assert float(variances.max()) == pytest.approx(1, rel=1e-3)
    assert int((variances > 1e-4).sum()) == 4  # the logits vary in four directions only


@pytest.mark.parametrize("size", [16, 28, 32, 36, 64, 128])
def test_it_is_sized_to_the_picture_and_stays_small(size: int) -> None:
    student = Student(43, 3, size).eval()
    assert student(torch.rand(2, 3, size, size)).shape == (2, 43)
    assert sum(values.numel() for values in student.parameters()) < 400_000


def test_varied_pictures_are_moved_and_noisy_and_a_seed_fixes_them() -> None:
    pictures = torch.rand(8, 3, SIZE, SIZE)
    one, two = (varied(pictures, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, pictures)
    assert float((one - pictures).abs().mean()) < 0.5
