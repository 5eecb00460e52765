"""What is declared of a model in the small TOML beside it: its preprocessing and its labels, checked key by key."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from taintwatch_models.errors import ModelError
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.storage import parse_json, read_bounded

__all__ = ["ModelDescription", "describe", "preprocessing_from", "read_description", "read_labels"]

LARGEST = 4_000_000  # bytes of a description or of labels
LARGEST_SIDE = 2048  # pixels
LARGEST_NUMBER = 1e9


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The TOML beside a model: its preprocessing, its labels, and the label that means `nothing of interest`."""

    preprocessing: Preprocessing | None = None
    """None where it is not declared."""
    labels: tuple[str, ...] | None = None
    background: str | None = None

    def class_names(self, classes: int, where: str) -> tuple[str, ...]:
        """Return a name for each class; `class 0`, `class 1` ... where none were declared. Raises `ModelError`."""
        if self.labels is None:
            return tuple(f"class {index}" for index in range(classes))
        if len(self.labels) != classes:
            raise ModelError(f"{where}: {len(self.labels)} labels are declared, the model has {classes} classes")
        return self.labels


def describe(path: Path, preprocessing: str | None = None, labels: str | None = None) -> ModelDescription:
    """Read what is declared of the model at `path`: in the TOML that was named, or in the one beside it, if any.

    `labels` names a file with its labels, which then count. Raises `ModelError`.
    """
    declared = path.with_suffix(".toml") if preprocessing is None else Path(preprocessing)
    there = preprocessing is not None or declared.is_file()
    description = read_description(declared) if there else ModelDescription()
    return description if labels is None else replace(description, labels=read_labels(Path(labels)))


def read_description(path: Path) -> ModelDescription:
    """Read a model's TOML. Raises `ModelError` with the key that is wrong."""
    try:
        document = tomllib.loads(read_bounded(path, LARGEST).decode())
    except FileNotFoundError:
        raise ModelError(f"{path}: no such preprocessing file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a readable TOML file ({error})") from None
    unknown = set(document) - {"preprocessing", "labels", "background"}
    if unknown:
        raise ModelError(f"{path}: unknown key '{min(unknown)}'; known are preprocessing, labels, background")
    table = document.get("preprocessing")
    if not isinstance(table, dict):
        raise ModelError(f"{path}: the table [preprocessing] is missing; it needs at least 'size = [height, width]'")
    background = table.pop("background", None) or document.get("background")
    return ModelDescription(preprocessing_from(table, str(path)), _labels(document.get("labels"), path), background)


def preprocessing_from(table: dict[str, Any], where: str) -> Preprocessing:
    """Check a declaration key by key. Raises `ModelError` naming `where`, the key and the value."""
    known = {f.name for f in fields(Preprocessing)}
    for key in table:
        if key not in known:
            raise ModelError(f"{where}: preprocessing.{key}: unknown key; known are {', '.join(sorted(known))}")
    values: dict[str, Any] = dict(table)

    def numbers(key: str, count: int, *, above: float | None = None) -> tuple[float, ...]:
        value = values[key]
        good = isinstance(value, list | tuple) and len(value) == count
        if not good or not all(_is_number(v) and (above is None or v > above) for v in value):
            limit = f" above {above:g}" if above is not None else ""
            raise ModelError(f"{where}: preprocessing.{key} must be {count} numbers{limit}, not {value!r}")
        return tuple(value)

    if "size" not in values:
        raise ModelError(f"{where}: preprocessing.size is missing; write 'size = [height, width]'")
    height, width = numbers("size", 2, above=0)
    values["size"] = (int(height), int(width))
    if max(values["size"]) > LARGEST_SIDE:
        raise ModelError(f"{where}: preprocessing.size is {values['size']}; a side has at most {LARGEST_SIDE} pixels")
    for key, above in (("mean", None), ("std", 0.0), ("mean_colour", -1.0)):
        if key in values:
            values[key] = tuple(float(v) for v in numbers(key, 3, above=above))
    for key, allowed in (("resize", ("crop", "stretch", "pad")), ("order", ("rgb", "bgr"))):
        if values.get(key, allowed[0]) not in allowed:
            raise ModelError(f"{where}: preprocessing.{key} must be one of {', '.join(allowed)}, not {values[key]!r}")
    scale = values.get("scale", 255.0)
    if not _is_number(scale) or scale <= 0:
        raise ModelError(f"{where}: preprocessing.scale must be a number above 0, not {scale!r}")
    values["scale"] = float(scale)
    return Preprocessing(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST_NUMBER  # which NaN is not


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names in index order: a JSON list, or text with one name a line. Raises `ModelError`."""
    try:
        content = read_bounded(path, LARGEST)
        text = content.decode()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: the labels cannot be read ({error})") from None
    if path.suffix != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        names = parse_json(content)
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path}: labels must be a JSON list of strings in index order")
    return tuple(names)


def _labels(declared: Any, description: Path) -> tuple[str, ...] | None:
    """Return the labels that a description lists, or those in the file beside it that it names."""
    if isinstance(declared, str):
        return read_labels(_beside(description, declared))
    if declared is not None and not isinstance(declared, list):
        raise ModelError(f"{description}: labels must be a list of names, or a file beside it, not {declared!r}")
    return None if declared is None else tuple(str(label) for label in declared)


def _beside(description: Path, name: str) -> Path:
    """Return the file that a description names, in its own folder. Raises `ModelError` for one that lies elsewhere.

    A model's folder may come from anywhere: its TOML must not make us read, and show, a file of this machine.
    """
    folder = description.parent.resolve()
    try:
        there = (folder / name).resolve().is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):  # a loop of links, a zero byte
        there = False
    if not there or Path(name).is_absolute():
        raise ModelError(
            f"{description}: labels = {name[:200]!r} lies outside the model's folder; put the file beside the "
            "model, or name it with model.labels (--labels)"
        )
    return folder / name
