"""Where the zoo's networks lie: WORK/NAME.onnx, .toml, .json, and .pt to go on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.zoo.pictures import files_of
from benchmarks.zoo.recipes import Recipe, recipe_of
from taintwatch_models.errors import ModelError, UsageError
from taintwatch_models.model_source import file_hash

__all__ = ["finished", "identity_of", "load_or_train"]


def load_or_train(name: str, data: Path, work: Path, *, report: Callable[[str], None]) -> Path:
    """Return the ONNX of the network `name`, WORK/NAME.onnx, trained first where it is not there yet.

    Beside it: NAME.toml (labels, preprocessing), NAME.json (accuracy and all that it was trained with), for a network
    with a back door NAME.trigger.png, and NAME.pt, the checkpoint of an interrupted training, from which it goes on.
    `data` is the folder that holds `objects/` and `signs/`; `report` is told of the progress, one line at a time.
    Raises `UsageError` for an unknown name, missing data, or a network that was trained with something else.
    """
    recipe = recipe_of(name)
    identity = identity_of(recipe, data)
    if finished(name, work, identity):
        return work / f"{name}.onnx"
    if recipe.begin_from is not None:
        load_or_train(recipe.begin_from, data, work, report=report)
    # Reading what is there needs no torch.
    from benchmarks.zoo.network_files import make

    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{work} cannot be made ({error.strerror}): name another folder as --work.") from None
    return make(name, recipe, data, work, identity, lambda line: report(f"{name}: {line}"))


def finished(name: str, work: Path, identity: dict[str, Any]) -> bool:
    """Return whether `name` lies in `work`, whole.

    Raises `UsageError` where it was trained with other settings or data than `identity`, or was changed since.
    """
    onnx, metrics = work / f"{name}.onnx", work / f"{name}.json"
    if not (onnx.is_file() and metrics.is_file() and onnx.with_suffix(".toml").is_file()):
        return False
    try:
        about = json.loads(metrics.read_text(encoding="utf-8"))
        same = about["identity"] == identity and about["sha256"] == file_hash(onnx)
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        same = False
    if not same:
        raise UsageError(
            f"{onnx} was trained with other settings or other data, or was changed since: remove {work / name}.* to "
            "train it again, or use another --work."
        )
    return True


def identity_of(recipe: Recipe, data: Path) -> dict[str, Any]:
    """Return all that fixes the weights, JSON-ready: the settings, those of the network that it begins with, the data.

    Raises `UsageError` where data is missing.
    """
    before = identity_of(recipe_of(recipe.begin_from), data) if recipe.begin_from else None
    return {
        "recipe": _settings(recipe),
        "begins_with": before,
        "data": {path.name: _content_hash(path) for path in files_of(recipe.dataset, data)},
    }


def _settings(recipe: Recipe) -> dict[str, Any]:
    """A network that no attack was trained on is fixed by the other settings."""
    settings = asdict(recipe)
    return settings if recipe.adversarial else {k: v for k, v in settings.items() if k not in ("adversarial", "eps")}


def _content_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
