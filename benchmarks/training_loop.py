"""The loop that trains a classifier: AdamW, one cycle, averaged weights, and a state to go on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["Batch", "LoopState", "TrainingLoop", "TrainingPlan"]

Batch = tuple[Tensor, Tensor]
"""Pictures (B, 3, H, W) and labels (B,)."""
LoopState = dict[str, Any]
"""What a checkpoint holds; loads with `weights_only=True`."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long and how fast."""

    epochs: int
    steps_per_epoch: int
    rate: float
    """Highest learning rate of the one-cycle schedule."""
    weight_decay: float
    ema_decay: float
    """Of the averaged weights."""


class TrainingLoop:
    """Trains a network epoch by epoch, and averages its weights as it goes.

    `on_steps(steps done, mean loss, seconds each)` is called after every 50 steps.
    """

    def __init__(
        self,
        network: nn.Module,
        plan: TrainingPlan,
        clock: Callable[[], float] = time.monotonic,
        on_steps: Callable[[int, float, float], None] = lambda steps, loss, seconds: None,
    ) -> None:
        self.epoch, self.seconds = 0, 0.0
        self._network, self._plan, self._clock, self._on_steps = network, plan, clock, on_steps
        self._average = AveragedModel(network, avg_fn=_warming_average(plan.ema_decay), use_buffers=True)
        self._optimiser = torch.optim.AdamW(_parameter_groups(network, plan.weight_decay), lr=plan.rate)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, plan.rate, total_steps=plan.epochs * plan.steps_per_epoch, pct_start=0.2
        )

    @property
    def average(self) -> nn.Module:
        """The averaged network: what is evaluated and exported."""
        return self._average.module

    @property
    def seconds_left(self) -> float:
        """As long as the epochs so far took, on average."""
        return self.seconds / max(1, self.epoch) * (self._plan.epochs - self.epoch)

    def run_epoch(self, batches: Iterable[Batch], loss_of: Callable[[nn.Module, Batch], Tensor]) -> float:
        """Take one step on each of `batches`, `steps_per_epoch` of them; return the mean training loss."""
        started = self._clock()
        self._network.train()
        total, steps = 0.0, 0
        begun = self._clock()
        for steps, batch in enumerate(batches, start=1):
            loss = loss_of(self._network, batch)
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self._optimiser.step()
            self._schedule.step()
            self._average.update_parameters(self._network)
            total += float(loss.detach())
            if steps % 50 == 0:
                self._on_steps(steps, total / steps, (self._clock() - begun) / steps)
        self.epoch += 1
        self.seconds += self._clock() - started
        return total / max(1, steps)

    def state(self) -> LoopState:
        """Return what `restore` goes on from."""
        return {
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }

    def restore(self, state: LoopState) -> None:
        """Go on from `state`; the schedule has this plan's length, and stands where the epochs so far put it."""
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        done = {"last_epoch": state["epoch"] * self._plan.steps_per_epoch}
        fresh = self._schedule.state_dict()
        kept = {key: fresh[key] for key in ("total_steps", "_schedule_phases")}
        self._schedule.load_state_dict({**state["schedule"], **kept, **done})
        self.epoch, self.seconds = state["epoch"], state["seconds"]

    def begin_from(self, state: LoopState, added: str | None = None) -> None:
        """Take the averaged weights of another run's state to begin with.

        `added`: part of the name of weights that the other network does not have; they stay as they are. Raises
        `KeyError` or `RuntimeError` where the weights are of another network.
        """
        own = self._average.state_dict()
        kept = {name: value for name, value in own.items() if added is not None and added in name}
        self._average.load_state_dict({**kept, **state["average"]})
        self._network.load_state_dict(self._average.module.state_dict())


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    # Decaying batch norms' scales and the biases only harms.
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _warming_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential moving average that forgets faster at first, so that the first random weights leave it soon."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        kept = min(decay, (1 + float(count)) / (10 + float(count)))
        return averaged + (1 - kept) * (current - averaged)

    return average
