"""From a user's model file to a radar graph: read, split, transpose, write, and check that it still says the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.fills import mean_fill, noise_fill
from taintwatch_models.graph.bounds import refuse_oversized
from taintwatch_models.graph.formats import to_float32
from taintwatch_models.graph.plain_model import PlainModel, plain_model
from taintwatch_models.graph.radar import build_radar
from taintwatch_models.graph.split import Split, find_split
from taintwatch_models.graph.time_box import PREPARE_S, TimeBox
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.graph.weight_file import WeightFile
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.model_source import ModelSource, read_source
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile, RadarInfo, attach

__all__ = [
    "Prepared",
    "default_preprocessing",
    "logits_difference",
    "open_plainly",
    "prepare",
    "prepare_lightly",
    "prepare_source",
]

_NUMPY = {"tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8,
          "tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(int64)": np.int64}  # fmt: skip
_BATCH = 4
PARITY = 1e-3
"""Largest accepted difference of logits, relative to their largest magnitude: folding reorders float32 sums."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A radar graph with the regularised model that it was made from."""

    radar: RadarFile
    plain: PlainModel
    split: Split


def default_preprocessing(plain: PlainModel) -> Preprocessing:
    """Return what is assumed where nothing is declared: RGB in [-1, 1], or 0..255 where whole numbers are taken."""
    if plain.input_form.whole:
        return Preprocessing(size=plain.input_size, scale=1.0)
    return Preprocessing(size=plain.input_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def prepare(path: Path, description: ModelDescription | None, *, output: str | None = None) -> Prepared:
    """Prepare the ONNX classifier at `path`: see `prepare_source`. Raises `ModelError`."""
    return prepare_source(read_source(path), description, output=output)


def prepare_source(
    source: ModelSource,
    description: ModelDescription | None,
    *,
    output: str | None = None,
    size: tuple[int, int] | None = None,
    limit_s: float = PREPARE_S,
) -> Prepared:
    """Prepare a classifier, with all its weights in the graph: see `prepare_lightly`. Raises `ModelError`."""
    prepared = prepare_lightly(source, description, output=output, size=size, limit_s=limit_s)
    radar = prepared.radar
    if radar.weights is None:
        return prepared
    radar.weights.put_back(radar.proto)
    return replace(prepared, radar=RadarFile(radar.proto, radar.info))


def prepare_lightly(
    source: ModelSource,
    description: ModelDescription | None,
    *,
    output: str | None = None,
    size: tuple[int, int] | None = None,
    limit_s: float = PREPARE_S,
) -> Prepared:
    """Prepare a classifier.

    `output` names the logits where it has several outputs; `size` (height, width) is that of its pictures where neither
    it nor its description says so. The weights of a large model stay in their file: only `write_radar` and the checks
    take such a graph. Raises `ModelError`: see `plain_model`, `find_split` and `HeadTranspose`; also where the declared
    size or labels do not fit the model, the prepared graph's logits differ from it, or more than `limit_s` seconds have
    passed (looked at between the steps).
    """
    where, time_box = source.where, TimeBox(limit_s)
    refuse_oversized(source.proto, where)  # before its weights are looked at
    description = description or ModelDescription()
    declared = description.preprocessing is not None
    known = description.preprocessing
    plain = plain_model(
        source,
        output=output,
        size=known.size if known else size,
        order=known.order if known else "rgb",
        time_box=time_box,
    )
    preprocessing = known or default_preprocessing(plain)
    if preprocessing.size != plain.input_size:
        raise ModelError(
            f"{where}: takes images of {plain.input_size[0]} x {plain.input_size[1]} (height x width), but its "
            f"preprocessing declares size = {list(preprocessing.size)}"
        )
    labels = description.class_names(plain.classes, where)
    if description.background is not None and description.background not in labels:
        raise ModelError(f"{where}: the background '{description.background}' is not one of its labels")
    try:
        plain, split = find_split(plain)
        fills = {"tight": mean_fill(preprocessing), "paper": noise_fill(preprocessing, np.random.default_rng(0))}
        proto = build_radar(plain, split, fills)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    time_box.check(where)
    info = RadarInfo(
        name=source.name,
        source_sha256=source.sha256,
        input=plain.input,
        classes=plain.classes,
        labels=labels,
        background=description.background,
        preprocessing=preprocessing,
        declared=declared,
        maps=split.maps,
        channels=split.channels,
        cells=(split.height, split.width),
        convolution=split.layer,
        head=split.head_ops,
        multi_label=plain.output_form.multi_label,
        notes=plain.notes,
    )
    prepared = Prepared(attach(proto, info, plain.weights), plain, split)
    inputs = noise_fill(preprocessing, np.random.default_rng(1), 2)
    time_box.check(where)
    try:
        difference = logits_difference(source, prepared, inputs)
    except Exception as error:  # the runtime raises its own kinds
        raise ModelError(f"{where}: {_cannot_run(plain, error)}") from None
    if np.isnan(difference):
        raise ModelError(f"{where}: gives logits that are not numbers (NaN) on a plain image; its weights are damaged")
    if difference > _tolerance(plain) and difference > 2 * _own_rounding(source, prepared, inputs):
        raise ModelError(
            f"{where}: the prepared graph's logits differ by {difference:.2g} of their range; please report"
        )
    return prepared


def _cannot_run(plain: PlainModel, error: Exception) -> str:
    if any(note.startswith("fixed batch") for note in plain.notes):
        return (
            "was exported for a fixed batch, and its rows cannot be told apart where it reshapes them; export it with "
            "a dynamic batch (dynamic_shapes in torch.onnx.export; dynamic_axes where dynamo=False)"
        )
    return f"ONNX Runtime cannot run the model ({str(error).strip().splitlines()[0]})"


def _tolerance(plain: PlainModel) -> float:
    """Half precision rounds to a thousandth, integer steps to a hundredth of the range or so."""
    if any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in plain.nodes):
        return 0.1
    return 0.02 if any("weights, computed in float32" in note for note in plain.notes) else PARITY


def logits_difference(source: ModelSource, prepared: Prepared, inputs: NDArray[np.float32]) -> float:
    """Return the largest difference between the user's model and the radar graph, relative to the largest output."""
    expected = _own_outputs(source, prepared, inputs)
    ours = open_plainly(keep_outputs(prepared.radar.proto, ["logits"]), prepared.plain.weights)
    # In batches: one that is written down somewhere shows here.
    batches = [inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH)]
    logits = np.concatenate([ours.run(None, {prepared.plain.input: batch})[0] for batch in batches])
    actual = prepared.plain.output_form.apply(logits)
    return _relative(actual, expected.reshape(actual.shape))


def _own_rounding(source: ModelSource, prepared: Prepared, inputs: NDArray[np.float32]) -> float:
    """Return how far the user's model is from itself where ONNX Runtime runs it without its optimisations.

    Some networks blow up the rounding of float32 on noise, which they never saw: no graph is nearer to such a network
    than it is to itself.
    """
    plainly = _own_outputs(source, prepared, inputs, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    return _relative(plainly, _own_outputs(source, prepared, inputs))


def _relative(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.abs(actual - expected).max() / np.maximum(np.abs(expected).max(), 1e-12))


def _own_outputs(
    source: ModelSource,
    prepared: Prepared,
    inputs: NDArray[np.float32],
    level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
) -> NDArray[np.float64]:
    """Run the user's model row by row: (N, values); one in bfloat16, which few devices run, in float32."""
    proto = source.proto
    if any(tensor.data_type == onnx.TensorProto.BFLOAT16 for tensor in proto.graph.initializer):
        proto = onnx.ModelProto()
        proto.CopyFrom(source.proto)
        to_float32(proto, prepared.plain.weights)
    users = open_plainly(proto, prepared.plain.weights, level)
    own, form = {value.name: value for value in users.get_inputs()}, prepared.plain.output_form
    given = own.pop(prepared.plain.input_form.name)
    unread = {
        name: np.zeros([size if isinstance(size, int) else 1 for size in v.shape], np.float32)
        for name, v in own.items()
    }
    kind = _NUMPY.get(given.type, np.float32)
    copies = given.shape[0] if isinstance(given.shape[0], int) else 1
    rows = [prepared.plain.input_form.convert(row[None], np.dtype(kind)) for row in inputs]
    outputs = [users.run([form.name], {given.name: np.repeat(row, copies, 0), **unread})[0][:1] for row in rows]
    return np.concatenate(outputs).astype(np.float64)


def open_plainly(
    proto: onnx.ModelProto,
    weights: WeightFile | None,
    level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
) -> ort.InferenceSession:
    """Open a session on the CPU for a few pictures. `weights`: where those of a large model lie."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")  # another copy, for a few pictures
    model = proto.SerializeToString() if weights is None else weights.saved(proto)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
