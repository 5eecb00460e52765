"""The gate: one forward for every frame, the check of TaintRadar only for those that deserve it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.calibration_file import GateCalibration
from taintwatch_models.errors import CalibrationError
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.graph.gate import GATE_MARGIN, gate_of
from taintwatch_models.onnx_radar import OnnxRadar, RadarOutputs
from taintwatch_models.onnx_session import SessionSettings, open_session, run_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["GateScorer", "GatedRadar", "SpotCheck", "gate_scores", "random_check"]

SpotCheck = Callable[[int], NDArray[np.bool_]]
"""Which of so many rows are checked in any case, (B,)."""


def random_check(share: float, draw: Callable[[int], NDArray[np.float64]] | None = None) -> SpotCheck:
    """Check a random share of the rows, so that a patch made to slip through the gate cannot count on it.

    `draw` gives so many random numbers in [0, 1); by default a generator seeded by the operating system, known to
    nobody.
    """
    numbers = draw or np.random.default_rng().random
    return lambda count: numbers(count) < share


def gate_scores(outputs: RadarOutputs, gate: GateCalibration) -> NDArray[np.float64]:
    """Return each row's score, (B,): `tight`'s, with the best window dropped in place of a region filled."""
    logits, label = outputs["logits"], outputs["label"]
    rows = np.arange(len(logits))
    own = logits[rows, label]
    others = logits.copy()
    others[rows, label] = -np.inf
    before = others.max(axis=1) - own
    scores = np.asarray(outputs[GATE_MARGIN] - gate.swing_weight * before, np.float64)
    if gate.anomaly_weight:
        if ANOMALY not in outputs:
            raise CalibrationError(
                "the gate was calibrated with the maps' anomaly score, which this model's graph does not give; "
                "calibrate it again with `taintwatch calibrate gate`"
            )
        scores = scores + gate.anomaly_weight * outputs[ANOMALY]
    return scores


class GateScorer:
    """The classifier with the gate's statistics and nothing else: what every frame goes through."""

    def __init__(self, radar: RadarFile, session: SessionSettings | None = None) -> None:
        """Raises `ModelError`, `DeviceError`."""
        self.info = radar.info
        self._session, self.provider = open_session(gate_of(radar).SerializeToString(), session)
        self._outputs = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return `logits`, `label`, `features`, `gate_margin` and perhaps `anomaly` of (B, 3, H, W).

        Raises `InferenceError`.
        """
        values = run_session(self._session, self._outputs, {self.info.input: inputs}, self.provider)
        return dict(zip(self._outputs, values, strict=True))


class GatedRadar:
    """A `Radar` that checks only the rows whose gate score exceeds the calibrated threshold, and a random share.

    Its outputs have `gate` (B,), the score, and `checked` (B,) beside a radar's; what was not checked is 0 there.
    """

    def __init__(
        self,
        score: GateScorer,
        check: OnnxRadar,
        gate: GateCalibration,
        spot_check: SpotCheck,
        *,
        give_maps: bool = False,
    ) -> None:
        """`check`: of the same model, opened `from_maps`. `spot_check` picks from the rows whatever they score.

        `give_maps`: whether the last maps of every row are given, as `features`.
        """
        self.info = check.info
        self._score, self._check, self._gate, self._spot_check = score, check, gate, spot_check
        self._kept = (ANOMALY, "features") if give_maps else (ANOMALY,)

    @property
    def provider(self) -> str:
        """What runs it."""
        return self._check.provider

    def __call__(self, inputs: NDArray[np.float32]) -> RadarOutputs:
        """Run a batch of inputs, (B, 3, H, W). Raises `InferenceError` where the runtime fails."""
        first = self._score(inputs)
        scores = gate_scores(first, self._gate)
        passed = scores <= self._gate.threshold  # a score that is not a number is checked
        checked = ~passed | self._spot_check(len(scores))
        outputs: dict[str, NDArray[Any]] = {"logits": first["logits"], "label": first["label"]}
        outputs |= {"gate": scores, "checked": checked}
        outputs |= {name: first[name] for name in self._kept if name in first}
        rows = np.flatnonzero(checked)
        if len(rows):
            self._check_rows(inputs, first["features"], rows, outputs)
        return outputs

    def warm_up(self, batch: int) -> None:
        """Run both parts once: the check's first run is the slow one, and a plain input may never come to it."""
        zeros = np.zeros((batch, 3, *self.info.preprocessing.size), np.float32)
        self(zeros)  # says so at once where the graph lacks what the gate was calibrated with
        self._check(zeros, **{self.info.maps: self._score(zeros)["features"]})

    def _check_rows(
        self, inputs: NDArray[np.float32], maps: NDArray[np.float32], rows: NDArray[np.intp],
        outputs: dict[str, NDArray[Any]],
    ) -> None:  # fmt: skip
        """Check some rows; put what comes out into `outputs` in their places."""
        every = len(rows) == len(inputs)
        chosen = (inputs, maps) if every else (inputs[rows], maps[rows])
        for name, values in self._check(chosen[0], **{self.info.maps: chosen[1]}).items():
            if name in outputs:
                continue
            if every:
                outputs[name] = values
            else:
                outputs[name] = np.zeros((len(inputs), *values.shape[1:]), values.dtype)
                outputs[name][rows] = values
