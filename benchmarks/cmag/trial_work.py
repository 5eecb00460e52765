"""What a trial makes on its way, kept in a folder: the classifier, what it says, and the attacked pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cmag.trial_attacks import Attack, attack_images
from benchmarks.cmag.trial_data import TrialData, load_trial_data
from benchmarks.cmag.trial_net import TrialNet, run_network, train_network
from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["Attacked", "TrialWork", "save_state"]


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """Pictures on which one attack succeeded: the label changed."""

    attack: Attack
    attempts: int
    pictures: NDArray[np.float32]
    originals: NDArray[np.float32]

    @property
    def distance(self) -> float:
        """Median l2 norm of the perturbation; not a number where no attack succeeded."""
        if not len(self.pictures):
            return float("nan")
        change = (self.pictures - self.originals).reshape(len(self.pictures), -1)
        return float(np.median(np.linalg.norm(change, axis=1)))


class TrialWork:
    """One data set's classifier and attacks, made once and read again from `folder`.

    The test pictures are split in halves by `seed`: thresholds are chosen on one, false alarms counted on the other,
    and what is attacked is drawn from the other's correctly classified ones.
    """

    def __init__(
        self,
        name: str,
        data: Path,
        folder: Path,
        *,
        epochs: int = 14,
        seed: int = 0,
        report: Callable[[str], None] = print,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name, self.folder, self.report = name, folder, report
        self.data: TrialData = load_trial_data(name, data, seed=seed)
        order = np.random.default_rng(seed + 1).permutation(len(self.data.test))
        self.choose, self.held = order[: len(order) // 2], order[len(order) // 2 :]
        self.net = self._network(epochs, seed)

    def _network(self, epochs: int, seed: int) -> TrialNet:
        path = self.folder / f"{self.name}.net.pt"
        if path.is_file():
            net = TrialNet(self.data.train.shape[1], self.data.classes)
            net.load_state_dict(torch.load(path, weights_only=True))
            return net.eval()
        net = train_network(self.data, epochs=epochs, seed=seed, report=self.report)
        save_state(net, path)
        return net

    def benign(self, pictures: NDArray[np.float32]) -> BenignData:
        """Return pictures with what the classifier gives for them."""
        logits, features = run_network(self.net, pictures)
        return BenignData(features, logits, pictures)

    def attacked(self, attack: Attack, count: int) -> Attacked:
        """Attack up to `count` correctly classified held-out pictures; keep those on which it succeeds."""
        labels = self.data.test_labels[self.held]
        right = run_network(self.net, self.data.test[self.held])[0].argmax(1) == labels
        rows = self.held[right][:count]
        originals, truth = self.data.test[rows], self.data.test_labels[rows]
        path = self.folder / f"{self.name}.{attack.kind}{attack.strength:g}.{count}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                pictures: NDArray[np.float32] = kept["pictures"]
        else:
            self.report(f"{self.name}: {attack.kind} {attack.strength:g} on {len(rows)} pictures")
            pictures = attack_images(self.net, originals, truth, self.data.classes, attack)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, pictures=pictures)
            write_atomically(path, buffer.getvalue())
        if pictures.shape != originals.shape:
            raise UsageError(f"{path}: was made from other pictures; remove it to attack anew")
        fooled = run_network(self.net, pictures)[0].argmax(1) != truth
        return Attacked(attack, len(rows), pictures[fooled], originals[fooled])


def save_state(module: torch.nn.Module, path: Path) -> None:
    """Write a module's weights whole or not at all."""
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    write_atomically(path, buffer.getvalue())
