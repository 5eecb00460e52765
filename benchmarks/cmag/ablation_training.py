"""Reconstructors with one of the paper's choices in place of ours: trained stage by stage, each stage kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.cmag.trial_work import save_state
from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_calibration.cmag.frames import CmagValues
from taintwatch_calibration.cmag.networks import Reconstructors, Shape
from taintwatch_calibration.cmag.similarity import StructuralSimilarity, global_similarity

__all__ = ["JOINS", "Setting", "TrainedSetting", "error_and_similarity", "train_setting"]

JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda by_maps, by_logits: by_maps * by_logits,
    "mean": lambda by_maps, by_logits: (by_maps + by_logits) / 2,
}
"""What GR is given of FMR's and LR's pictures (the paper's Fig. 4): ours and the paper's is the product."""
_MU, _RATE = 0.5, 1e-3
_STAGES = ("fmr", "lr", "gr")

Similarity = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to build CMAG; what is left out is ours."""

    name: str
    error: str = "mean"
    """Squared error: the `mean` over the picture, or its `sum`."""
    window: str = "gaussian"
    """Of SSIM, in the loss and as a statistic: `gaussian`, or the `whole` picture."""
    temperature: float = 0.5
    epochs: int = 5
    batch: int = 64
    join: str = "product"
    thresholds: str = "quantile"
    """`quantile`: a target rate on half of the test pictures; `extreme`: of the training pictures, without a rate."""

    def stage_key(self, stage: str) -> str:
        """Return what a stage's weights depend on: stages that two settings share are trained once."""
        parts = [stage, self.error, self.window, str(self.epochs), str(self.batch)]
        parts += [f"{self.temperature:g}"] if stage != "fmr" else []
        return "-".join(parts + ([self.join] if stage == "gr" else []))

    def similarity(self, side: int) -> Similarity:
        """Return the SSIM of pictures (B, channels, side, side): (B,)."""
        return StructuralSimilarity(side, side) if self.window == "gaussian" else global_similarity


def error_and_similarity(setting: Setting, similarity: Similarity, made: Tensor, wanted: Tensor) -> Tensor:
    """Return the loss `0.5 * error + 0.5 * (1 - SSIM)` (equations 12 to 14), the mean over the batch."""
    squares = (made - wanted).square()
    error = squares.sum((1, 2, 3)).mean() if setting.error == "sum" else squares.mean()
    loss: Tensor = _MU * error + (1 - _MU) * (1 - similarity(made, wanted).mean())
    return loss


class TrainedSetting:
    """A setting's reconstructors, and what they measure."""

    def __init__(self, setting: Setting, model: Reconstructors) -> None:
        self.setting, self.model = setting, model
        self._similarity = setting.similarity(model.shape.size)

    def pictures(self, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Return FMR's, LR's and GR's pictures, each (B, channels, side, side)."""
        by_maps, by_logits = self.model.fmr(features), self.model.lr(self.model.probabilities(logits))
        return {"fmr": by_maps, "lr": by_logits, "gr": self.model.gr(JOINS[self.setting.join](by_maps, by_logits))}

    @torch.no_grad()
    def values(self, data: BenignData) -> tuple[CmagValues, dict[str, float]]:
        """Return `ssim` and `l2` of each picture and GR's, and their means for all three reconstructors."""
        columns: dict[str, list[NDArray[np.float64]]] = {}
        for start in range(0, len(data), 250):
            features, logits, wanted = (torch.from_numpy(part[start : start + 250]) for part in data.parts)
            for name, made in self.pictures(features, logits).items():
                columns.setdefault(f"ssim_{name}", []).append(self._similarity(made, wanted).double().numpy())
                distance = (made - wanted).flatten(1).norm(dim=1)
                columns.setdefault(f"l2_{name}", []).append(distance.double().numpy())
        whole = {name: np.concatenate(parts) for name, parts in columns.items()}
        values = CmagValues(
            data.logits.argmax(axis=1).astype(np.int64), {"ssim": whole["ssim_gr"], "l2": whole["l2_gr"]}
        )
        return values, {name: round(float(column.mean()), 4) for name, column in whole.items()}


def train_setting(
    setting: Setting, training: BenignData, folder: Path, seed: int, report: Callable[[str], None]
) -> TrainedSetting:
    """Train FMR, LR and GR for their epochs (Adam, 1e-3), or read the stages that are in `folder` already."""
    shape = Shape(
        training.features.shape[1], (training.features.shape[2], training.features.shape[3]), training.logits.shape[1],
        training.pictures.shape[2], training.pictures.shape[1], temperature=setting.temperature,
    )  # fmt: skip
    torch.manual_seed(seed)
    trained = TrainedSetting(setting, Reconstructors(shape))
    folder.mkdir(parents=True, exist_ok=True)
    for stage in _STAGES:
        part, path = getattr(trained.model, stage), folder / f"{setting.stage_key(stage)}.pt"
        if path.is_file():
            part.load_state_dict(torch.load(path, weights_only=True))
        else:
            _train_stage(trained, stage, training, seed, report)
            save_state(part, path)
        part.eval().requires_grad_(False)
    return trained


def _train_stage(
    trained: TrainedSetting, stage: str, training: BenignData, seed: int, report: Callable[[str], None]
) -> None:
    setting, part = trained.setting, getattr(trained.model, stage)
    similarity = setting.similarity(trained.model.shape.size)
    optimiser = torch.optim.Adam(part.parameters(), _RATE)
    generator = torch.Generator().manual_seed(seed + 1)
    features, logits, pictures = training.tensors()
    part.train()
    for epoch in range(setting.epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(pictures), generator=generator), setting.batch):
            made = _made(trained, stage, features[rows].float(), logits[rows])
            loss = error_and_similarity(setting, similarity, made, pictures[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        report(f"{setting.name}: {stage} epoch {epoch + 1} of {setting.epochs}, loss {total / len(pictures):.4f}")


def _made(trained: TrainedSetting, stage: str, features: Tensor, logits: Tensor) -> Tensor:
    model = trained.model
    if stage == "fmr":
        made: Tensor = model.fmr(features)
    elif stage == "lr":
        made = model.lr(model.probabilities(logits))
    else:
        made = trained.pictures(features, logits)["gr"]  # FMR and LR are frozen by now
    return made
