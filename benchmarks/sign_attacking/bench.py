"""What the bench works with: the model twice (Torch crafts, ONNX Runtime judges) and the pictures in three parts."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.signs.benign_scenes import (
    BACKGROUND,
    BenignPictures,
    card_scenes,
    empty_scenes,
    halves,
    joined,
    read_photographs,
)
from benchmarks.signs.dataset import LabelledImages, load_test, load_tracks, split_by_track
from taintwatch_models.graph.split import classifier_of
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.storage import write_atomically
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["Judge", "Parts", "differentiable", "load_parts", "parts_kept"]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Pictures in three parts that share no sign, no photograph and no scene."""

    crafting: BenignPictures
    tuning: BenignPictures
    """Thresholds (and, before, settings) are chosen on these."""
    reporting: BenignPictures
    """False alarms and detections are reported on these."""
    further: BenignPictures
    """Scenes before the tuning part's photographs, from which only what is usual is learnt."""


def load_parts(data: Path, scenes: Path, preprocessing: Preprocessing, *, seed: int = 0, simulated: int = 300) -> Parts:
    """Read and simulate everything. Raises `UsageError` for missing files."""
    rng = np.random.default_rng([seed, 0xBE])
    training, _ = split_by_track(load_tracks(data), np.random.default_rng(0))
    photographs = read_photographs(scenes)
    tuning, reporting = halves(load_test(data), seed)
    craft = joined([_crops(training, rng), empty_scenes(photographs[::3], simulated // 3, rng, preprocessing)])
    choose, report = (
        joined([crops, *_simulated(photographs[third::3], simulated, rng, preprocessing)])
        for crops, third in ((tuning, 1), (reporting, 2))
    )
    more = _simulated(photographs[1::3], 2 * simulated, np.random.default_rng([seed, 0xBF]), preprocessing)
    return Parts(craft, choose, report, joined(list(more)))


def _simulated(
    photographs: list[NDArray[np.uint8]], scenes: int, rng: np.random.Generator, preprocessing: Preprocessing
) -> tuple[BenignPictures, BenignPictures]:
    cards = card_scenes(photographs, scenes, rng, preprocessing)
    return cards, empty_scenes(photographs, scenes // 2, rng, preprocessing)


def parts_kept(folder: Path, make: Callable[[], Parts]) -> Parts:
    """Return the parts kept in `folder`, or make and keep them."""
    path, names = folder / "parts.npz", ("crafting", "tuning", "reporting", "further")
    if not path.is_file():
        parts = make()
        arrays = {f"{n}_{f}": getattr(getattr(parts, n), f) for n in names for f in ("pixels", "labels", "groups")}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomically(path, buffer.getvalue())
        return parts
    with np.load(path, allow_pickle=False) as kept:
        return Parts(*(BenignPictures(*(kept[f"{n}_{f}"] for f in ("pixels", "labels", "groups"))) for n in names))


def _crops(training: LabelledImages, rng: np.random.Generator, each: int = 40) -> BenignPictures:
    """At most `each` training pictures of every class."""
    chosen = np.concatenate(
        [rng.permutation(np.flatnonzero(training.labels == label))[:each] for label in range(BACKGROUND)]
    )
    return BenignPictures(training.images[chosen], training.labels[chosen], training.tracks[chosen])


class Bfloat16:
    """A classifier that can be cut at its last maps, in bfloat16: twice as fast. Success is judged in float32."""

    def __init__(self, graph: TorchGraph) -> None:
        self._graph = graph

    def maps(self, inputs: Tensor) -> Tensor:
        """Return the last maps."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self._graph.maps(inputs.contiguous(memory_format=torch.channels_last))

    def head(self, maps: Tensor) -> Tensor:
        """Return the logits, float32."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self._graph.head(maps).float()


def differentiable(radar: RadarFile) -> Bfloat16:
    """Return a prepared classifier that autograd goes through."""
    return Bfloat16(TorchGraph(*classifier_of(radar)))


class Judge:
    """The product's own classifier on pixels (N, 64, 64, 3) in the model's channel order."""

    def __init__(self, radar: RadarFile) -> None:
        self.preprocessing = radar.info.preprocessing
        self._run = OnnxRadar(radar, (), session=SessionSettings(threads=1, device="cpu"))

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the top label of each, (N,)."""
        labels = [
            self._run(self.preprocessing.normalise(pixels[i : i + 16]))["label"] for i in range(0, len(pixels), 16)
        ]
        return np.concatenate(labels) if labels else np.zeros(0, np.int64)
