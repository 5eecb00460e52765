"""Reconstructors on disk: one ONNX file with the graph and, as metadata, which model they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.graph_metadata import GraphMetadata, read_graph, write_graph
from taintwatch_models.radar_file import RadarInfo
from taintwatch_models.storage import STORED

__all__ = ["CmagFile", "CmagInfo", "attach_info", "read_cmag", "write_cmag"]

_ADVICE = "train reconstructors for this model with `taintwatch cmag train`"


@dataclass(frozen=True, slots=True)
class CmagInfo:
    """What is known of a model's reconstructors."""

    __pydantic_config__ = STORED

    model_hash: str
    """SHA-256 (hex) of the classifier's file that they were trained behind."""
    model_name: str
    channels: int
    """Of the classifier's last maps."""
    cells: tuple[int, int]
    classes: int
    size: int
    """Side of the reconstruction, pixels."""
    colours: int
    temperature: float
    statistics: tuple[str, ...]
    """The graph's statistics, each (B,)."""
    benign: str = ""
    """What they were trained on, for people."""
    benign_frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CmagFile:
    """A graph from `features`, `logits` and `picture` to reconstructions and statistics, and what is known of it."""

    proto: onnx.ModelProto
    info: CmagInfo


_METADATA = GraphMetadata("taintwatch.cmag", 1, CmagInfo, "CMAG reconstructors", _ADVICE)


def attach_info(proto: onnx.ModelProto, info: CmagInfo) -> CmagFile:
    """Write `info` into the graph's metadata."""
    _METADATA.attach(proto, info)
    return CmagFile(proto, info)


def read_cmag(path: Path, model: RadarInfo | None = None) -> CmagFile:
    """Read reconstructors. Raises `ModelError` where the file is missing, damaged, something else or not `model`'s."""
    if not path.is_file():
        raise ModelError(f"{path}: no such reconstructors; {_ADVICE}")
    proto = read_graph(path)
    info = _METADATA.read(proto, str(path))
    if model is not None:
        _check_fit(info, model, str(path))
    return CmagFile(proto, info)


def write_cmag(file: CmagFile, path: Path) -> None:
    """Write reconstructors whole or not at all. Raises `ModelError`."""
    write_graph(file.proto, path)


def _check_fit(info: CmagInfo, model: RadarInfo, where: str) -> None:
    """Raise `ModelError` where the reconstructors were trained behind another model than this one."""
    if info.model_hash != model.source_sha256:
        raise ModelError(
            f"{where}: these reconstructors belong to another model ('{info.model_name}', hash {info.model_hash[:12]}; "
            f"this one's is {model.source_sha256[:12]}); {_ADVICE}"
        )
    theirs, ours = (info.channels, *info.cells, info.classes), (model.channels, *model.cells, model.classes)
    if theirs != ours:
        raise ModelError(
            f"{where}: the reconstructors expect {theirs[0]} maps of {theirs[1]} x {theirs[2]} and {theirs[3]} "
            f"classes, but the model gives {ours[0]} of {ours[1]} x {ours[2]} and {ours[3]}; {_ADVICE}"
        )
