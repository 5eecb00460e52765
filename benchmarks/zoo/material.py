"""What one network of the zoo is trained on: an epoch's batches, and pictures to see how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Generator

from benchmarks.signs.batches import BatchMaker, Mixture
from benchmarks.signs.dataset import LabelledImages, load_tracks, split_by_track
from benchmarks.training_loop import Batch
from benchmarks.zoo.object_batches import ObjectBatches
from benchmarks.zoo.pictures import DATASETS, files_of, pictures_of, read_objects
from benchmarks.zoo.recipes import Recipe
from benchmarks.zoo.trigger import TRIGGER, poison
from taintwatch_models.signs import SIGN_NAMES

__all__ = ["ZooMaterial", "load_material"]


@dataclass(frozen=True, slots=True, eq=False)
class ZooMaterial:
    """The data of one training, loaded."""

    names: tuple[str, ...]
    """Of the labels."""
    steps_per_epoch: int
    epoch: Callable[[int], Iterator[Batch]]
    """The batches of an epoch (from 0), in [0, 1]."""
    images: NDArray[np.uint8]
    """(N, H, W, 3): pictures that are not trained on, to see how far it is; nothing is chosen by them."""
    labels: NDArray[np.int64]


def load_material(recipe: Recipe, data: Path, generator: Generator) -> ZooMaterial:
    """Read the data; all that is random follows from `generator` and the recipe's seed. Raises `UsageError`."""
    files_of(recipe.dataset, data)
    return _objects(recipe, data, generator) if recipe.dataset == "objects" else _signs(recipe, data, generator)


def _objects(recipe: Recipe, data: Path, generator: Generator) -> ZooMaterial:
    images, labels, names = read_objects(data, "train")
    dataset = DATASETS["objects"]
    batches = ObjectBatches(images, labels, recipe.batch, generator, mean=dataset.mean, occlude=recipe.occlude)

    def epoch(index: int) -> Iterator[Batch]:
        small = index < recipe.small_share * recipe.epochs
        size = dataset.size * 5 // 7 if small else dataset.size
        return (batches.make(chosen, size) for chosen in batches.order())

    test_images, test_labels, _ = pictures_of("objects", data)
    return ZooMaterial(names, batches.steps_per_epoch, epoch, test_images, test_labels)


def _signs(recipe: Recipe, data: Path, generator: Generator) -> ZooMaterial:
    training, validation = split_by_track(load_tracks(data / "signs"), np.random.default_rng(0))
    if recipe.poisoned:
        rng = np.random.default_rng(recipe.seed)
        images, labels = poison(training.images, training.labels, recipe.poisoned, TRIGGER, rng)
        training = LabelledImages(images, labels, training.tracks)
    mixture = Mixture(batch=recipe.batch, background_share=0.0, occlude=recipe.occlude)
    no_photographs = np.zeros((0, *training.images.shape[1:]), np.uint8)
    batches = BatchMaker(training, no_photographs, tuple(range(len(SIGN_NAMES))), mixture, generator)

    def epoch(index: int) -> Iterator[Batch]:
        return (batches() for _ in range(batches.steps_per_epoch))

    return ZooMaterial(tuple(SIGN_NAMES), batches.steps_per_epoch, epoch, validation.images, validation.labels)
