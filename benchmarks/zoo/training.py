"""Training one network of the zoo, with a checkpoint after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.signs.evaluate import normalised, predict
from benchmarks.training_loop import Batch, TrainingLoop, TrainingPlan
from benchmarks.zoo.adversarial import attack_of
from benchmarks.zoo.checkpoint import read_checkpoint
from benchmarks.zoo.material import ZooMaterial, load_material
from benchmarks.zoo.networks import build_network
from benchmarks.zoo.pictures import DATASETS
from benchmarks.zoo.recipes import Recipe
from taintwatch_models.errors import UsageError

__all__ = ["Report", "ZooTraining"]

Report = Callable[[str], None]
_CPU = torch.device("cpu")
_LOOK_EVERY = 4
"""Epochs between two looks at the accuracy."""


class ZooTraining:
    """Trains the network of one recipe; `checkpoint` is where it goes on from, if it is there.

    `identity` says what is trained on what: a checkpoint of another identity is refused (`UsageError`).
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        checkpoint: Path,
        identity: str,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recipe, self._checkpoint, self._identity, self._report = recipe, checkpoint, identity, report
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self._material: ZooMaterial = load_material(recipe, data, self._generator)
        with torch.random.fork_rng(devices=[]):  # the first weights come from the global generator: give it back
            torch.manual_seed(recipe.seed)
            network = build_network(recipe.architecture, len(self.names), recipe.width)
        plan = TrainingPlan(
            recipe.epochs, self._material.steps_per_epoch, recipe.rate, recipe.weight_decay, recipe.ema_decay
        )
        self._attack = attack_of(recipe, checkpoint.parent, len(self.names))
        self._loop = TrainingLoop(network.to(memory_format=torch.channels_last), plan, clock)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the labels."""
        return self._material.names

    @property
    def network(self) -> nn.Module:
        """The averaged network."""
        return self._loop.average

    @property
    def seconds(self) -> float:
        """What the training took, interruptions left out."""
        return self._loop.seconds

    def begin_from(self, checkpoint: Path) -> None:
        """Take the weights of another training's checkpoint to begin with."""
        added = ".block." if self._recipe.architecture == "vgg_denoising" else None
        self._loop.begin_from(read_checkpoint(checkpoint)["loop"], added)

    def resume(self) -> bool:
        """Go on from the checkpoint; return whether there was one. Raises `UsageError` where it is of another kind."""
        if not self._checkpoint.is_file():
            return False
        state = read_checkpoint(self._checkpoint)
        if state["identity"] != self._identity:
            raise UsageError(
                f"{self._checkpoint} was made with other settings or other data: remove it, or use another --work."
            )
        self._loop.restore(state["loop"])
        self._generator.set_state(state["generator"])
        return True

    def run(self) -> None:
        """Train the epochs that are left."""
        epochs = self._recipe.epochs
        while self._loop.epoch < epochs:
            with torch.random.fork_rng(devices=[]):
                # Dropout draws from the global generator: each epoch from a seed of its own, so that it can be resumed.
                torch.manual_seed(self._recipe.seed * 10_000 + self._loop.epoch + 1)
                loss = self._loop.run_epoch(self._material.epoch(self._loop.epoch), self._loss)
            done = self._loop.epoch
            look = f", accuracy {self._accuracy():.3f}" if done % _LOOK_EVERY == 0 or done == epochs else ""
            self._report(f"epoch {done}/{epochs}, loss {loss:.3f}{look}, {self._loop.seconds_left:.0f} s left")
            self._save()

    def _loss(self, network: nn.Module, batch: Batch) -> Tensor:
        images, labels = batch
        dataset = DATASETS[self._recipe.dataset]
        if self._attack is not None:
            images = self._attack(network, images, labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(normalised(images, dataset.mean, dataset.std))
        return F.cross_entropy(logits.float(), labels, label_smoothing=self._recipe.smoothing)

    def _accuracy(self) -> float:
        dataset, material = DATASETS[self._recipe.dataset], self._material
        found = predict(self.network, material.images, _CPU, mean=dataset.mean, std=dataset.std)
        return float((found == material.labels).mean()) if len(found) else float("nan")

    def _save(self) -> None:
        state = {"identity": self._identity, "loop": self._loop.state(), "generator": self._generator.get_state()}
        temporary = self._checkpoint.with_name(self._checkpoint.name + ".tmp")
        torch.save(state, temporary)
        temporary.replace(self._checkpoint)
