"""PatchCleanser's double masking as a detector.

Source: Xiang, Mahloujifar, Mittal, PatchCleanser: Certifiably Robust Defense against Adversarial Patches for Any Image
Classifier, USENIX Security 2022: Algorithm 1 (double masking), with mask sets of k masks along an axis.

Algorithm 1 recovers a label; as a detector it says `attacked` where it answers with a disagreer (its case II): some
one-mask prediction differs from the majority, and every further mask leaves that prediction as it is. The score grades
this, so that a threshold can be chosen on benign pictures:

- all one-mask predictions agree (case I): -1 plus the largest lead, in logits, that any other class has over the
  majority's under any mask: at most -1;
- some disagree: the smallest lead that the disagreer's class keeps over all others under every second mask, the best of
  all disagreers, squashed by tanh(lead / 2) into (-1, 1). Above 0 is exactly case II, above -1 any disagreement.

Deviations: masks are filled with the model's mean colour (the authors' code: 0 after normalising, much the same). A
tie for the majority goes to the class with the larger mean logit. The assumed patch is 0.4 of the shorter side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Classifier
from benchmarks.peers.masks import MaskPlan, mask_grid
from taintwatch_models.radar_file import RadarFile

__all__ = ["DoubleMasking", "lead", "majority"]

_PLAN = MaskPlan()


class DoubleMasking:
    """One-mask predictions, and two-mask predictions of those that disagree."""

    def __init__(
        self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0, plan: MaskPlan = _PLAN
    ) -> None:
        """Needs no benign picture and no randomness."""
        self.name = f"double_masking_{plan.count}"
        self._classifier = Classifier(radar, threads=threads)
        self._masks = mask_grid(radar.info.preprocessing.size, plan).masks[:, None]  # (M, 1, H, W)
        masks = len(self._masks)
        self.forwards = masks + masks * (masks - 1) // 2

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,)."""
        inputs = self._classifier.inputs(pixels)
        return np.array([self._score(picture) for picture in inputs], np.float64)

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels that Algorithm 1 recovers, (N,): a disagreer that stands, else the majority's."""
        inputs = self._classifier.inputs(pixels)
        return np.array([self._label(picture) for picture in inputs], np.int64)

    def _label(self, picture: NDArray[np.float32]) -> int:
        colour = self._classifier.mean_colour()
        seen = self._classifier.logits(np.where(self._masks, colour, picture))
        most, ones = majority(seen), seen.argmax(axis=1)
        for first in np.flatnonzero(ones != most):
            twos = self._classifier.logits(np.where(self._masks | self._masks[first], colour, picture))
            if (twos.argmax(axis=1) == ones[first]).all():
                return int(ones[first])
        return most

    def _score(self, picture: NDArray[np.float32]) -> float:
        colour = self._classifier.mean_colour()
        ones = self._classifier.logits(np.where(self._masks, colour, picture))  # (M, classes)
        most = majority(ones)
        seen = ones.argmax(axis=1)
        disagreeing = np.flatnonzero(seen != most)
        if not len(disagreeing):
            return -1.0 - float(lead(ones, np.full(len(ones), most)).min())
        # A pair of masks hides the same in either order: each pair is asked about once.
        known: dict[tuple[int, int], NDArray[np.float64]] = {(m, m): ones[m] for m in range(len(ones))}
        best = -np.inf
        for first in disagreeing:
            wanted = [pair for pair in _pairs(int(first), len(ones)) if pair not in known]
            if wanted:
                hidden = np.stack([self._masks[a] | self._masks[b] for a, b in wanted])
                known |= zip(wanted, self._classifier.logits(np.where(hidden, colour, picture)), strict=True)
            twos = np.stack([known[pair] for pair in _pairs(int(first), len(ones))])
            best = max(best, float(lead(twos, np.full(len(twos), seen[first])).min()))
        return float(np.tanh(best / 2))


def majority(logits: NDArray[np.float64]) -> int:
    """Return the class that most of the predictions (M, classes) name."""
    votes = np.bincount(logits.argmax(axis=1), minlength=logits.shape[1])
    tied = np.flatnonzero(votes == votes.max())
    return int(tied[logits.mean(axis=0)[tied].argmax()])


def lead(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how far each label's logit lies above the largest other: (M,), negative where another is on top."""
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return np.asarray(logits[rows, labels] - others.max(axis=1))


def _pairs(first: int, count: int) -> list[tuple[int, int]]:
    return [(min(first, second), max(first, second)) for second in range(count)]
