"""The reconstructors on ONNX Runtime: features, logits and pictures in; reconstructions and statistics out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.errors import InferenceError, UsageError, first_line
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.onnx_session import SessionSettings, open_session

__all__ = ["PICTURES", "CmagRunner", "reduce_pictures"]

PICTURES = ("reconstruction", "fmr", "lr")
"""Outputs that are pictures: GR's, FMR's and LR's, (B, colours, size, size) in [0, 1]."""


def reduce_pictures(pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Return pictures (B, H, W, 3) 0..255 as the reconstructors compare them: (B, 3, size, size), float32 in [0, 1]."""
    interpolation = cv2.INTER_AREA if size < max(pixels.shape[1:3]) else cv2.INTER_LINEAR
    planes = np.empty((len(pixels), pixels.shape[3], size, size), np.float32)
    for image, out in zip(pixels, planes, strict=True):  # few calls: this runs for every frame of a camera
        small = cv2.resize(image, (size, size), interpolation=interpolation)
        np.multiply(small.transpose(2, 0, 1), np.float32(1 / 255), out=out)
    return planes


class CmagRunner:
    """Runs the graph. Only what is asked for is computed."""

    def __init__(
        self,
        file: CmagFile,
        outputs: Sequence[str] | None = None,
        *,
        threads: int = 1,
    ) -> None:
        """`outputs`: names of statistics and `PICTURES`; None: all.

        On the CPU, with one thread by default: the graph is so small that handing it to a GPU, or to a pool of threads
        that the classifier's own pool contends with, costs more than it saves. Raises `ModelError`, `DeviceError`.
        """
        self.info = file.info
        self.outputs = tuple(outputs if outputs is not None else (*PICTURES, *file.info.statistics))
        given = (*PICTURES, *file.info.statistics)
        unknown = set(self.outputs) - set(given)
        if unknown:
            raise UsageError(f"the reconstructors give no '{min(unknown)}'; they give {', '.join(given)}")
        self.statistics = tuple(name for name in self.outputs if name not in PICTURES)
        self._whole = _Graph(file, self.outputs, threads)
        # Pictures are looked at now and then, statistics are wanted of every frame, and not all need the pictures.
        alone = self.statistics if self.statistics else self.outputs
        self._measuring = self._whole if alone == self.outputs else _Graph(file, alone, threads)
        self.provider = self._whole.provider

    def __call__(
        self, features: NDArray[np.float32], logits: NDArray[np.float32], pictures: NDArray[np.float32]
    ) -> Mapping[str, NDArray[Any]]:
        """Run features (B, channels, h, w), logits (B, classes) and reduced pictures (B, colours, size, size).

        Returns the outputs by name, each with the batch first. Raises `UsageError` for sizes that do not match,
        `InferenceError` where the runtime fails.
        """
        return self._run(self._whole, features, logits, pictures)

    def measure(
        self, features: NDArray[np.float32], logits: NDArray[np.float32], pictures: NDArray[np.float32]
    ) -> Mapping[str, NDArray[Any]]:
        """Return the statistics alone, as a call does and raising what it raises."""
        return self._run(self._measuring, features, logits, pictures)

    def _run(
        self,
        graph: _Graph,
        features: NDArray[np.float32],
        logits: NDArray[np.float32],
        pictures: NDArray[np.float32],
    ) -> Mapping[str, NDArray[Any]]:
        info = self.info
        found = (features.shape[1:], logits.shape[1:], pictures.shape[1:])
        wanted = ((info.channels, *info.cells), (info.classes,), (info.colours, info.size, info.size))
        if found != wanted or not len(features) == len(logits) == len(pictures):
            raise UsageError(
                f"the reconstructors of '{info.model_name}' expect features, logits and pictures of {wanted}, "
                f"not {len(features)}, {len(logits)} and {len(pictures)} of {found}"
            )
        feeds = {"features": features, "logits": logits, "picture": pictures}
        try:
            return graph(feeds)
        except Exception as error:  # the runtime raises its own kinds
            raise InferenceError(f"CMAG failed on {self.provider}: {first_line(error)}") from error


class _Graph:
    """A part of the reconstructors' graph, loaded."""

    def __init__(self, file: CmagFile, outputs: Sequence[str], threads: int) -> None:
        self._outputs = tuple(outputs)
        graph = keep_outputs(file.proto, self._outputs).SerializeToString()
        self._session, self.provider = open_session(graph, SessionSettings(device="cpu", threads=threads))
        self._wanted = {value.name for value in self._session.get_inputs()}

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        values = self._session.run(self._outputs, {name: feeds[name] for name in feeds if name in self._wanted})
        return dict(zip(self._outputs, values, strict=True))
