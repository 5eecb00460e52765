"""A prepared model on ONNX Runtime: a batch of frames in, predictions with TaintRadar's statistics out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.bound import BoundSession, device_of
from taintwatch_models.calibration_file import Calibration
from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.detection.detector import window_statistics
from taintwatch_models.errors import BadFrame, InferenceError
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.graph.transforms import PIXELS
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile, RadarInfo
from taintwatch_models.radar_graphs import radar_graphs
from taintwatch_models.records import Frame, Prediction, RadarStatistics, read_only

__all__ = ["OnnxRadar", "Radar", "RadarClassifier", "RadarOutputs", "WarmsUp", "prediction_of"]

RadarOutputs = Mapping[str, NDArray[Any]]
"""A radar's outputs by name, each with the batch first: see docs/radar-graph.md."""


class Radar(Protocol):
    """A batch of inputs in, a radar's outputs out: `OnnxRadar`, or `TorchRadar` with autograd."""

    @property
    def info(self) -> RadarInfo: ...

    @property
    def provider(self) -> str: ...

    def __call__(self, inputs: NDArray[np.float32]) -> RadarOutputs: ...


@runtime_checkable
class WarmsUp(Protocol):
    """A radar that runs more than a plain input would make it run."""

    def warm_up(self, batch: int) -> None: ...


@runtime_checkable
class SeesFrames(Protocol):
    """A radar that judges frames in time: it wants to know which inputs come from the same camera, and when."""

    def of_frames(self, inputs: NDArray[np.float32], frames: Sequence[Frame]) -> RadarOutputs: ...


class OnnxRadar:
    """The numeric core: a batch of inputs in, arrays out. Its `paper` skips the third forward where it can."""

    def __init__(
        self,
        radar: RadarFile,
        wanted: Sequence[str] = ("tight",),
        calibration: Calibration | None = None,
        session: SessionSettings | None = None,
        *,
        from_maps: bool = False,
    ) -> None:
        """Raises `DeviceError`, `ModelError`, `ConfigError` (an unreadable fill).

        `wanted`: beside logits and label, which variants' statistics (`tight`, `paper`), and whether the last maps
        (`features`). `from_maps`: the first forward was run elsewhere; every call is given its last maps, as
        `info.maps`.
        """
        graphs = radar_graphs(
            radar, wanted, calibration or Calibration(), session or SessionSettings(), from_maps=from_maps
        )
        self.info, self.outputs, self.takes_pixels = radar.info, graphs.outputs, graphs.takes_pixels
        self._fills, session = graphs.fills, graphs.session
        opened, self.provider = open_session(graphs.checked.SerializeToString(), session)
        self._third = None
        if graphs.third is not None:
            self._third, _ = open_session(graphs.third.SerializeToString(), replace(session, cuda_graph=False))
        self._accepted = {value.name for value in opened.get_overridable_initializers()}
        constants = {name: value for name, value in graphs.constants.items() if name in self._accepted}
        place = device_of(self.provider)
        self._run: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]
        if session.bound or place != "cpu":
            fixed = session.batch if session.cuda_graph else None
            self._run = BoundSession(opened, self.outputs, device=place, constants=constants, fixed_batch=fixed)
        else:
            self._run = lambda feeds: dict(zip(self.outputs, opened.run(self.outputs, constants | feeds), strict=True))

    def __call__(self, inputs: NDArray[Any], **overrides: NDArray[Any]) -> RadarOutputs:
        """Run a batch of inputs, (B, 3, H, W); of pixels, (B, H, W, 3) uint8, where `takes_pixels`.

        `overrides` replaces optional inputs of the graph for this call. Raises `InferenceError` where the runtime
        fails.
        """
        feeds: dict[str, Any] = {PIXELS if self.takes_pixels else self.info.input: inputs}
        for fill in self._fills:
            values = fill(self.info.preprocessing.normalise(inputs) if self.takes_pixels else inputs)
            feeds |= {name: value for name, value in values.items() if name in self._accepted}
        try:
            outputs = self._run(feeds | overrides)
            if self._third is not None:
                self._finish_paper(outputs)
        except Exception as error:  # the runtime raises its own kinds, one for each provider
            raise InferenceError(
                f"inference failed on {self.provider}: {str(error).strip().splitlines()[0]}"
            ) from error
        return outputs

    def _finish_paper(self, outputs: dict[str, NDArray[Any]]) -> None:
        """The third forward, for those whose intersection is not empty; for the others the rank change is 0."""
        label = outputs["label"]
        new_label, rank = label.copy(), np.zeros_like(label)
        rows = np.flatnonzero(outputs["paper_mask"].any(axis=(1, 2)))
        filled = outputs.pop("paper_filled")
        if len(rows) and self._third is not None:
            chosen = filled if len(rows) == len(filled) else filled[rows]
            logits = self._third.run(None, {self.info.input: chosen})[0]
            own = logits[np.arange(len(rows)), label[rows]]
            rank[rows] = (logits > own[:, None]).sum(axis=1)
            new_label[rows] = logits.argmax(axis=1)
        outputs["paper_rank"], outputs["paper_label"] = rank, new_label


class RadarClassifier:
    """Frames in, predictions out; a frame that cannot be used is rejected, the others go on."""

    def __init__(
        self,
        radar: Radar,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._radar, self._clock = radar, clock
        info = radar.info
        self._card = ModelCard(info.name, info.source_sha256, radar.provider, info.labels, info.preprocessing.size)

    @property
    def card(self) -> ModelCard:
        return self._card

    def warm_up(self, batches: Sequence[int] = (1,)) -> None:
        """Run each batch size once on a plain input, so that the first frame is not the slow one."""
        info = self._radar.info
        for batch in batches:
            if isinstance(self._radar, WarmsUp):
                self._radar.warm_up(batch)
                continue
            self._radar(self._inputs(np.zeros((batch, *info.preprocessing.size, 3), np.uint8)))

    def _inputs(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """(B, H, W, 3) pixels as the radar takes them: on a GPU they are uploaded as they are."""
        return (
            pixels if getattr(self._radar, "takes_pixels", False) else self._radar.info.preprocessing.normalise(pixels)
        )

    def _outputs(self, inputs: NDArray[Any], frames: Sequence[Frame]) -> RadarOutputs:
        return self._radar.of_frames(inputs, frames) if isinstance(self._radar, SeesFrames) else self._radar(inputs)

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        results: dict[int, Prediction | Rejected] = {}
        pixels, rows = [], []
        for row, frame in enumerate(frames):
            try:
                pixels.append(self._radar.info.preprocessing.pixels(frame.image))
                rows.append(row)
            except BadFrame as error:
                results[row] = Rejected(frame, str(error))
        if rows:
            start = self._clock()
            outputs = self._outputs(self._inputs(np.stack(pixels)), [frames[row] for row in rows])
            latency_ms = (self._clock() - start) * 1e3 / len(rows)
            for index, row in enumerate(rows):
                result = prediction_of(frames[row], outputs, index, self._radar.info, latency_ms)
                if isinstance(result, Prediction) and result.features is not None:
                    result = replace(result, pixels=read_only(pixels[index]))
                results[row] = result
        return [results[row] for row in range(len(frames))]


def prediction_of(
    frame: Frame, outputs: RadarOutputs, index: int, info: RadarInfo, latency_ms: float
) -> Prediction | Rejected:
    """Take one row of a radar's outputs. Logits that are not finite reject the frame."""
    logits = outputs["logits"][index]
    if not np.isfinite(logits).all():
        return Rejected(frame, "the model's logits are not finite for this frame")
    label = int(outputs["label"][index])
    others = np.exp(logits - logits[label]).sum() if not info.multi_label else 1 + np.exp(-logits[label])
    confidence = float(1.0 / others)
    features = outputs.get("features")
    return Prediction(
        frame=frame,
        logits=read_only(logits),
        label=label,
        label_name=info.labels[label],
        confidence=confidence,
        latency_ms=latency_ms,
        radar=_statistics(outputs, index),
        window=window_statistics(outputs, index),
        features=None if features is None else read_only(features[index]),
    )


def _statistics(outputs: RadarOutputs, index: int) -> RadarStatistics | None:
    gate = float(outputs["gate"][index]) if "gate" in outputs else None
    if gate is not None and not outputs["checked"][index]:
        anomaly = float(outputs[ANOMALY][index]) if ANOMALY in outputs else None
        return RadarStatistics(saliency_concentration=0.0, anomaly=anomaly, gate=gate, checked=False)
    if "saliency_concentration" not in outputs:
        return None

    def scalar(name: str, kind: type) -> Any:
        return kind(outputs[name][index]) if name in outputs else None

    def mask(name: str) -> Any:
        return read_only(outputs[name][index]) if name in outputs else None

    return RadarStatistics(
        saliency_concentration=float(outputs["saliency_concentration"][index]),
        anomaly=scalar(ANOMALY, float),
        tight_mask=mask("tight_mask"),
        tight_label=scalar("tight_label", int),
        tight_rank=scalar("tight_rank", int),
        tight_margin=scalar("tight_margin", float),
        tight_swing=scalar("tight_swing", float),
        paper_mask=mask("paper_mask"),
        paper_label=scalar("paper_label", int),
        paper_rank=scalar("paper_rank", int),
        gate=gate,
    )
