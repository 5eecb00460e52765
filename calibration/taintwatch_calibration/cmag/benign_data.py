"""What the reconstructors learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_models.errors import UsageError

__all__ = ["BenignData"]


@dataclass(frozen=True, slots=True, eq=False)
class BenignData:
    """Benign pictures with what the classifier gave for them; N of each."""

    features: NDArray[np.float32]
    """(N, channels, h, w)."""
    logits: NDArray[np.float32]
    """(N, classes)."""
    pictures: NDArray[np.float32]
    """(N, colours, size, size) in [0, 1]: the inputs, reduced."""

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.logits) == len(self.pictures):
            raise UsageError(
                f"{len(self.pictures)} pictures do not match {len(self.features)} features and "
                f"{len(self.logits)} logits"
            )

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def parts(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Features, logits and pictures, as the graph takes them."""
        return self.features, self.logits, self.pictures

    def subset(self, rows: NDArray[Any]) -> BenignData:
        """Return those rows."""
        return BenignData(self.features[rows], self.logits[rows], self.pictures[rows])

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return them for training: features in half precision, which halves the memory; last bits do not matter."""
        features = torch.from_numpy(np.ascontiguousarray(self.features)).half()
        return features, torch.from_numpy(self.logits), torch.from_numpy(self.pictures)
