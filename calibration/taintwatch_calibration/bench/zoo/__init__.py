"""The networks that the bench trains for itself. Only training needs torch."""

from taintwatch_calibration.bench.zoo.pictures import pictures, training_pictures
from taintwatch_calibration.bench.zoo.recipes import names
from taintwatch_calibration.bench.zoo.store import load_or_train

__all__ = ["load_or_train", "names", "pictures", "training_pictures"]
