"""Embeddings of aligned faces, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.faces.identity import EmbeddingModel, read_embedding
from taintwatch_models.loading import describe
from taintwatch_models.onnx_session import open_session
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import file_hash

__all__ = ["Embedder"]

_BATCH = 32


class Embedder:
    """A face embedding that runs. Its preprocessing is declared as any model's: in a TOML beside it."""

    def __init__(self, path: Path, preprocessing: str | None = None, *, device: str = "cpu", threads: int = 0) -> None:
        """Raises `ModelError`: see `read_embedding`; also where nothing declares what the embedding wants."""
        self.path, self.declaration = path, preprocessing
        self.model: EmbeddingModel = read_embedding(path)
        self.sha256 = file_hash(path)
        description = describe(path, preprocessing, None)
        if description is None or description.preprocessing is None:
            raise ModelError(
                f"{path}: nothing says how it wants its faces; put {path.stem}.toml beside it, or name one with "
                "--preprocessing (docs/faces.md has an example)"
            )
        self.preprocessing: Preprocessing = description.preprocessing
        if self.preprocessing.size != self.model.size or self.model.size[0] != self.model.size[1]:
            raise ModelError(
                f"{path}: takes faces of {self.model.size[0]} x {self.model.size[1]}, its preprocessing declares size "
                f"= {list(self.preprocessing.size)}; both must be the same square"
            )
        self._session = open_session(self.model.proto.SerializeToString(), device=device, threads=threads)[0]

    @property
    def size(self) -> int:
        """Side of an aligned face, pixels."""
        return self.model.size[0]

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, size, size, 3) uint8 blue-green-red to (N, dimensions)."""
        parts = [np.empty((0, self.model.dimensions), np.float32)]
        for start in range(0, len(faces), _BATCH):
            inputs = self.preprocessing(list(faces[start : start + _BATCH]))
            parts.append(self._session.run([self.model.output], {self.model.input: inputs})[0])
        return np.concatenate(parts)
