"""The networks of the survey by name: those of the zoo, and the face network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import zoo
from benchmarks.survey.faces import face_subject
from benchmarks.survey.subject import Subject, split_subject
from benchmarks.zoo.recipes import recipe_of
from taintwatch_calibration.craft.materials import load_classifier
from taintwatch_models.errors import UsageError

__all__ = ["SUBJECTS", "load_subject"]

SUBJECTS = ("signs_vgg", "objects_14", "signs_robust", "signs_denoising", "signs_ensemble", "faces")
"""The networks of the chosen square; the last is measured with the attacks that are worn, the three before it are
defences by themselves and are measured with the digital ones."""

_TARGETS = {"signs": 14, "objects": 3}


def load_subject(
    name: str, data: Path, zoo_folder: Path, *, seed: int = 0, report: Callable[[str], None] = lambda line: None
) -> Subject:
    """Return a network with its pictures; one that is not in `zoo_folder` yet is trained there.

    Raises `UsageError` for an unknown name or missing data.
    """
    if name not in SUBJECTS:
        raise UsageError(f"the survey has no network '{name}'; it has {', '.join(SUBJECTS)}")
    if name == "faces":
        return face_subject(data, zoo_folder)
    path = zoo.load_or_train(name, data, zoo_folder, report=report)
    radar = load_classifier(str(path))
    pictures, labels, _ = zoo.pictures(name, data)
    trained, trained_labels, _ = zoo.training_pictures(name, data)
    target = _TARGETS[recipe_of(name).dataset]
    return split_subject(name, radar, (pictures, labels), (trained, trained_labels), target, zoo_folder, data, seed)
