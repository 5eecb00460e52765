"""The two looks at a frame: the first forward with its free statistics, and the second for what deserves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import (
    ANOMALY_MAPS,
    LayerCells,
    largest_sum,
    saliency_shares,
    with_anomaly_maps,
    with_outputs,
)
from taintwatch_models.detection.appearance import APPEARANCE, APPEARANCE_MAP, appearance_nodes
from taintwatch_models.detection.cells import cell_names, with_cells
from taintwatch_models.detection.intervention import margin_after_fill, transplant
from taintwatch_models.detection.reference import LABEL, SECOND, Reference, combine, surprises_of
from taintwatch_models.detection.window_features import WindowFeatures, window_features
from taintwatch_models.detection.windows import FILL_SHARE, GRID, Boxes, boxes_at, salient_windows
from taintwatch_models.errors import InferenceError
from taintwatch_models.fills import mean_fill
from taintwatch_models.graph.anomaly import ANOMALY, gives_anomaly, region_map
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile

__all__ = [
    "CombinedRadar",
    "FirstLook",
    "FirstScores",
    "Looked",
    "SecondLook",
    "SecondScores",
    "first_graph",
    "learning_graph",
    "looked_from",
    "run_session",
]

SALIENCY = "saliency_map"
Outputs = Mapping[str, NDArray[Any]]


def first_graph(radar: RadarFile, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return the first look's graph: `logits`, `label`, `features`, `saliency_map` (B, h, w), and the anomaly maps."""
    graph, wanted = _with_saliency(radar)
    if layers:
        graph = with_anomaly_maps(graph, layers)
        wanted.append(ANOMALY_MAPS)
    return keep_outputs(graph, wanted)


def learning_graph(radar: RadarFile, layers: Sequence[LayerCells]) -> onnx.ModelProto:
    """Return the same with the cells of `with_cells` in place of the anomaly maps, which are still to be learnt."""
    graph, wanted = _with_saliency(radar)
    return keep_outputs(with_cells(graph, layers), [*wanted, *cell_names(layers)])


def _with_saliency(radar: RadarFile) -> tuple[onnx.ModelProto, list[str]]:
    b = GraphBuilder(radar.proto.opset_import[0].version, "taintwatch/saliency")
    saliency = b.squeeze(region_map(radar.proto), 1)
    b.nodes.append(onnx.helper.make_node("Identity", [saliency], [SALIENCY], name=SALIENCY))
    looks = appearance_nodes(b.opset, radar.info.input, radar.info.preprocessing)
    b.nodes.extend(looks.nodes)
    b.initializers |= looks.initializers
    shapes: dict[str, Sequence[str | int | None]] = {
        SALIENCY: ("batch", None, None), APPEARANCE: ("batch",), APPEARANCE_MAP: ("batch", GRID, GRID),
    }  # fmt: skip
    found = ["logits", "label", "features", *shapes, *([ANOMALY] if gives_anomaly(radar) else [])]
    return with_outputs(radar.proto, b, shapes), found


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What the first look gives, each with the batch first."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    features: NDArray[np.float32]
    """(B, channels): of the salient windows."""
    saliency_shares: NDArray[np.float32]
    """(B, 14, 14): see `anomaly.saliency_shares`."""
    appearance_map: NDArray[np.float32]
    """(B, 14, 14): see `appearance.appearance_nodes`."""
    places: NDArray[np.float64]
    """(B, 2): the suspect windows' centres as shares of the picture's height and width; NaN without anomaly maps."""
    statistics: dict[str, NDArray[np.float64]]

    def located(self, anomaly: NDArray[np.float32], early: NDArray[np.float32]) -> Looked:
        """Return the look with the places and statistics that the anomaly maps, (B, 14, 14) each, give.

        The place is where all three maps are largest together; a statistic leaves the appearance to its own.
        """
        values = {
            "anomaly": largest_sum(anomaly, self.saliency_shares)[0],
            "early_anomaly": largest_sum(early, self.saliency_shares)[0],
        }
        places = largest_sum(anomaly, self.saliency_shares, self.appearance_map)[1]
        return replace(self, places=places, statistics={**self.statistics, **values})

    def rows(self, rows: NDArray[np.intp]) -> Looked:
        """Return the look at some of the frames."""
        return Looked(
            self.logits[rows],
            self.labels[rows],
            self.features[rows],
            self.saliency_shares[rows],
            self.appearance_map[rows],
            self.places[rows],
            {name: values[rows] for name, values in self.statistics.items()},
        )


class FirstLook:
    """One forward and what it gives for nothing: which window is suspect, and how unlike benign ones it is."""

    def __init__(self, radar: RadarFile, layers: Sequence[LayerCells], settings: SessionSettings | None = None) -> None:
        """Raises `DeviceError`, `ModelError`."""
        self.info = radar.info
        self._session, self.provider = open_session(
            first_graph(radar, layers).SerializeToString(), settings or SessionSettings()
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: NDArray[np.float32], windows: WindowFeatures | None = None) -> Looked:
        """Look at (B, 3, H, W) inputs. Without `windows` that statistic is left out."""
        found = run_session(self._session, self._names, {self.info.input: inputs}, self.provider)
        return looked_from(dict(zip(self._names, found, strict=True)), windows)


def looked_from(outputs: Outputs, windows: WindowFeatures | None = None) -> Looked:
    """Return what the outputs of `first_graph` say. Without `windows` that statistic is left out."""
    saliency = outputs[SALIENCY]
    features = window_features(outputs["features"], *salient_windows(saliency))
    statistics = {"appearance": outputs[APPEARANCE].astype(np.float64)}
    if ANOMALY in outputs:
        statistics[LABEL] = outputs[ANOMALY].astype(np.float64)
    if windows is not None:
        statistics["feature_anomaly"] = windows.distances(features)
    nowhere = np.full((len(saliency), 2), np.nan)
    maps = saliency_shares(saliency), outputs[APPEARANCE_MAP]
    looked = Looked(outputs["logits"], outputs["label"], features, *maps, nowhere, statistics)
    found = outputs.get(ANOMALY_MAPS)
    return looked if found is None else looked.located(*found.reshape(-1, 2, GRID, GRID).swapaxes(0, 1))


class SecondLook:
    """Further forwards for the frames that deserve them: is the place necessary, does it suffice?"""

    def __init__(self, radar: RadarFile, hosts: NDArray[np.uint8], settings: SessionSettings | None = None) -> None:
        """`hosts` (n, H, W, 3): benign pictures in the model's channel order."""
        self._info = radar.info
        self._session, self._provider = open_session(
            keep_outputs(radar.proto, ["logits"]).SerializeToString(), settings or SessionSettings()
        )
        self._fill = mean_fill(radar.info.preprocessing).reshape(3, -1)[:, 0]
        self._hosts = radar.info.preprocessing.normalise(hosts)
        self._host_labels = self.logits(self._hosts).argmax(axis=1)

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (B, classes) of inputs (B, 3, H, W)."""
        found: NDArray[np.float32] = run_session(self._session, ["logits"], {self._info.input: inputs}, self._provider)[
            0
        ]
        return found

    def __call__(
        self, inputs: NDArray[np.float32], looked: Looked, rows: NDArray[np.intp]
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
        """Return the second statistics of some rows, and their labels once the window is filled, (rows,) each."""
        chosen, labels = inputs[rows], looked.labels[rows]
        boxes = boxes_at(looked.places[rows], FILL_SHARE, (inputs.shape[2], inputs.shape[3]))
        margin, filled = margin_after_fill(self.logits, chosen, boxes, labels, self._fill)
        odds = transplant(self.logits, chosen, boxes, labels, self._hosts, self._host_labels)
        return {"necessity": margin, "sufficiency": odds}, filled


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
        self._first = FirstLook(radar, reference.layers, settings)
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
        looked = self._first(inputs, self._reference.windows)
        surprises = surprises_of(self._reference.tails, looked.statistics)
        free = combine(surprises)
        boxes = boxes_at(looked.places, FILL_SHARE, (inputs.shape[2], inputs.shape[3]))
        # A score that is not a number deserves it too.
        return FirstScores(looked, boxes, surprises, free, ~(free <= self._reference.gate))

    def second(self, inputs: NDArray[np.float32], first: FirstScores, rows: NDArray[np.intp]) -> SecondScores:
        """Take the second look at some rows of the batch. Raises `InferenceError`."""
        if not len(rows):
            return SecondScores(rows, {name: np.empty(0) for name in SECOND}, np.empty(0, np.int64))
        return SecondScores(rows, *self._second(inputs, first.looked, rows))

    def outputs(self, inputs: NDArray[np.float32], first: FirstScores, second: SecondScores) -> Outputs:
        """Join both looks, as `__call__` gives them."""
        statistics, surprises, score = dict(first.looked.statistics), dict(first.surprises), first.free.copy()
        own = surprises_of(self._reference.tails, second.values)
        known = {name: values[second.rows] for name, values in first.surprises.items()}
        score[second.rows] = combine(known | own)
        for name in SECOND:
            statistics[name], surprises[name] = np.full(len(score), np.nan), np.full(len(score), np.nan)
            statistics[name][second.rows], surprises[name][second.rows] = second.values[name], own[name]
        filled, taken = np.full(len(score), -1, np.int64), np.zeros(len(score), np.bool_)
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
        looked = self._first(zeros, self._reference.windows)
        self._second(zeros, looked, np.arange(batch))
        if self._beside is not None:
            self._beside(zeros)


def run_session(session: Any, names: Sequence[str], feeds: dict[str, Any], provider: str) -> list[NDArray[Any]]:
    """Run a session. Raises `InferenceError` where the runtime fails."""
    try:
        found: list[NDArray[Any]] = session.run(list(names), feeds)
    except Exception as error:  # the runtime raises its own kinds, one for each provider
        raise InferenceError(f"inference failed on {provider}: {str(error).strip().splitlines()[0]}") from error
    return found
