"""The networks that the bench trains for itself. Only training needs torch."""

from benchmarks.zoo.pictures import pictures, training_pictures
from benchmarks.zoo.recipes import names
from benchmarks.zoo.store import load_or_train

__all__ = ["load_or_train", "names", "pictures", "training_pictures"]
