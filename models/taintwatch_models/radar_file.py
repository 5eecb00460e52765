"""A prepared model on disk: one ONNX file that holds the radar graph and, as metadata, all that is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.storage import STORED, parse_json, validated, write_atomically

__all__ = [
    "RadarFile",
    "RadarInfo",
    "attach",
    "from_proto",
    "is_radar",
    "metadata",
    "named_labels",
    "read_radar",
    "write_radar",
]

_KEY = "taintwatch.radar"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class RadarInfo:
    """What is known of a prepared model."""

    __pydantic_config__ = STORED

    name: str
    source_sha256: str
    """Of the user's model file: what a calibration is bound to."""
    input: str
    classes: int
    labels: tuple[str, ...]
    background: str | None
    preprocessing: Preprocessing
    declared: bool
    """False where no preprocessing was declared and the default was taken."""
    maps: str
    channels: int
    cells: tuple[int, int]
    convolution: str
    head: str
    multi_label: bool = False
    """Each label stands for itself: the model closes with a sigmoid for each."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RadarFile:
    """A radar graph and what is known of it."""

    proto: onnx.ModelProto
    info: RadarInfo


def attach(proto: onnx.ModelProto, info: RadarInfo) -> RadarFile:
    """Write `info` into the graph's metadata."""
    text = json.dumps({"version": _VERSION, **asdict(info)})
    kept = [p for p in proto.metadata_props if p.key != _KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend([*kept, onnx.StringStringEntryProto(key=_KEY, value=text)])
    return RadarFile(proto, info)


def is_radar(proto: onnx.ModelProto) -> bool:
    """Say whether this ONNX model was written by `taintwatch model prepare`."""
    return any(p.key == _KEY for p in proto.metadata_props)


def from_proto(proto: onnx.ModelProto, where: str) -> RadarFile:
    """Read the metadata back. Raises `ModelError`."""
    text = next((p.value for p in proto.metadata_props if p.key == _KEY), None)
    if text is None:
        raise ModelError(f"{where}: not a prepared model; run `taintwatch model prepare {where}`")
    try:
        values: dict[str, Any] = parse_json(text.encode())
        version = values.pop("version")
        if version != _VERSION:
            raise ModelError(f"{where}: prepared by another version (format {version}); prepare the model again")
        return RadarFile(proto, validated(RadarInfo, values))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: its Taintwatch metadata is damaged ({error}); prepare the model again") from None


def read_radar(path: Path) -> RadarFile:
    """Read a prepared model. Raises `ModelError`."""
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        proto = onnx.load(str(path))
    except Exception as error:
        raise ModelError(f"{path}: not a valid ONNX file ({type(error).__name__})") from None
    return from_proto(proto, str(path))


def write_radar(radar: RadarFile, path: Path) -> None:
    """Write a prepared model whole or not at all. Raises `ModelError`."""
    try:
        write_atomically(path, radar.proto.SerializeToString())
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror or error})") from None


def named_labels(labels: tuple[str, ...] | None, classes: int, where: str) -> tuple[str, ...]:
    """Check that each class has a name; `class 0`, `class 1` ... where none were given. Raises `ModelError`."""
    if labels is None:
        return tuple(f"class {index}" for index in range(classes))
    if len(labels) != classes:
        raise ModelError(f"{where}: {len(labels)} labels are declared, the model has {classes} classes")
    return labels


def metadata(info: RadarInfo) -> Mapping[str, Any]:
    """Return what is known, JSON-ready."""
    return asdict(info)
