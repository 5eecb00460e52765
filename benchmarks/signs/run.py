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
from torch import Tensor, nn

from benchmarks.signs.batches import BatchMaker, Mixture
from benchmarks.signs.evaluate import normalised
from benchmarks.signs.export import BACKGROUND, preprocessing_toml, write_onnx
from benchmarks.signs.material import Material
from benchmarks.signs.network import SignNet
from benchmarks.signs.occlusion import erase_critical
from benchmarks.signs.report import machine, measure, measure_one
from benchmarks.training_loop import Batch, TrainingLoop, TrainingPlan
from taintwatch_calibration.results import write_json
from taintwatch_models.errors import UsageError
from taintwatch_models.signs import SIGN_NAMES
from taintwatch_models.storage import write_atomically

__all__ = ["Settings", "TrainingRun", "targets"]

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
        self.settings = settings
        self._planned: list[dict[str, int]] = []
        self._out, self._device = out, device
        self._material = material
        self._generator = torch.Generator(device).manual_seed(settings.seed)
        # The batches are made in a thread of their own, so that this one must not draw from their generator.
        self._critical_generator = torch.Generator(device).manual_seed(settings.seed + 1)
        mixture = Mixture(batch=settings.batch, occlude=settings.occlude)
        self._batches = BatchMaker(material.training, material.photographs, settings.classes, mixture, self._generator)
        with torch.random.fork_rng(devices=[]):  # the first weights come from the global generator: give it back
            torch.manual_seed(settings.seed)
            network = SignNet(len(settings.classes) + 1, settings.width, settings.last_kernel)
        plan = TrainingPlan(
            settings.epochs,
            self._batches.steps_per_epoch,
            settings.rate,
            settings.weight_decay,
            settings.ema_decay,
        )
        prepared = network.to(device).to(memory_format=torch.channels_last)
        self._loop = TrainingLoop(prepared, plan, clock, self._log_steps)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return (*(SIGN_NAMES[index] for index in self.settings.classes), BACKGROUND)

    @property
    def network(self) -> SignNet:
        """The averaged network: what is evaluated and exported."""
        return cast(SignNet, self._loop.average)

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return self._loop.epoch

    def train(self) -> None:
        """Train the epochs that are left, then write the model and its metrics."""
        while self.epoch < self.settings.epochs:
            spared = self._rows_to_spare()
            steps = self._batches.steps_per_epoch
            loss = self._loop.run_epoch(_ahead(partial(self._batches, spared), steps), partial(self._loss, spared))
            _log.info(
                "epoch %d/%d loss %.3f validation %s, %.0f s, %.1f min left",
                self.epoch,
                self.settings.epochs,
                loss,
                self._validation_accuracy(),
                self._loop.seconds / self.epoch,
                self._loop.seconds_left / 60,
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
            "training_seconds": round(self._loop.seconds, 1),
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
        self._loop.restore(state)
        self._generator.set_state(state["generator"].cpu())
        self._critical_generator.set_state(state["critical_generator"].cpu())
        self._planned = json.loads(state["planned"])
        before = json.loads(state["settings"])["epochs"]
        if before != self.settings.epochs:
            self._planned = [*self._planned, {"until_epoch": self.epoch, "epochs": before}]

    def start_from(self, checkpoint: Path) -> None:
        """Take the averaged weights of another run's checkpoint to begin with. Raises `UsageError`."""
        if not checkpoint.is_file():
            raise UsageError(f"There is no checkpoint at {checkpoint}.")
        state = torch.load(checkpoint, map_location=self._device, weights_only=True)
        try:
            self._loop.begin_from(state)
        except (KeyError, RuntimeError):
            raise UsageError(f"{checkpoint} is not of a network of this size and these classes.") from None

    def _loss(self, spared: Tensor | None, network: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        if spared is not None:
            images = erase_critical(self.network, images, spared, self._critical_generator)
        wanted = targets(labels, len(self.settings.classes), spared, self.settings.critical_keep)
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            return F.cross_entropy(network(normalised(images)), wanted)

    def _log_steps(self, steps: int, loss: float, seconds: float) -> None:
        _log.info("  step %d/%d loss %.3f, %.2f s each", steps, self._batches.steps_per_epoch, loss, seconds)

    def _rows_to_spare(self) -> Tensor | None:
        """Which pictures of a batch keep their critical region for `erase_critical`: (B,), bool; None for none."""
        if not self.settings.occlude or self.epoch < self.settings.critical_from * self.settings.epochs:
            return None
        return torch.arange(self.settings.batch, device=self._device) % 5 < self.settings.critical_fifths

    def _save(self) -> None:
        state = {
            "settings": json.dumps(asdict(self.settings)),
            **self._loop.state(),
            "generator": self._generator.get_state(),
            "critical_generator": self._critical_generator.get_state(),
            "planned": json.dumps(self._planned),
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
