"""Would a cheaper second forward pay? `tight` with its second forward in int8: time, and what becomes of detection.

    python -m benchmarks.second_forward --model MODEL.onnx --images FOLDER --patches FOLDER [--json F]

The first forward stays in float32; the filled pictures go through a copy of the classifier that ONNX Runtime has
quantised: statically (QDQ, per channel, calibrated on filled benign pictures) or dynamically. Patches and photographs
are those of `python -m benchmarks.detection_table`; its --patches are read.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.gate import photograph_sets
from benchmarks.speed.stages import FILLED, growing
from benchmarks.speed.timing import interleaved, percentiles
from taintwatch_calibration.machine import machine
from taintwatch_calibration.rates import threshold_for
from taintwatch_calibration.results import write_json
from taintwatch_models.fills import make_fill
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.model_description import describe
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.radar_file import RadarFile

__all__ = ["main"]

Floats = NDArray[np.float32]
Forward = Callable[[Floats], Floats]


class _Filled(CalibrationDataReader):  # type: ignore[misc]
    """Filled benign pictures, one at a time."""

    def __init__(self, name: str, pictures: Floats) -> None:
        self._rows = iter([{name: row[None]} for row in pictures])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._rows, None)


class FirstHalf:
    """The check up to the filled picture, in float32."""

    def __init__(self, radar: RadarFile) -> None:
        self._info = radar.info
        self._first = OnnxRadar(radar, ("features",), session=SessionSettings(threads=1, device="cpu"))
        self._fill = make_fill("mean", "tight", radar.info.preprocessing)
        self._session, _ = open_session(
            growing(radar)["fill"].SerializeToString(), SessionSettings(device="cpu", threads=1)
        )
        self._given = {v.name for v in (*self._session.get_inputs(), *self._session.get_overridable_initializers())}

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Return filled pictures, labels, and margins before the fill."""
        filled, labels, before = [], [], []
        for start in range(0, len(pixels), 16):
            inputs = self._info.preprocessing.normalise(pixels[start : start + 16])
            first = self._first(inputs)
            feeds = {self._info.input: inputs, self._info.maps: first["features"], **self._fill(inputs)}
            feeds = {name: value for name, value in feeds.items() if name in self._given}
            filled.append(self._session.run([FILLED], feeds)[0])
            labels.append(first["label"])
            before.append(margins(first["logits"], first["label"]))
        return np.concatenate(filled), np.concatenate(labels), np.concatenate(before)


def margins(logits: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return the largest other logit minus the label's, (B,)."""
    rows, others = np.arange(len(logits)), logits.copy()
    others[rows, labels] = -np.inf
    return np.asarray(others.max(axis=1) - logits[rows, labels])


def forwards(radar: RadarFile, filled: Floats, folder: Path, threads: int) -> dict[str, Forward]:
    """Return the classifier in each precision, by name."""
    plain, ready = folder / "plain.onnx", folder / "ready.onnx"
    plain.write_bytes(keep_outputs(radar.proto, ["logits"]).SerializeToString())
    quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
    static, dynamic = folder / "static.onnx", folder / "dynamic.onnx"
    reader = _Filled(radar.info.input, filled)
    quantize_static(str(ready), str(static), reader, per_channel=True, weight_type=QuantType.QInt8)
    quantize_dynamic(str(ready), str(dynamic), weight_type=QuantType.QUInt8)

    def forward(path: Path) -> Forward:
        session, _ = open_session(path.read_bytes(), SessionSettings(device="cpu", threads=threads))
        return lambda inputs: np.asarray(session.run(["logits"], {radar.info.input: inputs})[0])

    return {"float32": forward(plain), "int8 static": forward(static), "int8 dynamic": forward(dynamic)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder with a labels.csv")
    parser.add_argument("--patches", type=Path, required=True, help="--patches of detection_table.py")
    parser.add_argument("--target", default="toaster")
    parser.add_argument("--iterations", type=int, default=300, help="of the patches")
    parser.add_argument("--fpr", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises at length
    radar = prepare(options.model, describe(options.model)).radar
    choose, held, attacks = photograph_sets(options, radar)
    half = FirstHalf(radar)
    sets = {name: half(pixels) for name, pixels in {"choose": choose, "held": held, **attacks}.items()}
    document: dict[str, Any] = {"model": radar.info.name, "threads": options.threads, **machine(), "forwards": {}}
    with tempfile.TemporaryDirectory() as folder:
        made = forwards(radar, sets["choose"][0][:64], Path(folder), options.threads)
        one = sets["held"][0][:1]
        times = interleaved({name: lambda f=f: f(one) for name, f in made.items()}, options.rounds)  # type: ignore[misc]
        for name, forward in made.items():
            scores = {key: _score(forward, *values) for key, values in sets.items()}
            threshold = threshold_for(scores["choose"], options.fpr)
            attacked = np.concatenate([scores[key] for key in attacks])
            found = {
                "ms": percentiles(times[name]),
                "ratio": round(float(np.median(times[name] / times["float32"])), 3),
                "tpr": round(float((attacked > threshold).mean()), 4),
                "held_out_fpr": round(float((scores["held"] > threshold).mean()), 4),
            }
            document["forwards"][name] = found
            print(f"{name}: {found}", flush=True)
    if options.json is not None:
        write_json(options.json, document)


def _score(forward: Forward, filled: Floats, labels: NDArray[np.int64], before: Floats) -> Floats:
    """The product's score: the margin after the fill minus half of that before."""
    parts = [forward(filled[start : start + 16]) for start in range(0, len(filled), 16)]
    return margins(np.concatenate(parts), labels) - np.float32(0.5) * before


if __name__ == "__main__":
    main()
