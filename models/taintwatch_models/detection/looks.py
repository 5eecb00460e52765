"""The two looks at a frame: the first forward with its free statistics, and the second for what deserves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import LayerCells
from taintwatch_models.detection.closeup import CLOSEUP, closeup_boxes, closeup_model, crops
from taintwatch_models.detection.intervention import margin_after_fill, transplant
from taintwatch_models.detection.look_graph import PLACE, STATISTICS, first_graph, free_names
from taintwatch_models.detection.reference import SECOND, Reference, combine, surprises_of
from taintwatch_models.detection.window_features import WindowFeatures
from taintwatch_models.detection.windows import Boxes, boxes_of
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.onnx_session import SessionSettings, open_session, run_session
from taintwatch_models.radar_file import RadarFile

__all__ = [
    "CombinedRadar",
    "FirstLook",
    "FirstScores",
    "Looked",
    "SecondLook",
    "SecondScores",
]

_FIRST = ("logits", "label", PLACE, STATISTICS)
Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What the first look gives, each with the batch first."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    places: NDArray[np.int64]
    """(B,): which of the 14 x 14 windows is suspect, row by row."""
    statistics: dict[str, NDArray[np.float64]]


class FirstLook:
    """One forward and what it gives for nothing: which window is suspect, and how unlike benign ones it is."""

    def __init__(
        self,
        radar: RadarFile,
        layers: Sequence[LayerCells],
        windows: WindowFeatures,
        settings: SessionSettings | None = None,
    ) -> None:
        """Raises `DeviceError`, `ModelError`."""
        self.info = radar.info
        graph = first_graph(radar, layers, windows)
        self._session, self.provider = open_session(graph.SerializeToString(), settings or SessionSettings())
        self._names = free_names(radar)

    def __call__(self, inputs: NDArray[np.float32]) -> Looked:
        """Look at (B, 3, H, W) inputs. Raises `InferenceError`."""
        feeds = {self.info.input: inputs}
        logits, labels, places, values = run_session(self._session, _FIRST, feeds, self.provider)
        return Looked(logits, labels, places, dict(zip(self._names, values.T.astype(np.float64), strict=True)))


class SecondLook:
    """Further forwards for the frames that deserve them: is the place necessary, does it suffice, how does it look?"""

    def __init__(self, radar: RadarFile, hosts: NDArray[np.uint8], settings: SessionSettings | None = None) -> None:
        """`hosts` (n, H, W, 3): benign pictures in the model's channel order."""
        self._info = radar.info
        preprocessing, settings = radar.info.preprocessing, settings or SessionSettings()
        forward, looks = keep_outputs(radar.proto, ["logits"]), closeup_model(preprocessing)
        self._session, self._provider = open_session(forward.SerializeToString(), settings)
        self._closeup, _ = open_session(looks.SerializeToString(), settings)
        self._fill = preprocessing.colour_input(preprocessing.mean_colour).reshape(3)
        self._hosts = preprocessing.normalise(hosts)
        self._host_labels = self.logits(self._hosts).argmax(axis=1)

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (B, classes) of inputs (B, 3, H, W)."""
        found: list[NDArray[np.float32]]
        found = run_session(self._session, ["logits"], {self._info.input: inputs}, self._provider)
        return found[0]

    def __call__(
        self, inputs: NDArray[np.float32], labels: NDArray[np.int64], places: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
        """Return the second statistics of (B, 3, H, W) inputs, and their labels once the window is filled, (B,) each.

        `labels` and `places` (B,): what the first look found.
        """
        boxes = boxes_of((inputs.shape[2], inputs.shape[3]))[places]
        margin, filled = margin_after_fill(self.logits, inputs, boxes, labels, self._fill)
        odds = transplant(self.logits, inputs, boxes, labels, self._hosts, self._host_labels)
        return {"necessity": margin, "sufficiency": odds, CLOSEUP: self.closeup(inputs, places)}, filled

    def closeup(self, inputs: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how much like an optimised pattern the window at each place looks from near by, (B,)."""
        boxes = closeup_boxes((inputs.shape[2], inputs.shape[3]))[places]
        found: list[NDArray[np.float32]]
        found = run_session(self._closeup, [CLOSEUP], {"crops": crops(inputs, boxes)}, self._provider)
        return found[0].astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class FirstScores:
    """The first look at a batch, and what follows from it."""

    looked: Looked
    boxes: Boxes
    """(B, 4): the suspect windows, in pixels of the input."""
    surprises: dict[str, NDArray[np.float64]]
    free: NDArray[np.float64]
    """(B,): the score without a second look."""
    deserving: NDArray[np.bool_]
    """(B,): whether a second look is due."""


@dataclass(frozen=True, slots=True, eq=False)
class SecondScores:
    """The second look at some rows of a batch."""

    rows: NDArray[np.intp]
    values: dict[str, NDArray[np.float64]]
    """Of each second statistic, (rows,)."""
    labels: NDArray[np.int64]
    """(rows,): once the window is filled."""

    @classmethod
    def none(cls) -> SecondScores:
        """No row was looked at."""
        return cls(np.empty(0, np.intp), {name: np.empty(0) for name in SECOND}, np.empty(0, np.int64))


class CombinedRadar:
    """A batch of inputs in; logits, and for each frame its window, statistics and score, out."""

    def __init__(
        self,
        radar: RadarFile,
        reference: Reference,
        settings: SessionSettings | None = None,
        beside: Callable[[NDArray[np.float32]], Outputs] | None = None,
    ) -> None:
        """Raises `DeviceError`, `ModelError`.

        `beside`: another radar for the same inputs, whose outputs are given too (other detectors judge by them).
        """
        self.info = radar.info
        self._beside = beside
        self._reference = reference
        self._first = FirstLook(radar, reference.layers, reference.windows, settings)
        self._second = SecondLook(radar, reference.hosts, settings)
        self.provider = self._first.provider

    def __call__(self, inputs: NDArray[np.float32]) -> Outputs:
        """Run a batch of inputs, (B, 3, H, W). Raises `InferenceError` where the runtime fails.

        Gives `logits`, `label`, `combined_score`, `combined_free`, `combined_deserving` (of the second look),
        `combined_looked` (whether it was taken: here always where it was deserved), `combined_box`
        (B, 4: top, left, height, width), `combined_label` (after the fill; -1: not filled) and
        each statistic as `combined_NAME` with its surprise as `combined_NAME_surprise`; those of a second look that was
        not taken are NaN.
        """
        first = self.first(inputs)
        return self.outputs(inputs, first, self.second(inputs, first, np.flatnonzero(first.deserving)))

    def first(self, inputs: NDArray[np.float32]) -> FirstScores:
        """Take the first look at a batch, and say which of it deserve the second. Raises `InferenceError`."""
        looked = self._first(inputs)
        surprises = surprises_of(self._reference.tails, looked.statistics)
        free = combine(surprises)
        boxes = boxes_of((inputs.shape[2], inputs.shape[3]))[looked.places]
        # A score that is not a number deserves it too.
        return FirstScores(looked, boxes, surprises, free, ~(free <= self._reference.gate))

    def second(self, inputs: NDArray[np.float32], first: FirstScores, rows: NDArray[np.intp]) -> SecondScores:
        """Take the second look at some rows of the batch. Raises `InferenceError`."""
        if not len(rows):
            return SecondScores.none()
        looked = first.looked
        return SecondScores(rows, *self._second(inputs[rows], looked.labels[rows], looked.places[rows]))

    def outputs(self, inputs: NDArray[np.float32], first: FirstScores, second: SecondScores) -> Outputs:
        """Join both looks, as `__call__` gives them."""
        count = len(first.free)
        statistics, surprises, score = dict(first.looked.statistics), dict(first.surprises), first.free
        for values in (statistics, surprises):
            values |= {name: np.full(count, np.nan) for name in SECOND}
        filled, taken = np.full(count, -1, np.int64), np.zeros(count, np.bool_)
        if len(second.rows):
            own = surprises_of(self._reference.tails, second.values)
            score = score.copy()
            score[second.rows] = combine({name: v[second.rows] for name, v in first.surprises.items()} | own)
            for name in SECOND:
                statistics[name][second.rows], surprises[name][second.rows] = second.values[name], own[name]
            filled[second.rows], taken[second.rows] = second.labels, True
        return {
            **({} if self._beside is None else self._beside(inputs)),
            "logits": first.looked.logits,
            "label": first.looked.labels,
            "combined_score": score,
            "combined_free": first.free,
            "combined_deserving": first.deserving,
            "combined_looked": taken,
            "combined_box": first.boxes,
            "combined_label": filled,
            **{f"combined_{name}": values for name, values in statistics.items()},
            **{f"combined_{name}_surprise": values for name, values in surprises.items()},
        }

    def warm_up(self, batch: int) -> None:
        """Run both looks once: the second's first run is the slow one, and a plain input may never come to it."""
        zeros = np.zeros((batch, 3, *self.info.preprocessing.size), np.float32)
        looked = self._first(zeros)
        self._second(zeros, looked.labels, looked.places)
        if self._beside is not None:
            self._beside(zeros)
