"""A prepared model on disk: one ONNX file that holds the radar graph and, as metadata, all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.weight_file import WeightFile
from taintwatch_models.graph_metadata import GraphMetadata, read_graph, write_graph
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.storage import STORED

__all__ = [
    "RadarFile",
    "RadarInfo",
    "attach",
    "from_proto",
    "is_radar",
    "metadata",
    "read_radar",
    "write_radar",
]


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
    weights: WeightFile | None = None
    """Where the weights of a large model lie while it is prepared; None: in the graph."""


_METADATA = GraphMetadata(
    "taintwatch.radar", 1, RadarInfo, "a prepared model", "run `taintwatch model prepare` on the model's own file"
)


def attach(proto: onnx.ModelProto, info: RadarInfo, weights: WeightFile | None = None) -> RadarFile:
    """Write `info` into the graph's metadata."""
    _METADATA.attach(proto, info)
    return RadarFile(proto, info, weights)


def is_radar(proto: onnx.ModelProto) -> bool:
    """Say whether this ONNX model was written by `taintwatch model prepare`."""
    return _METADATA.is_in(proto)


def from_proto(proto: onnx.ModelProto, where: str) -> RadarFile:
    """Read the metadata back. Raises `ModelError`."""
    return RadarFile(proto, _METADATA.read(proto, where))


def read_radar(path: Path) -> RadarFile:
    """Read a prepared model. Raises `ModelError`."""
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    return from_proto(read_graph(path), str(path))


def write_radar(radar: RadarFile, path: Path) -> None:
    """Write a prepared model whole or not at all. Raises `ModelError`."""
    write_graph(radar.proto, path, radar.weights)


def metadata(info: RadarInfo) -> Mapping[str, Any]:
    """Return what is known, JSON-ready."""
    return asdict(info)
