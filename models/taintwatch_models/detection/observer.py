"""What learning takes from pictures: the first look and the layers' cells, both from one forward of each picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import LayerCells, largest_sum
from taintwatch_models.detection.appearance import APPEARANCE, APPEARANCE_MAP
from taintwatch_models.detection.cells import CellSums, cell_names, log_averages
from taintwatch_models.detection.look_graph import SALIENCY_SHARES, WINDOW_FEATURES, learning_graph
from taintwatch_models.detection.reference import LABEL
from taintwatch_models.detection.windows import PLACES
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.onnx_session import SessionSettings, open_session, run_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["FreeLooks", "Observed", "Observer", "Recalled", "cell_sums", "raw_maps"]

_BATCH = 16
_MOST_KEPT = 512 * 2**20
"""Bytes of cells that are kept for the second time that they are needed; what takes more is forwarded again."""

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class FreeLooks:
    """What the first look at some pictures gives before there are anomaly maps."""

    labels: NDArray[np.int64]
    features: NDArray[np.float32]
    """(B, channels): of the salient windows."""
    saliency_shares: NDArray[np.float32]
    """(B, 196): see `anomaly.share_nodes`."""
    appearance_map: NDArray[np.float32]
    """(B, 196): see `appearance.appearance_nodes`."""
    statistics: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, outputs: dict[str, NDArray[Any]]) -> FreeLooks:
        """Take what `learning_graph` gives."""
        known = {"appearance": APPEARANCE, LABEL: ANOMALY}
        statistics = {name: outputs[key].astype(np.float64) for name, key in known.items() if key in outputs}
        shares, appearance = (outputs[name].reshape(-1, PLACES) for name in (SALIENCY_SHARES, APPEARANCE_MAP))
        return cls(outputs["label"], outputs[WINDOW_FEATURES], shares, appearance, statistics)

    @classmethod
    def joined(cls, parts: Sequence[FreeLooks]) -> FreeLooks:
        """Return the looks at all pictures of some batches, one after the other."""
        return cls(
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.saliency_shares for part in parts]),
            np.concatenate([part.appearance_map for part in parts]),
            {name: np.concatenate([part.statistics[name] for part in parts]) for name in parts[0].statistics},
        )

    def located(
        self, anomaly: NDArray[np.float32], early: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        """Return the suspect places, (B,), and the statistics, that the anomaly maps, (B, 196) each, give.

        The place is where all three maps are largest together; a statistic leaves the appearance to its own.
        """
        values = {
            "anomaly": largest_sum(anomaly, self.saliency_shares)[0],
            "early_anomaly": largest_sum(early, self.saliency_shares)[0],
        }
        return largest_sum(anomaly, self.saliency_shares, self.appearance_map)[1], {**self.statistics, **values}


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What one batch of pictures gave."""

    start: int
    """Which of all pictures is its first."""
    looked: FreeLooks
    cells: list[NDArray[np.float32]]
    """Of each layer, (B, h', w', c)."""


class Observer:
    """Runs the classifier over pictures, a batch at a time; `tell` hears how many forwards each batch took."""

    def __init__(
        self, radar: RadarFile, layers: Sequence[LayerCells], settings: SessionSettings, tell: Callable[[int], None]
    ) -> None:
        """Raises `ModelError`."""
        self._info, self._tell = radar.info, tell
        self._session, self._provider = open_session(learning_graph(radar, layers).SerializeToString(), settings)
        self._names = [output.name for output in self._session.get_outputs()]
        self._cells = cell_names(layers)
        self._bytes = sum(4 * layer.side[0] * layer.side[1] * len(layer.channels) for layer in layers)

    def __call__(self, pictures: Pictures, first: int = 0) -> Iterator[Observed]:
        """Yield the batches of (n, H, W, 3) pictures, the first of which counts as number `first`."""
        for start in range(0, len(pictures), _BATCH):
            inputs = self._info.preprocessing.normalise(pictures[start : start + _BATCH])
            found = run_session(self._session, self._names, {self._info.input: inputs}, self._provider)
            outputs = dict(zip(self._names, found, strict=True))
            cells = [np.ascontiguousarray(np.moveaxis(outputs[name], 1, -1), np.float32) for name in self._cells]
            self._tell(len(inputs))
            yield Observed(first + start, FreeLooks.of(outputs), cells)

    def keeps(self, count: int) -> bool:
        """Say whether the cells of so many pictures are kept."""
        return count * self._bytes <= _MOST_KEPT


class Recalled:
    """Pictures that are gone through twice: the second time from memory where that holds their cells."""

    def __init__(self, observer: Observer, pictures: Pictures) -> None:
        self._observer, self._pictures = observer, pictures
        self._kept: list[Observed] | None = [] if observer.keeps(len(pictures)) else None

    def __iter__(self) -> Iterator[Observed]:
        if self._kept:
            yield from self._kept
            return
        for observed in self._observer(self._pictures):
            if self._kept is not None:
                self._kept.append(observed)
            yield observed


def cell_sums(
    observed: Iterable[Observed], layers: Sequence[LayerCells], folds: NDArray[np.intp]
) -> tuple[list[list[CellSums]], FreeLooks]:
    """Return each fold's sums of each layer, and the first looks of all pictures together."""
    sums = [[CellSums.empty(len(layer.channels)) for layer in layers] for _ in range(int(folds.max()) + 1)]
    looks = []
    for batch in observed:
        for fold, rows in _by_fold(batch, folds):
            for part, own in zip(sums[fold], batch.cells, strict=True):
                part.add(own[rows].reshape(-1, own.shape[-1]))
        looks.append(batch.looked)
    return sums, FreeLooks.joined(looks)


def raw_maps(
    observed: Iterable[Observed], partial: Sequence[Sequence[LayerCells]], folds: NDArray[np.intp]
) -> tuple[NDArray[np.float32], FreeLooks]:
    """Return each picture's unscaled maps by the reference without its own fold, (n, layers, 196), and its look.

    `partial`: for each fold, the layers as the other folds know them.
    """
    found = np.empty((len(folds), len(partial[0]), PLACES), np.float32)
    looks = []
    for batch in observed:
        for fold, rows in _by_fold(batch, folds):
            for index, (own, layer) in enumerate(zip(batch.cells, partial[fold], strict=True)):
                found[batch.start + rows, index] = log_averages(own[rows], layer)
        looks.append(batch.looked)
    return found, FreeLooks.joined(looks)


def _by_fold(batch: Observed, folds: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield each fold that is in a batch, and which of its rows are of it."""
    own = folds[batch.start : batch.start + len(batch.looked.labels)]
    for fold in np.unique(own):
        yield int(fold), np.flatnonzero(own == fold)
