"""What is known of a graph, as one JSON document in its ONNX file's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic

import onnx

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.weight_file import WeightFile
from taintwatch_models.storage import Stored, parse_json, validated, write_atomically

__all__ = ["GraphMetadata", "read_graph", "write_graph"]


@dataclass(frozen=True, slots=True)
class GraphMetadata(Generic[Stored]):
    """One kind of document, under a key of its own."""

    key: str
    version: int
    kind: type[Stored]
    what: str
    """What a graph with it is, for messages."""
    advice: str

    def attach(self, proto: onnx.ModelProto, info: Any) -> None:
        """Write `info`, of this kind, into the graph's metadata, in place of what was there."""
        text = json.dumps({"version": self.version, **asdict(info)})
        others = [entry for entry in proto.metadata_props if entry.key != self.key]
        del proto.metadata_props[:]
        proto.metadata_props.extend([*others, onnx.StringStringEntryProto(key=self.key, value=text)])

    def is_in(self, proto: onnx.ModelProto) -> bool:
        """Say whether the graph has such a document."""
        return any(entry.key == self.key for entry in proto.metadata_props)

    def read(self, proto: onnx.ModelProto, where: str) -> Stored:
        """Read the document back. Raises `ModelError`: there is none, of another version, damaged."""
        text = next((entry.value for entry in proto.metadata_props if entry.key == self.key), None)
        if text is None:
            raise ModelError(f"{where}: not {self.what}; {self.advice}")
        try:
            values: dict[str, Any] = parse_json(text.encode())
            version = values.pop("version")
            if version != self.version:
                raise ModelError(f"{where}: written by another version (format {version}); {self.advice}")
            return validated(self.kind, values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{where}: its metadata is damaged ({error}); {self.advice}") from None


def read_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file that is there. Raises `ModelError`."""
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf and onnx raise their own kinds
        raise ModelError(f"{path}: not a valid ONNX file ({type(error).__name__})") from None


def write_graph(proto: onnx.ModelProto, path: Path, weights: WeightFile | None = None) -> None:
    """Write an ONNX file whole or not at all; `weights`: where those of a large model lie. Raises `ModelError`."""
    try:
        write_atomically(path, proto.SerializeToString() if weights is None else weights.whole(proto))
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror or error})") from None
