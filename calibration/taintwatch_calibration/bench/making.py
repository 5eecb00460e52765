"""Making one attack: craft it, show it on the test images, keep those pictures that fool the classifier."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.bench.plans import AttackPlan
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.craft.engine import Checkpoint, Step, optimise
from taintwatch_calibration.craft.kinds import KINDS, masks_of
from taintwatch_calibration.craft.materials import Labelled, classify, to_pictures
from taintwatch_calibration.craft.physical import DetectorLoss, Model, PhysicalObjective, start_values
from taintwatch_calibration.craft.region import RegionRecipe, region_attack
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["Attacked", "Maker", "Report"]

Report = Callable[[Step], None]


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """The pictures of one attack that fool the classifier."""

    pixels: NDArray[np.uint8]
    """(successes kept, height, width, 3), in the model's channel order."""
    covered: NDArray[np.bool_]
    """(successes kept, height, width): where the attack lies."""
    truth: NDArray[np.int64]
    """(successes kept,): what the classifier sees without the attack, which is right."""
    attempts: int
    successes: int
    """All of them: no more than `most` are kept."""

    def save(self, path: Path) -> None:
        """Keep them, whole or not at all."""
        stream = io.BytesIO()
        counts = np.array([self.attempts, self.successes], np.int64)
        np.savez_compressed(stream, pixels=self.pixels, covered=self.covered, truth=self.truth, counts=counts)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, stream.getvalue())

    @classmethod
    def read(cls, path: Path) -> Attacked:
        """Read what `save` kept. Raises `UsageError` where it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                counts = kept["counts"]
                return cls(kept["pixels"], kept["covered"], kept["truth"], int(counts[0]), int(counts[1]))
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{path}: cannot be read ({error}); delete it, and it is made again") from None


class Maker:
    """Makes the attacks on one model; what is crafted is kept in `work` and not crafted again."""

    def __init__(
        self,
        subject: Subject,
        work: Path,
        *,
        evading: Callable[[str, Model], DetectorLoss],
        detector: Callable[[], str],
        placements: int = 1,
        most: int = 200,
        seed: int = 0,
    ) -> None:
        """`evading` gives the loss of a detector that an attacker knows, `detector` what tells it from others."""
        self._subject, self._work, self._evading, self._detector = subject, work, evading, detector
        self._placements, self._most, self._seed = placements, most, seed
        self._model: Model | None = None

    def attack(self, plan: AttackPlan, transfer: Tensor | None = None, report: Report | None = None) -> Attacked:
        """Return the attack's successes, from the folder where they are kept.

        `transfer`: the values (1, 3, h, w) of another model's patch, for a plan that is transferred.
        """
        kept = self._work / "attacked" / f"{_file_name(plan.name)}_{self._key(plan)}.npz"
        if kept.is_file():
            return Attacked.read(kept)
        with denormals_flushed():
            if plan.way == "region":
                shown, covered, rows = self._region(plan, report)
            elif plan.way == "trigger":
                shown, covered, rows = self._triggered()
            else:
                values = transfer if transfer is not None else self.values(plan, report)
                shown, covered, rows = self._shown(plan, values)
        attacked = self._judged(plan, shown, covered, rows)
        attacked.save(kept)
        return attacked

    def values(self, plan: AttackPlan, report: Report | None = None) -> Tensor:
        """Return a crafted pattern, (P, 3, h, w) in [0, 1], from the folder where it is kept."""
        kept = self._work / "patterns" / f"{_file_name(plan.name)}_{self._key(plan)}.npy"
        if kept.is_file():
            return torch.from_numpy(np.load(kept, allow_pickle=False).astype(np.float32) / 255)
        detector = self._evading(plan.evades, self.model) if plan.evades else None
        masks = self._masks(plan)
        craft = to_pictures(_without(self._subject.craft, plan.pattern.target), self._subject.preprocessing)
        objective = PhysicalObjective(self.model, craft, self._subject.preprocessing, masks, plan.pattern, detector)
        checkpoint = Checkpoint(kept.with_suffix(".checkpoint"), self._key(plan), every=50)
        values = optimise(objective, start_values(masks), plan.schedule, report=report, checkpoint=checkpoint)
        whole = (values * 255).round().byte().numpy()
        stream = io.BytesIO()
        np.save(stream, whole, allow_pickle=False)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, stream.getvalue())
        checkpoint.path.unlink(missing_ok=True)
        return torch.from_numpy(whole.astype(np.float32) / 255)

    @property
    def model(self) -> Model:
        """The classifier with Torch, made when it is first needed."""
        if self._model is None:
            self._model = self._subject.differentiable()
        return self._model

    def _key(self, plan: AttackPlan) -> str:
        settings = self._detector() if plan.evades else ""
        return plan.key(self._subject.fingerprint, settings, str(self._placements), str(self._most), str(self._seed))

    def _masks(self, plan: AttackPlan) -> Tensor:
        kind = replace(KINDS[plan.kind], resolution=plan.resolution)
        shape = None if plan.kind == "glasses" or plan.boxes else plan.shape
        eyes = self._subject.eyes
        return masks_of(kind, plan.pattern, self._subject.preprocessing.size, shape=shape, boxes=plan.boxes, eyes=eyes)

    def _shown(self, plan: AttackPlan, values: Tensor) -> tuple[Tensor, Tensor, NDArray[np.intp]]:
        subject, generator = self._subject, torch.Generator().manual_seed(7000 + self._seed)
        rows = np.tile(_rows(subject.test_images, plan.pattern.target), self._placements)
        pictures = to_pictures(subject.test_images.subset(rows), subject.preprocessing)
        masks = self._masks(plan)
        show = PhysicalObjective(self.model, pictures, subject.preprocessing, masks, plan.pattern).show
        with torch.no_grad():
            shown, covered = show(pictures.pixels, values, generator)
        return shown, covered, rows

    def _region(self, plan: AttackPlan, report: Report | None) -> tuple[Tensor, Tensor, NDArray[np.intp]]:
        subject = self._subject
        rows = np.arange(min(len(subject.test_images), self._most))
        pictures = to_pictures(subject.test_images.subset(rows), subject.preprocessing)
        recipe = RegionRecipe(iterations=60, seed=self._seed)
        found = region_attack(self.model, pictures, subject.preprocessing, recipe, report=report)
        return found.pixels, (found.masks > 0).float(), rows

    def _triggered(self) -> tuple[Tensor, Tensor, NDArray[np.intp]]:
        subject = self._subject
        if subject.trigger is None:
            raise UsageError(f"the model '{subject.name}' has no backdoor whose trigger could be shown")
        rows = _rows(subject.test_images, subject.target)
        pixels = subject.test_images.pixels[rows]
        stamped, where = subject.trigger(pixels, self._seed)
        pictures = to_pictures(replace(subject.test_images.subset(rows), pixels=stamped), subject.preprocessing)
        return pictures.pixels, torch.from_numpy(where.astype(np.float32))[:, None], rows

    def _judged(self, plan: AttackPlan, shown: Tensor, covered: Tensor, rows: NDArray[np.intp]) -> Attacked:
        """Ask the product's own classifier."""
        subject = self._subject
        if subject.preprocessing.order == "bgr":
            shown = shown.flip(1)
        pixels = (shown.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        seen, truth = classify(subject.plain, pixels), subject.test_images.labels[rows]
        target = plan.pattern.target if plan.way != "trigger" else subject.target
        success = seen != truth if target is None else seen == target
        chosen = np.flatnonzero(success)
        if len(chosen) > self._most:
            chosen = np.sort(np.random.default_rng(self._seed).permutation(chosen)[: self._most])
        where = covered[:, 0].numpy() > 0.5
        return Attacked(pixels[chosen], where[chosen], truth[chosen], len(seen), int(success.sum()))


def _rows(pictures: Labelled, target: int | None) -> NDArray[np.intp]:
    return np.flatnonzero(pictures.labels != (-1 if target is None else target))


def _without(pictures: Labelled, target: int | None) -> Labelled:
    return pictures.subset(_rows(pictures, target))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "." else "_" for letter in name)
