"""One training run: the loop, its checkpoint, and what it writes at the end."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from taintwatch_calibration.signs.batches import BatchMaker, Mixture
from taintwatch_calibration.signs.evaluate import normalised
from taintwatch_calibration.signs.export import BACKGROUND, preprocessing_toml, write_json, write_onnx
from taintwatch_calibration.signs.material import Material
from taintwatch_calibration.signs.network import SignNet
from taintwatch_calibration.signs.occlusion import erase_critical
from taintwatch_calibration.signs.report import machine, measure, measure_one
from taintwatch_models.errors import UsageError
from taintwatch_models.signs import SIGN_NAMES
from taintwatch_models.storage import write_atomically

__all__ = ["Settings", "TrainingRun", "targets"]

Batch = tuple[Tensor, Tensor]
CHECKPOINT = "checkpoint.pt"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What fixes a run, beside its data."""

    epochs: int = 30
    batch: int = 128
    rate: float = 3e-3
    weight_decay: float = 0.03
    ema_decay: float = 0.998
    occlude: bool = True
    """Random erasing of three pictures in four."""
    critical_from: float = 1.0
    """Share of the epochs after which critical regions are erased too; 1: never, 0: from the start."""
    critical_fifths: int = 3
    """Of how many pictures in five, then."""
    critical_keep: float = 0.2
    """What such a picture's label keeps of its weight; the rest goes to all signs alike: see `targets`."""
    seed: int = 0
    classes: tuple[int, ...] = tuple(range(len(SIGN_NAMES)))
    width: int = 32
    last_kernel: int = 3


class TrainingRun:
    """Trains a `SignNet` in folder `out`, a checkpoint after every epoch.

    The exported weights are the exponential moving average after the last epoch: nothing is chosen on the test set.
    """

    def __init__(
        self,
        out: Path,
        settings: Settings,
        material: Material,
        device: torch.device,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.epoch, self.seconds = settings, 0, 0.0
        self._planned: list[dict[str, int]] = []
        self._out, self._device, self._clock = out, device, clock
        self._material = material
        self._generator = torch.Generator(device).manual_seed(settings.seed)
        # The batches are made in a thread of their own, so that this one must not draw from their generator.
        self._critical_generator = torch.Generator(device).manual_seed(settings.seed + 1)
        mixture = Mixture(batch=settings.batch, occlude=settings.occlude)
        self._batches = BatchMaker(material.training, material.photographs, settings.classes, mixture, self._generator)
        with torch.random.fork_rng(devices=[]):  # the first weights come from the global generator: give it back
            torch.manual_seed(settings.seed)
            network = SignNet(len(settings.classes) + 1, settings.width, settings.last_kernel)
        self._network = network.to(device).to(memory_format=torch.channels_last)
        average = _warming_average(settings.ema_decay)
        self._average = AveragedModel(self._network, avg_fn=average, use_buffers=True)
        self._optimiser = torch.optim.AdamW(self._parameter_groups(), lr=settings.rate)
        steps = settings.epochs * self._batches.steps_per_epoch
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, settings.rate, total_steps=steps, pct_start=0.2
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return (*(SIGN_NAMES[index] for index in self.settings.classes), BACKGROUND)

    @property
    def network(self) -> SignNet:
        """The averaged network: what is evaluated and exported."""
        return cast(SignNet, self._average.module)

    def train(self) -> None:
        """Train the epochs that are left, then write the model and its metrics."""
        while self.epoch < self.settings.epochs:
            started = self._clock()
            loss = self._one_epoch()
            self.epoch += 1
            self.seconds += self._clock() - started
            found = self._validation_accuracy()
            left = self.seconds / self.epoch * (self.settings.epochs - self.epoch)
            _log.info(
                "epoch %d/%d loss %.3f validation %s, %.0f s, %.1f min left",
                self.epoch,
                self.settings.epochs,
                loss,
                found,
                self.seconds / self.epoch,
                left / 60,
            )
            self._save()
        self.write()

    def write(self) -> None:
        """Write signs.onnx, signs.toml and metrics.json for the weights as they are."""
        write_onnx(self.network, self._out / "signs.onnx")
        write_atomically(self._out / "signs.toml", preprocessing_toml(self.labels).encode())
        found = measure(self.network, self._material, self.settings.classes, self.labels, self._device)
        about = {
            "settings": asdict(self.settings),
            "epochs_done": self.epoch,
            "epochs_planned_before": self._planned,
            "training_seconds": round(self.seconds, 1),
            "machine": machine(self._device),
        }
        write_json(self._out / "metrics.json", {**found, **about})
        for part, metrics in found.items():
            _log.info("%s accuracy: %s", part, metrics["accuracy"])

    def resume(self) -> None:
        """Go on from the folder's checkpoint, with another number of epochs where `settings` has one.

        The schedule is then cut or stretched from here on; the metrics tell of it (`epochs_planned_before`). Raises
        `UsageError` where there is no checkpoint, or one of other settings or of more epochs.
        """
        path = self._out / CHECKPOINT
        if not path.is_file():
            raise UsageError(f"There is no checkpoint to resume from at {path}: leave --resume out to begin.")
        state = torch.load(path, map_location=self._device, weights_only=True)
        if _without_epochs(state["settings"]) != _without_epochs(json.dumps(asdict(self.settings))):
            raise UsageError(
                f"{path} was made with other settings ({state['settings']}): use the same, or another --out."
            )
        if state["epoch"] > self.settings.epochs:
            raise UsageError(f"{path} has {state['epoch']} epochs behind it: ask for at least as many.")
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        # The phases have this run's length; where the schedule stands follows from the epoch.
        done = {"last_epoch": state["epoch"] * self._batches.steps_per_epoch}
        fresh = self._schedule.state_dict()
        kept = {key: fresh[key] for key in ("total_steps", "_schedule_phases")}
        self._schedule.load_state_dict({**state["schedule"], **kept, **done})
        self._generator.set_state(state["generator"].cpu())
        self._critical_generator.set_state(state["critical_generator"].cpu())
        self.epoch, self.seconds, self._planned = state["epoch"], state["seconds"], json.loads(state["planned"])
        before = json.loads(state["settings"])["epochs"]
        if before != self.settings.epochs:
            self._planned = [*self._planned, {"until_epoch": self.epoch, "epochs": before}]

    def start_from(self, checkpoint: Path) -> None:
        """Take the averaged weights of another run's checkpoint to begin with. Raises `UsageError`."""
        if not checkpoint.is_file():
            raise UsageError(f"There is no checkpoint at {checkpoint}.")
        state = torch.load(checkpoint, map_location=self._device, weights_only=True)
        try:
            self._average.load_state_dict(state["average"])
        except (KeyError, RuntimeError):
            raise UsageError(f"{checkpoint} is not of a network of this size and these classes.") from None
        self._network.load_state_dict(self.network.state_dict())

    def _one_epoch(self) -> float:
        """Return the mean training loss."""
        self._network.train()
        total, steps = 0.0, self._batches.steps_per_epoch
        started = self._clock()
        spared = self._spared()
        for step, (images, labels) in enumerate(_ahead(partial(self._batches, spared), steps), start=1):
            if spared is not None:
                images = erase_critical(self.network, images, spared, self._critical_generator)
            wanted = targets(labels, len(self.settings.classes), spared, self.settings.critical_keep)
            with torch.autocast(self._device.type, dtype=torch.bfloat16):
                loss = F.cross_entropy(self._network(normalised(images)), wanted)
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
            self._schedule.step()
            self._average.update_parameters(self._network)
            total += float(loss.detach())
            if step % 50 == 0:
                _log.info(
                    "  step %d/%d loss %.3f, %.2f s each", step, steps, total / step, (self._clock() - started) / step
                )
        return total / steps

    def _spared(self) -> Tensor | None:
        """Which pictures of a batch keep their critical region for `erase_critical`: (B,), bool; None for none."""
        if not self.settings.occlude or self.epoch < self.settings.critical_from * self.settings.epochs:
            return None
        return torch.arange(self.settings.batch, device=self._device) % 5 < self.settings.critical_fifths

    def _parameter_groups(self) -> list[dict[str, Any]]:
        # Decaying batch norms' scales and the biases only harms.
        weights = [p for p in self._network.parameters() if p.ndim > 1]
        others = [p for p in self._network.parameters() if p.ndim <= 1]
        return [
            {"params": weights, "weight_decay": self.settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    def _save(self) -> None:
        state = {
            "settings": json.dumps(asdict(self.settings)),
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "generator": self._generator.get_state(),
            "critical_generator": self._critical_generator.get_state(),
            "planned": json.dumps(self._planned),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }
        temporary = self._out / (CHECKPOINT + ".tmp")
        torch.save(state, temporary)
        temporary.replace(self._out / CHECKPOINT)

    def _validation_accuracy(self) -> float | None:
        classes = self.settings.classes
        report = measure_one(self.network, self._material.validation, classes, self.labels, self._device)
        accuracy: float | None = report["accuracy"]
        return accuracy


def targets(labels: Tensor, signs: int, unsure: Tensor | None, keep: float) -> Tensor:
    """Return class probabilities (B, signs + 1) to train for; the last class is background.

    One-hot, but where `unsure` (B,) is true (its critical region is erased) and the label is a sign, the label keeps
    `keep` and the rest is spread over all signs. A sign whose evidence is gone should be guessed at, not asserted: a
    classifier that asserts another sign then looks, to a radar detector, as one does whose patch was taken away.
    """
    hard = F.one_hot(labels, signs + 1).float()
    if unsure is None:
        return hard
    spread = torch.zeros_like(hard)
    spread[:, :signs] = (1 - keep) / signs
    softened = unsure & (labels < signs)
    return torch.where(softened[:, None], keep * hard + spread, hard)


def _without_epochs(settings: str) -> dict[str, Any]:
    return {key: value for key, value in json.loads(settings).items() if key != "epochs"}


def _warming_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential moving average that forgets faster at first, so that the first random weights leave it soon."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        kept = min(decay, (1 + float(count)) / (10 + float(count)))
        return averaged + (1 - kept) * (current - averaged)

    return average


def _ahead(make: Callable[[], Batch], count: int) -> Iterator[Batch]:
    """Give `count` batches, made in a thread two ahead.

    None is begun beyond `count`: the generator's state at an epoch's end is then the same in a resumed run.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = deque(pool.submit(make) for _ in range(min(2, count)))
        for given in range(count):
            batch = waiting.popleft().result()
            if given + 2 < count:
                waiting.append(pool.submit(make))
            yield batch
