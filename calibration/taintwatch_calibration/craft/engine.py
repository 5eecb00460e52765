"""The one loop of crafting: `torch.optim` on values in [0, 1], with progress, checkpoints and a seed.

What differs from attack to attack is the objective: how the values meet the pictures, and what is minimised.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["Checkpoint", "Objective", "Outcome", "Schedule", "SignMomentum", "Step", "optimise"]


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
    box: Literal["clamp", "sigmoid"] = "clamp"
    """How values stay in [0, 1]: cut off after each step, or as `sigmoid(2 h)` of the hidden values that are moved."""
    stop_at: float | None = None
    """Stop once the mean success of the last `stop_over` steps reaches this."""
    stop_over: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What an objective says of some values."""

    loss: Tensor
    """Scalar, with a gradient."""
    success: float
    """Share of this step's pictures in which the attack succeeds (or any other figure in [0, 1] to stop at)."""
    pictures: Tensor | None = None
    """(B, 3, H, W), RGB in [0, 1]: what was shown to the classifier, for the preview."""


Objective = Callable[[Tensor, torch.Generator, float], Outcome]
"""From the values, a source of randomness and how far the run is (0 to 1) to an outcome."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is reported after each step."""

    iteration: int
    """1-based."""
    loss: float
    success: float
    values: Tensor
    pictures: Tensor | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the state of a run is stored, so that an interrupted one goes on as if it had not been."""

    path: Path
    identity: str
    """Anything that tells this run from another: a checkpoint of another one is not taken."""
    every: int = 25


class SignMomentum(torch.optim.Optimizer):
    """Momentum iterative FGSM's step: each gradient over its mean absolute value, summed up; then only the sign."""

    def __init__(self, parameters: list[Tensor], lr: float, momentum: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter by `lr` against the sign of its running sum of gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                scaled = parameter.grad / parameter.grad.abs().mean().clamp_min(1e-20)
                previous = self.state[parameter].get("momentum_buffer")
                total = scaled if previous is None else group["momentum"] * previous + scaled
                self.state[parameter]["momentum_buffer"] = total
                parameter.sub_(group["lr"] * total.sign())


def optimise(
    objective: Objective,
    start: Callable[[torch.Generator], Tensor],
    schedule: Schedule,
    *,
    report: Callable[[Step], None] | None = None,
    checkpoint: Checkpoint | None = None,
    project: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Minimise `objective` over values in [0, 1] of any shape, beginning at `start`; return them.

    `project` is what values are brought back to after each step, beside [0, 1]. Values are returned as they were when
    success reached `stop_at`, else after the last step. Raises `UsageError` where the checkpoint is another run's or
    cannot be read.
    """
    run = _Run(start, schedule, project)
    if checkpoint is not None and checkpoint.path.is_file():
        run.restore(checkpoint)
    while run.iteration < schedule.iterations and not run.succeeded:
        outcome = objective(run.values(), run.generator, run.iteration / schedule.iterations)
        run.advance(outcome)
        if report is not None:
            values = run.values().detach().clone()
            report(Step(run.iteration, float(outcome.loss.detach()), outcome.success, values, outcome.pictures))
        if checkpoint is not None and run.iteration % checkpoint.every == 0:
            run.store(checkpoint)
    return run.values().detach()


class _Run:
    """Everything that changes from step to step: the one place."""

    def __init__(
        self, start: Callable[[torch.Generator], Tensor], schedule: Schedule,
        project: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        self._schedule, self._project = schedule, project
        self.generator = torch.Generator().manual_seed(schedule.seed)
        first = start(self.generator).detach().clone()
        if schedule.box == "sigmoid":  # begins away from 0 and 1, where a sigmoid has no slope
            first = torch.logit(0.1 + 0.8 * first) / 2
        self._moved = first.requires_grad_(True)
        self._optimiser = _optimiser(self._moved, schedule)
        share = 0.05 if schedule.decay == "cosine" else 1.0
        self._pace = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimiser, max(1, schedule.iterations), schedule.step * share
        )
        self.iteration = 0
        self._recent: list[float] = []

    @property
    def succeeded(self) -> bool:
        """Whether the last steps' success is enough."""
        schedule = self._schedule
        if schedule.stop_at is None or len(self._recent) < schedule.stop_over:
            return False
        return sum(self._recent) / len(self._recent) >= schedule.stop_at

    def values(self) -> Tensor:
        """Return the values in [0, 1]; their gradient reaches what is moved."""
        return torch.sigmoid(2 * self._moved) if self._schedule.box == "sigmoid" else self._moved

    def advance(self, outcome: Outcome) -> None:
        """Take one step down, unless what was just measured is enough."""
        self.iteration += 1
        self._recent = [*self._recent[1 - self._schedule.stop_over :], outcome.success]
        if len(self._recent) > self._schedule.stop_over:
            self._recent = self._recent[-self._schedule.stop_over :]
        if self.succeeded:
            return
        (gradient,) = torch.autograd.grad(outcome.loss, self._moved)
        self._moved.grad = gradient.nan_to_num(0.0)
        self._optimiser.step()
        self._pace.step()
        if self._schedule.box == "clamp":
            self._moved.data.clamp_(0, 1)
        if self._project is not None:
            self._moved.data.copy_(self._project(self._moved.data))

    def store(self, checkpoint: Checkpoint) -> None:
        stream = io.BytesIO()
        state = {
            "run": self._identity(checkpoint), "moved": self._moved.detach().cpu(),
            "optimiser": self._optimiser.state_dict(), "pace": self._pace.state_dict(),
            "generator": self.generator.get_state(), "iteration": self.iteration, "recent": self._recent,
        }  # fmt: skip
        torch.save(state, stream)
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(checkpoint.path, stream.getvalue())

    def restore(self, checkpoint: Checkpoint) -> None:
        try:
            state: dict[str, Any] = torch.load(checkpoint.path, weights_only=True)
        except Exception as error:  # torch raises many kinds
            raise UsageError(f"{checkpoint.path}: not a readable checkpoint; delete it to start anew") from error
        if state.get("run") != self._identity(checkpoint) or state["moved"].shape != self._moved.shape:
            raise UsageError(
                f"{checkpoint.path}: belongs to a run with other settings; delete it, or choose another --out"
            )
        self._moved.data.copy_(state["moved"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._pace.load_state_dict(state["pace"])
        self.generator.set_state(state["generator"])
        self.iteration, self._recent = state["iteration"], state["recent"]

    def _identity(self, checkpoint: Checkpoint) -> str:
        return f"{checkpoint.identity} {sorted(asdict(self._schedule).items())}"


def _optimiser(values: Tensor, schedule: Schedule) -> torch.optim.Optimizer:
    if schedule.rule == "adam":
        return torch.optim.Adam([values], lr=schedule.step, betas=(schedule.momentum, 0.999), eps=1e-12)
    if schedule.rule == "sgd":
        return torch.optim.SGD([values], lr=schedule.step, momentum=schedule.momentum)
    return SignMomentum([values], schedule.step, schedule.momentum)
