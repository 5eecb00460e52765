"""Training of the reconstructors, one after the other, on benign pictures alone; it stops early and can be resumed."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_calibration.cmag.networks import Reconstructors, Shape, fine_part
from taintwatch_calibration.cmag.similarity import StructuralSimilarity, reconstruction_loss
from taintwatch_calibration.cmag.student import varied
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["ROUNDING", "STAGES", "Progress", "TrainingSettings", "train_reconstructors"]

STAGES = ("fmr", "lr", "gr", "scale", "student")
"""What is trained, in this order; `scale` and `student` are not of the paper."""
ROUNDING = 1e-5
"""Squared error of a pixel in [0, 1] that is nothing: what 8 bits round away."""

Progress = Callable[[str, int, float, float], None]
"""Stage, epoch (from 1), training loss, validation loss."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What fixes a training, beside its data and the shape."""

    epochs: int = 30
    """Of each stage, at most."""
    patience: int = 4
    """Epochs without a better validation loss after which a stage ends."""
    batch: int = 64
    rate: float = 1e-3
    mu: float = 0.5
    """Weight of the squared error; the rest is 1 - SSIM."""
    seed: int = 0
    student_epochs: int = 20
    """Of the student: all of them, as its rate rises to `student_rate` and falls to nothing (Smith, 2018)."""
    student_rate: float = 4e-3

    def epochs_of(self, stage: str) -> int:
        """Return how many epochs a stage has at most."""
        return self.student_epochs if stage == "student" else self.epochs

    def rate_at(self, stage: str, epoch: float) -> float:
        """Return the learning rate at a moment, counted in epochs from 0."""
        if stage != "student":
            return self.rate
        done = epoch / self.student_epochs
        share = done / 0.3 if done < 0.3 else 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7))
        return self.student_rate * max(0.02, share)


def train_reconstructors(
    training: BenignData,
    validation: BenignData,
    shape: Shape,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    device: str = "cpu",
    progress: Progress = lambda stage, epoch, loss, held: None,
) -> Reconstructors:
    """Train FMR, then LR, then GR on their frozen outputs (Adam), keeping each stage's best on `validation`.

    Then the scale of GR's errors, by the Gaussian likelihood of the benign ones (Kendall and Gal, 2017), and the
    student, by its squared error.

    With `checkpoint`, the state is written after each epoch and a later call goes on from it. Raises `UsageError` for
    too few pictures, sizes that do not match, or a checkpoint of another run.
    """
    _check(training, validation, shape, settings)
    torch.manual_seed(settings.seed)  # the first weights
    model = Reconstructors(shape)
    model.student.fit(torch.from_numpy(training.logits))
    model = model.to(device)
    run = _Run(model, training, validation, settings, checkpoint, device)
    run.resume()
    for stage in STAGES:
        run.train_stage(stage, progress)
    return model.eval()


def _check(training: BenignData, validation: BenignData, shape: Shape, settings: TrainingSettings) -> None:
    if len(training) < settings.batch or not len(validation):
        raise UsageError(
            f"{len(training)} benign pictures to train on and {len(validation)} to stop by are too few; at least "
            f"{settings.batch} and 1 are needed"
        )
    found = (training.features.shape[1:], training.logits.shape[1], training.pictures.shape[1:])
    wanted = ((shape.channels, *shape.cells), shape.classes, (shape.colours, shape.size, shape.size))
    if found != wanted:
        raise UsageError(
            f"the benign data's maps, classes and pictures {found} do not match the reconstructors' {wanted}"
        )


class _Run:
    """The state of one training: the model, and for the stage at work its optimiser and best weights."""

    def __init__(
        self,
        model: Reconstructors,
        training: BenignData,
        validation: BenignData,
        settings: TrainingSettings,
        checkpoint: Path | None,
        device: str,
    ) -> None:
        self.model, self.settings, self.checkpoint, self.device = model, settings, checkpoint, device
        self.training, self.validation = (part.tensors() for part in (training, validation))
        side = model.shape.size
        self.similarity = StructuralSimilarity(side, side).to(device)
        self.done: list[str] = []
        self.history: list[float] = []
        self.best: dict[str, Tensor] | None = None
        self.optimiser_state: dict[str, Any] | None = None

    def train_stage(self, stage: str, progress: Progress) -> None:
        if stage in self.done:
            return
        module: nn.Module = getattr(self.model, stage)
        optimiser = torch.optim.Adam(module.parameters(), lr=self.settings.rate)
        if self.optimiser_state is not None:
            optimiser.load_state_dict(self.optimiser_state)
        while not self._finished(stage):
            epoch = len(self.history)
            loss = self._epoch(stage, module, optimiser, epoch)
            held = self._validate(stage)
            if not self.history or held < min(self.history):
                self.best = copy.deepcopy(module.state_dict())
            self.history.append(held)
            self._save(optimiser)
            progress(stage, epoch + 1, loss, held)
        if self.best is not None:
            module.load_state_dict(self.best)
        self.done.append(stage)
        self.history, self.best, self.optimiser_state = [], None, None

    def _finished(self, stage: str) -> bool:
        if len(self.history) >= self.settings.epochs_of(stage):
            return True
        since_best = len(self.history) - 1 - int(np.argmin(self.history)) if self.history else 0
        return stage != "student" and since_best >= self.settings.patience

    def _epoch(self, stage: str, module: nn.Module, optimiser: torch.optim.Optimizer, epoch: int) -> float:
        # The order depends on the seed, the stage and the epoch alone, so that a resumed run sees the same batches.
        seed = self.settings.seed * 1_000_003 + STAGES.index(stage) * 1_009 + epoch
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.training[2]), generator=generator)
        self.model.eval()
        module.train()
        total, count = 0.0, 0
        batches = torch.split(order, self.settings.batch)
        for step, rows in enumerate(batches):
            if len(rows) < 2:  # batch norm needs two
                continue
            for group in optimiser.param_groups:
                group["lr"] = self.settings.rate_at(stage, epoch + step / len(batches))
            loss = self._loss(stage, self.training, rows, generator)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total, count = total + float(loss.detach()) * len(rows), count + len(rows)
        return total / max(1, count)

    @torch.no_grad()
    def _validate(self, stage: str) -> float:
        self.model.eval()
        total = 0.0
        for rows in torch.split(torch.arange(len(self.validation[2])), 256):
            total += float(self._loss(stage, self.validation, rows)) * len(rows)
        return total / len(self.validation[2])

    def _loss(
        self,
        stage: str,
        data: tuple[Tensor, Tensor, Tensor],
        rows: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """With `generator` the student sees varied pictures."""
        features, logits, pictures = (part[rows].to(self.device).float() for part in data)
        model = self.model
        if stage == "student":
            seen = pictures if generator is None else varied(pictures, generator)
            return F.mse_loss(model.student(seen), model.student.components(logits))
        if stage == "fmr":
            made = model.fmr(features)
        elif stage == "lr":
            made = model.lr(model.probabilities(logits))
        elif stage == "gr":
            with torch.no_grad():
                product = model.fmr(features) * model.lr(model.probabilities(logits))
            made = model.gr(product)
        else:
            with torch.no_grad():
                by_maps, _, whole = model(features, logits)
            return _likelihood(model.scale(by_maps, whole), pictures - whole)
        return reconstruction_loss(self.similarity, made, pictures, self.settings.mu)

    def _save(self, optimiser: torch.optim.Optimizer) -> None:
        if self.checkpoint is None:
            return
        buffer = io.BytesIO()
        state = {
            "settings": asdict(self.settings),
            "shape": asdict(self.model.shape),
            "pictures": len(self.training[2]),
            "model": self.model.state_dict(),
            "done": self.done,
            "history": self.history,
            "best": self.best,
            "optimiser": optimiser.state_dict(),
        }
        torch.save(state, buffer)
        write_atomically(self.checkpoint, buffer.getvalue())

    def resume(self) -> None:
        """Take the checkpoint up where there is one. Raises `UsageError` for one of another run."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        advice = "name another --out, or remove it to start anew"
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            same = (
                {**state["settings"], "epochs": 0} == {**asdict(self.settings), "epochs": 0}
                and state["shape"] == asdict(self.model.shape)
                and state["pictures"] == len(self.training[2])
            )
        except Exception as error:  # unpickling raises its own kinds
            raise UsageError(
                f"{self.checkpoint}: not a readable checkpoint ({type(error).__name__}); {advice}"
            ) from error
        if not same:
            raise UsageError(f"{self.checkpoint}: belongs to a training with other settings or pictures; {advice}")
        self.model.load_state_dict(state["model"])
        self.done, self.history = list(state["done"]), list(state["history"])
        self.best, self.optimiser_state = state["best"], state["optimiser"]


def _likelihood(log_variance: Tensor, difference: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the differences and their fine parts, up to a constant."""
    both = torch.cat([difference, fine_part(difference)], dim=1)
    return torch.mean((both * both + ROUNDING) * torch.exp(-log_variance) + log_variance)
