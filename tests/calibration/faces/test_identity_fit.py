"""The identity layer, the covered copies it learns from, and thresholds from benign faces."""

from __future__ import annotations

import numpy as np
import pytest

from taintwatch_calibration.faces.face_model import JUDGED, fit_scales, scores, stranger_threshold
from taintwatch_calibration.faces.identity_fit import fit_identity, mean_face, occlude
from taintwatch_models.errors import CalibrationError


def people(seed: int = 0, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around four far-apart means."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    means = np.random.default_rng(1).normal(size=(4, 16)) * 3
    return (means[labels] + rng.normal(size=(count, 16))).astype(np.float32), labels


def test_people_are_told_apart_on_photographs_that_it_was_not_fitted_to() -> None:
    layer = fit_identity(*people(0), 4)
    others, labels = people(5)
    assert (layer(others).argmax(1) == labels).mean() == 1.0


def test_what_covered_copies_show_is_learnt_too() -> None:
    embeddings, labels = people(0)
    covered = embeddings.copy()
    covered[:, :8] = 0  # what a cover does to an embedding
    plain = fit_identity(embeddings, labels, 4)
    taught = fit_identity(embeddings, labels, 4, covered[None])
    others, wanted = people(5)
    others[:, :8] = 0

    def lead(logits: np.ndarray) -> float:
        own = logits[np.arange(len(wanted)), wanted]
        logits[np.arange(len(wanted)), wanted] = -np.inf
        return float(np.median(own - logits.max(1)))

    assert lead(taught(others)) > lead(plain(others))


def test_more_decay_gives_more_modest_logits() -> None:
    embeddings, labels = people(0)
    bold, modest = (np.abs(fit_identity(embeddings, labels, 4, decay=d).weights).max() for d in (1e-4, 1e-1))
    assert modest < bold / 2


def test_each_copy_is_covered_somewhere_and_the_rest_is_untouched() -> None:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (30, 112, 112, 3), dtype=np.uint8)
    covered = occlude(faces, mean_face(faces), np.random.default_rng(1))
    changed = (covered != faces).any(axis=3).mean(axis=(1, 2))
    assert changed.min() > 0.015
    assert changed.max() < 0.5
    assert not np.array_equal(covered, occlude(faces, mean_face(faces), np.random.default_rng(2)))


def benign(count: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(index, 1 + index, count) for index, name in enumerate(JUDGED)}


def test_every_statistic_alone_has_the_target_share_above_one() -> None:
    scales = fit_scales(benign(), 0.05)
    for scale in scales:
        values = (benign()[scale.statistic] - scale.centre) / scale.spread
        assert (values > 1).mean() == pytest.approx(0.05)
        assert np.median(values) == pytest.approx(0, abs=1e-6)


def test_the_combined_score_is_the_largest() -> None:
    scales = fit_scales(benign(), 0.05)
    table = benign(20, seed=3)
    expected = np.max([(table[s.statistic] - s.centre) / s.spread for s in scales], axis=0)
    np.testing.assert_allclose(scores(table, scales), expected)


def test_too_few_benign_faces_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(CalibrationError, match=r"10 benign faces are too few .* at least 20"):
        fit_scales(benign(10), 0.05)


def test_the_stranger_threshold_turns_away_the_target_share_of_known_faces() -> None:
    probabilities = np.random.default_rng(0).uniform(0.3, 1.0, 500).astype(np.float32)
    below = stranger_threshold(probabilities, 0.02)
    assert (probabilities < below).mean() == pytest.approx(0.02)
