"""Mask sets cover what they must, and double masking and Minority Reports follow their papers' rules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.peers.double_masking import DoubleMasking, lead, majority
from benchmarks.peers.masks import MaskPlan, covering, mask_grid, patch_side
from benchmarks.peers.minority import MinorityReports, voting_grid
from taintwatch_models.bundled import bundled_radar
from taintwatch_models.errors import UsageError

SIZE = 64


@given(st.integers(8, 240), st.floats(0.02, 0.9), st.integers(1, 8), st.integers(1, 3))
def test_wherever_the_patch_is_a_window_of_masks_hides_it(side: int, share: float, count: int, window: int) -> None:
    window = min(window, count)
    patch = patch_side((side, side), share)
    starts, length = covering(side, patch, count, window)
    assert len(starts) <= count
    for place in range(side - patch + 1):
        hiding = np.flatnonzero((starts <= place) & (starts + length >= place + patch))
        assert len(hiding) >= window
        assert (np.diff(hiding) == 1).all()


@given(st.integers(10, 40), st.integers(10, 40), st.floats(0.1, 0.6), st.integers(1, 6))
def test_the_masks_of_a_picture_hide_the_patch_whole(height: int, width: int, share: float, count: int) -> None:
    patch = patch_side((height, width), share)
    masks = mask_grid((height, width), MaskPlan(count, share)).masks
    rng = np.random.default_rng(0)
    for _ in range(5):
        top, left = rng.integers(0, height - patch + 1), rng.integers(0, width - patch + 1)
        assert masks[:, top : top + patch, left : left + patch].all(axis=(1, 2)).any()


def test_the_papers_example_of_a_mask_set() -> None:
    # 224 pixels, a patch of 32 (2% of the picture), 6 masks along an axis: stride 33, mask 64.
    starts, length = covering(224, 32, 6)
    assert (starts.tolist(), length) == ([0, 33, 66, 99, 132, 160], 64)


@pytest.mark.parametrize(("share", "count", "window"), [(0.0, 3, 1), (1.0, 3, 1), (0.4, 2, 3), (0.4, 3, 0)])
def test_masks_that_make_no_sense_are_refused(share: float, count: int, window: int) -> None:
    with pytest.raises(UsageError):
        mask_grid((SIZE, SIZE), MaskPlan(count, share, window))


def test_the_majority_is_what_most_predictions_name_and_a_tie_goes_to_the_stronger() -> None:
    assert majority(np.array([[1.0, 0, 0], [1, 0, 0], [0, 9, 0]])) == 0
    assert majority(np.array([[1.0, 0, 0], [0, 9, 0]])) == 1


def test_a_lead_is_the_distance_to_the_largest_other_logit() -> None:
    assert lead(np.array([[3.0, 1, 2], [3, 1, 2]]), np.array([0, 2])).tolist() == [1, -1]


Answer = Callable[[NDArray[np.float32]], list[float]]


def asked(monkeypatch: pytest.MonkeyPatch, answer: Answer, count: int = 3) -> tuple[DoubleMasking, list[int]]:
    """Double masking over a classifier that `answer`s for each input (3, H, W); and how many it was asked about."""
    peer, sizes = DoubleMasking(bundled_radar(), np.empty((0, SIZE, SIZE, 3), np.uint8), plan=MaskPlan(count, 0.2)), []

    def logits(inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        sizes.append(len(inputs))
        return np.array([answer(each) for each in inputs], np.float64)

    monkeypatch.setattr(peer._classifier, "logits", logits)
    return peer, sizes


def picture(*places: tuple[int, int]) -> NDArray[np.uint8]:
    """White pixels on black at `places`."""
    found = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    for top, left in places:
        found[0, top, left] = 255
    return found


def white(inputs: NDArray[np.float32]) -> int:
    """How many pixels of an input are whiter than grey masks."""
    return int((inputs[0] > inputs[0].max() * 0.9).sum()) if inputs.max() > 0.9 else 0


def test_agreement_of_all_masks_asks_no_further_and_scores_at_most_minus_one(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, sizes = asked(monkeypatch, lambda inputs: [5.0, 2.0, 1.0])
    assert peer.scores(picture()).tolist() == [-4.0]
    assert sizes == [9]


def test_a_disagreer_that_every_second_mask_leaves_is_an_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    # The one white pixel holds class 0 up: whoever hides it sees class 1, whatever else is hidden.
    peer, sizes = asked(monkeypatch, lambda inputs: [5.0, 1.0, 0.0] if white(inputs) else [0.0, 2.0, 0.0])
    assert peer.scores(picture((2, 2)))[0] == pytest.approx(np.tanh(1.0))
    assert sizes == [9, 8]


def test_a_disagreer_that_some_second_mask_turns_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # With the pixel in one corner hidden class 1 is seen, but only while that in the other corner is not hidden too.
    def answer(inputs: NDArray[np.float32]) -> list[float]:
        return {2: [5.0, 1.0, 0.0], 1: [0.0, 2.0, 0.0] if inputs[0, 61, 61] > 0.9 else [5.0, 0.0, 0.0]}.get(
            white(inputs), [3.0, 0.0, 0.0]
        )

    peer, _ = asked(monkeypatch, answer)
    score = peer.scores(picture((2, 2), (61, 61)))[0]
    assert -1 < score < 0
    assert score == pytest.approx(np.tanh(-1.5))


def test_each_pair_of_masks_is_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    peer, sizes = asked(monkeypatch, lambda inputs: rng.normal(size=3).tolist())
    peer.scores(picture())
    assert sum(sizes) <= peer.forwards == 45


def test_a_window_votes_with_mean_confidences_without_each_classs_lowest() -> None:
    predictions = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.7, 0.3], [0.2, 0.8]]])
    assert voting_grid(predictions, 1) == pytest.approx(predictions)
    assert voting_grid(predictions, 2)[0, 0] == pytest.approx([(0.9 + 0.5 + 0.7) / 3, (0.5 + 0.3 + 0.8) / 3])


def test_minority_reports_is_the_strongest_vote_against_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = MinorityReports(bundled_radar(), np.empty((0, SIZE, SIZE, 3), np.uint8), plan=MaskPlan(3, 0.2))

    def logits(inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        seen = [[0.8, 0.1, 0.1] if white(each) else [0.2, 0.7, 0.1] for each in inputs]
        return np.asarray(np.log(seen), np.float64)

    monkeypatch.setattr(peer._classifier, "logits", logits)
    assert peer.scores(picture((2, 2)))[0] == pytest.approx(0.7)
    assert peer.scores(picture((2, 2), (61, 61)))[0] == pytest.approx(0.1)
