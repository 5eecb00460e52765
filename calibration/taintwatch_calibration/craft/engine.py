"""The one loop of crafting: steps on values in [0, 1], with progress, checkpoints and a seed.

What differs from attack to attack is the objective: how the values meet the pictures, and what is minimised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["Checkpoint", "Objective", "Outcome", "Schedule", "Step", "optimise"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the values are moved. The same schedule, seed and objective give the same values."""

    iterations: int = 200
    step: float = 8 / 255
    """Size of the first step: of every value (`sign`), Adam's or SGD's learning rate."""
    rule: Literal["sign", "adam", "sgd"] = "sign"
    """`sign`: the sign of the gradient's running sum, as in momentum iterative FGSM (Dong et al., 2018)."""
    momentum: float = 0.9
    decay: Literal["cosine", "none"] = "cosine"
    """`cosine`: down to a twentieth of the first step."""
    stop_at: float | None = None
    """Stop once the mean success of the last ten steps reaches this."""
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What an objective says of some values."""

    loss: Tensor
    """Scalar, with a gradient."""
    success: float
    """Share of this step's pictures in which the attack succeeds."""
    pictures: Tensor | None = None
    """(B, 3, H, W), RGB in [0, 1]: what was shown to the classifier, for the preview."""


Objective = Callable[[Tensor, torch.Generator, float], Outcome]
"""From the values, a source of randomness and how far the run is (0 to 1) to an outcome."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is told after each step."""

    iteration: int
    """1-based."""
    loss: float
    success: float
    values: Tensor
    pictures: Tensor | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the state of a run is kept, so that an interrupted one goes on as if it had not been."""

    path: Path
    identity: str
    """Anything that tells this run from another: a checkpoint of another one is not taken."""
    every: int = 25


def optimise(
    objective: Objective,
    start: Callable[[torch.Generator], Tensor],
    schedule: Schedule,
    *,
    report: Callable[[Step], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Tensor:
    """Minimise `objective` over values in [0, 1] of any shape, beginning at `start`; return them.

    Raises `UsageError` where the checkpoint is another run's or cannot be read.
    """
    state = _State.fresh(start, schedule)
    if checkpoint is not None and checkpoint.path.is_file():
        state.restore(checkpoint, schedule)
    while state.iteration < schedule.iterations and not state.enough(schedule):
        values = state.values.detach().requires_grad_(True)
        outcome = objective(values, state.generator, state.iteration / schedule.iterations)
        (gradient,) = torch.autograd.grad(outcome.loss, values)
        state.move(gradient.nan_to_num(0.0), schedule)
        state.recent = [*state.recent[-9:], outcome.success]
        if report is not None:
            report(Step(state.iteration, float(outcome.loss.detach()), outcome.success, state.values, outcome.pictures))
        if checkpoint is not None and state.iteration % checkpoint.every == 0:
            state.keep(checkpoint, schedule)
    return state.values


@dataclass(eq=False)
class _State:
    """Everything that changes from step to step: the one place."""

    values: Tensor
    generator: torch.Generator
    first: Tensor
    """Momentum: the running sum (sign, sgd) or mean (adam) of gradients."""
    second: Tensor
    """Adam's running mean of squares."""
    iteration: int
    recent: list[float]

    @classmethod
    def fresh(cls, start: Callable[[torch.Generator], Tensor], schedule: Schedule) -> _State:
        generator = torch.Generator().manual_seed(schedule.seed)
        values = start(generator).detach().clone()
        return cls(values, generator, torch.zeros_like(values), torch.zeros_like(values), 0, [])

    def enough(self, schedule: Schedule) -> bool:
        if schedule.stop_at is None or len(self.recent) < 10:
            return False
        return sum(self.recent) / len(self.recent) >= schedule.stop_at

    def move(self, gradient: Tensor, schedule: Schedule) -> None:
        """One step down, back into [0, 1]."""
        share = self.iteration / schedule.iterations
        scale = 0.05 + 0.95 * (1 + math.cos(math.pi * share)) / 2 if schedule.decay == "cosine" else 1.0
        self.iteration += 1
        if schedule.rule == "adam":
            self.first = schedule.momentum * self.first + (1 - schedule.momentum) * gradient
            self.second = 0.999 * self.second + 0.001 * gradient.square()
            mean = self.first / (1 - schedule.momentum**self.iteration)
            step = mean / ((self.second / (1 - 0.999**self.iteration)).sqrt() + 1e-12)
        else:
            size = gradient.abs().mean().clamp_min(1e-20) if schedule.rule == "sign" else 1.0
            self.first = schedule.momentum * self.first + gradient / size
            step = self.first.sign() if schedule.rule == "sign" else self.first
        self.values = (self.values - schedule.step * scale * step).clamp(0, 1)

    def keep(self, checkpoint: Checkpoint, schedule: Schedule) -> None:
        import io

        stream = io.BytesIO()
        torch.save(
            {
                "run": _run(checkpoint, schedule),
                "values": self.values.cpu(),
                "first": self.first.cpu(),
                "second": self.second.cpu(),
                "generator": self.generator.get_state(),
                "iteration": self.iteration,
                "recent": self.recent,
            },
            stream,
        )
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(checkpoint.path, stream.getvalue())

    def restore(self, checkpoint: Checkpoint, schedule: Schedule) -> None:
        try:
            kept: dict[str, Any] = torch.load(checkpoint.path, weights_only=True)
        except Exception as error:  # torch raises many kinds
            raise UsageError(f"{checkpoint.path}: not a readable checkpoint; delete it to start anew") from error
        if kept.get("run") != _run(checkpoint, schedule) or kept["values"].shape != self.values.shape:
            raise UsageError(
                f"{checkpoint.path}: belongs to a run with other settings; delete it, or choose another --out"
            )
        device = self.values.device
        self.values, self.first, self.second = (kept[name].to(device) for name in ("values", "first", "second"))
        self.generator.set_state(kept["generator"])
        self.iteration, self.recent = kept["iteration"], kept["recent"]


def _run(checkpoint: Checkpoint, schedule: Schedule) -> str:
    return f"{checkpoint.identity} {sorted(asdict(schedule).items())}"
