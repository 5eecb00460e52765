"""Minority Reports: a grid of predictions under occlusion, and the votes of its windows.

Source: McCoyd, Park, Chen, Shah, Roggenkemper, Hwang, Liu, Wagner, Minority Reports Defense: Defending Against
Adversarial Patches, 2020 (arXiv 2004.13799): a mask slides over the picture and gives a grid of predictions; each
window of neighbouring predictions (3 x 3 in the paper) votes for the class of the largest mean confidence, and
abstains below a threshold; a vote for another class than the picture's label is an attack.

The score is the largest mean confidence with which any window names another class than the label: the paper's own
threshold on it decides.

Deviations: the paper's mask moves by one pixel and is two pixels longer than the patch (7 for 5 in pictures of 32):
thousands of forwards at camera sizes. Here the grid has k by k masks; a window of w masks then needs w strides of extra
length, most of the picture, so that a window is a single mask by default and the voting grid is the prediction grid. So
did PatchCleanser's authors in their comparison (notes in their repository); from there, too, that masks of wider
windows must overhang the border (a patch in a corner is hidden by one mask otherwise), and that each class's lowest
confidence in a window is left out. The paper trains its classifier on occluded pictures; this peer takes it as it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Classifier, softmax
from benchmarks.peers.masks import MaskPlan, mask_grid
from taintwatch_models.radar_file import RadarFile

__all__ = ["MinorityReports", "voting_grid"]

_PLAN = MaskPlan()


class MinorityReports:
    """The strongest vote against the label."""

    def __init__(
        self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0, plan: MaskPlan = _PLAN
    ) -> None:
        """Needs no benign picture and no randomness. `plan.window`: predictions along the side of what has one vote."""
        self.name = f"minority_{plan.count}"
        self._classifier = Classifier(radar, threads=threads)
        self._grid, self._window = mask_grid(radar.info.preprocessing.size, plan), plan.window
        self.forwards = 1 + len(self._grid.masks)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,) in [0, 1]."""
        inputs = self._classifier.inputs(pixels)
        labels = self._classifier.logits(inputs).argmax(axis=1)
        return np.array([self._score(*each) for each in zip(inputs, labels, strict=True)], np.float64)

    def _score(self, picture: NDArray[np.float32], label: int) -> float:
        masked = np.where(self._grid.masks[:, None], self._classifier.mean_colour(), picture)  # (M, 3, H, W)
        found = softmax(self._classifier.logits(masked))
        votes = voting_grid(found.reshape(self._grid.rows, self._grid.columns, -1), self._window)
        votes[..., label] = 0.0
        return float(votes.max())


def voting_grid(predictions: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the mean confidences (rows', columns', classes) of all windows of predictions (rows, columns, classes).

    Each class's lowest confidence in a window is left out, where the window has more than one.
    """
    if window == 1:
        return predictions.copy()
    windows = np.lib.stride_tricks.sliding_window_view(predictions, (window, window), axis=(0, 1))
    total = windows.sum(axis=(-2, -1)) - windows.min(axis=(-2, -1))
    return np.asarray(total / (window * window - 1), np.float64)
