"""A classifier from a radar: a batch of frames in, predictions with the radar's statistics out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.detection.detector import window_statistics
from taintwatch_models.errors import BadFrame
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.onnx_radar import RadarOutputs
from taintwatch_models.radar_file import RadarInfo
from taintwatch_models.records import Frame, Prediction, RadarStatistics, read_only

__all__ = ["Radar", "RadarClassifier", "WarmsUp", "prediction_of"]


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
