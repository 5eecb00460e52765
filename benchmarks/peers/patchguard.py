"""PatchGuard's robust masking, as a detector.

Source: Xiang, Bhagoji, Sehwag, Mittal, PatchGuard: A Provably Robust Defense against Adversarial Patches via Small
Receptive Fields and Masking, USENIX Security 2021, Algorithm 1: the local evidence of a class is its logit in every
cell of the last maps, cut off at 0; of each class the window with the most evidence is taken out, and the sum of what
is left decides.

The score is by how much another class then leads the label, over all evidence. `labels` is what is left on top.

Deviations: the classifier is taken as it is. The paper's have small receptive fields (BagNet), so that a patch reaches
few cells, and only with them is anything certified; these see most of the picture from every cell. The window has the
assumed patch's share of the side, rounded up, and a cell more. Heads that pool globally and are linear alone have local
evidence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Classifier
from benchmarks.peers.masks import patch_side
from taintwatch_models.errors import UsageError
from taintwatch_models.radar_file import RadarFile

__all__ = ["PatchGuard", "masked_evidence"]

_HEAD = "GlobalAveragePool"


class PatchGuard:
    """By how much another class leads once every class has lost its strongest window."""

    name = "patchguard"
    forwards = 1

    def __init__(
        self, radar: RadarFile, benign: NDArray[np.uint8], *, threads: int = 1, seed: int = 0, patch: float = 0.4
    ) -> None:
        """Needs no benign picture. Raises `UsageError` where the head gives no local evidence."""
        from taintwatch_calibration.craft.materials import differentiable

        if (
            not radar.info.head.startswith(_HEAD)
            or radar.info.head.count("Gemm") + radar.info.head.count("MatMul") != 1
        ):
            raise UsageError(
                f"the peer 'patchguard' reads local evidence under global pooling and one linear layer; the head of "
                f"this model is {radar.info.head}"
            )
        self._classifier, self._threads = Classifier(radar, threads=threads), threads
        self._model = differentiable(radar)
        self._share = patch_side(radar.info.preprocessing.size, patch) / min(radar.info.preprocessing.size)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Score pictures (N, height, width, 3): (N,) in [-1, 1]."""
        evidence = self._evidence(pixels)
        label = self._classifier.logits(self._classifier.inputs(pixels)).argmax(axis=1)
        rows, left = np.arange(len(evidence)), masked_evidence(evidence, self._window(evidence))
        own = left[rows, label]
        left[rows, label] = -np.inf
        total = np.maximum(evidence, 0).sum(axis=(2, 3)).max(axis=1, initial=1e-12)
        return np.asarray((left.max(axis=1, initial=-np.inf) - own) / total, np.float64)

    def labels(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the labels that are left on top, (N,)."""
        evidence = self._evidence(pixels)
        return np.asarray(masked_evidence(evidence, self._window(evidence)).argmax(axis=1), np.int64)

    def _window(self, evidence: NDArray[np.float64]) -> tuple[int, int]:
        height, width = (min(side, int(np.ceil(self._share * side)) + 1) for side in evidence.shape[2:])
        return height, width

    def _evidence(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return every class's logit in every cell, (N, classes, h, w)."""
        import torch

        inputs, found = self._classifier.inputs(pixels), []
        with torch.no_grad():
            for start in range(0, len(inputs), 16):
                maps: Any = self._model.maps(torch.from_numpy(inputs[start : start + 16]))
                count, channels, height, width = maps.shape
                cells = maps.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
                logits = self._model.head(cells).reshape(count, height, width, -1)
                found.append(logits.permute(0, 3, 1, 2).double().numpy())
        return np.concatenate(found) if found else np.zeros((0, 1, 1, 1))


def masked_evidence(evidence: NDArray[np.float64], window: tuple[int, int]) -> NDArray[np.float64]:
    """Return each class's evidence (N, classes, h, w), cut at 0, less that of its strongest window: (N, classes)."""
    positive = np.maximum(evidence, 0)
    if not len(evidence):
        return np.asarray(positive.sum(axis=(2, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(positive, window, axis=(2, 3)).sum(axis=(4, 5))
    return np.asarray(positive.sum(axis=(2, 3)) - windows.max(axis=(2, 3)))
