"""An attack as it is made: crafted, shown on the test images, and those pictures that fool the classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.bench.plans import AttackPlan
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.craft.engine import Checkpoint, Step
from taintwatch_calibration.craft.kinds import KINDS, masks_of
from taintwatch_calibration.craft.materials import Labelled, classify, to_pictures
from taintwatch_calibration.craft.physical import DetectorLoss, Model, Pattern, craft_values, show_pattern
from taintwatch_calibration.craft.region import RegionRecipe, region_attack
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["AttackMaker", "Attacked", "Report", "pixels_of", "show_on", "whole"]

Report = Callable[[Step], None]


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """The pictures of one attack that fool the classifier."""

    pixels: NDArray[np.uint8]
    """(at most `most` successes, height, width, 3), in the model's channel order."""
    covered: NDArray[np.bool_]
    """The same, (N, height, width): where the attack lies."""
    truth: NDArray[np.int64]
    """(N,): what the classifier sees without the attack, which is right."""
    attempts: int
    successes: int
    """All of them: no more than `most` are judged."""


class AttackMaker:
    """Makes the attacks on one model; what is crafted is kept in `cache` and not crafted again."""

    def __init__(
        self,
        subject: Subject,
        cache: Cache,
        *,
        evading: Callable[[str, Model], DetectorLoss] | None = None,
        detector: Callable[[], str] = lambda: "",
        placements: int = 1,
        most: int = 200,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """`evading` gives the loss of a detector that an attacker knows, `detector` what tells it from others."""
        self._subject, self._cache, self._evading, self._detector = subject, cache, evading, detector
        self._placements, self._most, self._seed, self._device = placements, most, seed, device
        self._model: Model | None = None

    def attack(self, plan: AttackPlan, report: Report | None = None) -> Attacked:
        """Return the attack's successes, from the cache where they are there."""

        def make() -> dict[str, NDArray[Any]]:
            with denormals_flushed():
                made = self._region(report) if plan.way == "region" else self._show(plan, self.values(plan, report))
            attacked = self._judged(plan, *made)
            counts = np.array([attacked.attempts, attacked.successes], np.int64)
            return {
                "pixels": attacked.pixels, "covered": attacked.covered, "truth": attacked.truth, "counts": counts
            }  # fmt: skip

        identity = (*self._identity(plan), self._placements, self._most, self._seed)
        found = self._cache.arrays(f"attacked/{_file_name(plan.name)}", identity, make)
        attempts, successes = found["counts"].tolist()
        return Attacked(found["pixels"], found["covered"], found["truth"], attempts, successes)

    def values(self, plan: AttackPlan, report: Report | None = None) -> Tensor:
        """Return a crafted pattern's values, (P, 3, h, w) in [0, 1], from the cache where it is there.

        An interrupted one goes on from its checkpoint beside it.
        """
        name, subject = f"patterns/{_file_name(plan.name)}", self._subject
        path = self._cache.folder / f"{name}.checkpoint"

        def make() -> dict[str, NDArray[Any]]:
            detector = None
            if plan.evades and self._evading is not None:
                detector = self._evading(plan.evades, self.model)
            craft = to_pictures(_without(subject.craft, plan.pattern.target), subject.preprocessing, self._device)
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint = Checkpoint(path, plan.key(*map(str, self._identity(plan))), every=50)
            values = craft_values(
                self.model, craft, subject.preprocessing, self.masks(plan).to(self._device), plan.pattern,
                plan.schedule, detector=detector, report=report, checkpoint=checkpoint,
            )  # fmt: skip
            return {"values": whole(values)}

        found = self._cache.arrays(name, self._identity(plan), make)["values"]
        path.unlink(missing_ok=True)
        return torch.from_numpy(found.astype(np.float32) / 255)

    @property
    def model(self) -> Model:
        """The classifier with Torch, made when it is first needed."""
        if self._model is None:
            self._model = self._subject.differentiable(self._device)
        return self._model

    def _identity(self, plan: AttackPlan) -> tuple[object, ...]:
        return (plan.key(), self._subject.fingerprint, self._detector() if plan.evades else "")

    def masks(self, plan: AttackPlan) -> Tensor:
        """Return the plan's masks, (P, 1, h, w)."""
        kind = replace(KINDS[plan.kind], resolution=plan.resolution)
        shape = None if plan.kind == "glasses" or plan.boxes else plan.shape
        eyes = self._subject.eyes
        return masks_of(kind, plan.pattern, self._subject.preprocessing.size, shape=shape, boxes=plan.boxes, eyes=eyes)

    def _show(self, plan: AttackPlan, values: Tensor) -> tuple[Tensor, Tensor, NDArray[np.intp]]:
        subject = self._subject
        rows = np.tile(_rows(subject.test_images, plan.pattern.target), self._placements)
        pictures, masks = subject.test_images.subset(rows), self.masks(plan)
        return *show_on(pictures, values, masks, plan.pattern, subject.preprocessing, 7000 + self._seed), rows

    def _region(self, report: Report | None) -> tuple[Tensor, Tensor, NDArray[np.intp]]:
        subject = self._subject
        rows = np.arange(min(len(subject.test_images), self._most))
        pictures = to_pictures(subject.test_images.subset(rows), subject.preprocessing)
        recipe = RegionRecipe(iterations=60, seed=self._seed)
        found = region_attack(self.model, pictures, subject.preprocessing, recipe, report=report)
        return found.pixels, (found.masks > 0).float(), rows

    def _judged(self, plan: AttackPlan, shown: Tensor, covered: Tensor, rows: NDArray[np.intp]) -> Attacked:
        """Ask the product's own classifier."""
        subject, target = self._subject, plan.pattern.target
        pixels = pixels_of(shown, subject.preprocessing)
        seen, truth = classify(subject.plain, pixels), subject.test_images.labels[rows]
        success = seen != truth if target is None else seen == target
        chosen = np.flatnonzero(success)
        if len(chosen) > self._most:
            chosen = np.sort(np.random.default_rng(self._seed).permutation(chosen)[: self._most])
        where = covered[:, 0].numpy() > 0.5
        return Attacked(pixels[chosen], where[chosen], truth[chosen], len(seen), int(success.sum()))


def show_on(
    pictures: Labelled, values: Tensor, masks: Tensor, pattern: Pattern, preprocessing: Preprocessing, seed: int
) -> tuple[Tensor, Tensor]:
    """Return pictures with a pattern's values (P, 3, h, w) on each, and what it covers.

    Pictures are (N, 3, H, W), RGB in [0, 1], at places that `seed` draws; what is covered is (N, 1, H, W).
    """
    pixels = to_pictures(pictures, preprocessing).pixels
    with torch.no_grad():
        return show_pattern(pixels, values, masks, pattern, torch.Generator().manual_seed(seed))


def pixels_of(shown: Tensor, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return pictures (N, 3, H, W), RGB in [0, 1], as pixels (N, H, W, 3) in the model's channel order."""
    if preprocessing.order == "bgr":
        shown = shown.flip(1)
    return whole(shown.clamp(0, 1).permute(0, 2, 3, 1))


def whole(values: Tensor) -> NDArray[np.uint8]:
    """Return values in [0, 1] as whole numbers up to 255."""
    return np.asarray((values * 255).round().byte().cpu().numpy(), np.uint8)


def _rows(pictures: Labelled, target: int | None) -> NDArray[np.intp]:
    return np.flatnonzero(pictures.labels != (-1 if target is None else target))


def _without(pictures: Labelled, target: int | None) -> Labelled:
    return pictures.subset(_rows(pictures, target))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "." else "_" for letter in name)
