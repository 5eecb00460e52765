"""Does a prepared graph give the logits of the model that it was made from? Both run on the same noise."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError, first_line
from taintwatch_models.graph.formats import to_float32
from taintwatch_models.graph.plain_model import PlainModel
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.graph.weight_file import WeightFile
from taintwatch_models.model_source import ModelSource

__all__ = ["logits_difference", "open_plainly", "require_same_logits"]

_NUMPY = {"tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8,
          "tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(int64)": np.int64}  # fmt: skip
_BATCH = 4
PARITY = 1e-3
"""Largest accepted difference of logits, relative to their largest magnitude: folding reorders float32 sums."""


def require_same_logits(
    source: ModelSource, plain: PlainModel, radar: onnx.ModelProto, inputs: NDArray[np.float32]
) -> None:
    """Raise `ModelError` where the radar graph's logits are not the model's, or one of the two cannot run.

    `plain`: the regularised model between them. `inputs`: (B, 3, H, W).
    """
    where = source.where
    try:
        difference = logits_difference(source, plain, radar, inputs)
    except Exception as error:  # the runtime raises its own kinds
        raise ModelError(f"{where}: {_cannot_run(plain, error)}") from None
    if np.isnan(difference):
        raise ModelError(f"{where}: gives logits that are not numbers (NaN) on a plain image; its weights are damaged")
    if difference > _tolerance(plain) and difference > 2 * _own_rounding(source, plain, inputs):
        raise ModelError(
            f"{where}: the prepared graph's logits differ by {difference:.2g} of their range; please report"
        )


def _cannot_run(plain: PlainModel, error: Exception) -> str:
    if any(note.startswith("fixed batch") for note in plain.notes):
        return (
            "was exported for a fixed batch, and its rows cannot be told apart where it reshapes them; export it with "
            "a dynamic batch (dynamic_shapes in torch.onnx.export; dynamic_axes where dynamo=False)"
        )
    return f"ONNX Runtime cannot run the model ({first_line(error)})"


def _tolerance(plain: PlainModel) -> float:
    """Half precision rounds to a thousandth, integer steps to a hundredth of the range or so."""
    if any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in plain.nodes):
        return 0.1
    return 0.02 if any("weights, computed in float32" in note for note in plain.notes) else PARITY


def logits_difference(
    source: ModelSource, plain: PlainModel, radar: onnx.ModelProto, inputs: NDArray[np.float32]
) -> float:
    """Return the largest difference between the user's model and the radar graph, relative to the largest output."""
    expected = _own_outputs(source, plain, inputs)
    ours = open_plainly(keep_outputs(radar, ["logits"]), plain.weights)
    # In batches: one that is written down somewhere shows here.
    batches = [inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH)]
    logits = np.concatenate([ours.run(None, {plain.input: batch})[0] for batch in batches])
    actual = plain.output_form.apply(logits)
    return _relative(actual, expected.reshape(actual.shape))


def _own_rounding(source: ModelSource, plain: PlainModel, inputs: NDArray[np.float32]) -> float:
    """Return how far the user's model is from itself where ONNX Runtime runs it without its optimisations.

    Some networks blow up the rounding of float32 on noise, which they never saw: no graph is nearer to such a network
    than it is to itself.
    """
    plainly = _own_outputs(source, plain, inputs, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    return _relative(plainly, _own_outputs(source, plain, inputs))


def _relative(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.abs(actual - expected).max() / np.maximum(np.abs(expected).max(), 1e-12))


def _own_outputs(
    source: ModelSource,
    plain: PlainModel,
    inputs: NDArray[np.float32],
    level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
) -> NDArray[np.float64]:
    """Run the user's model row by row: (N, values); one in bfloat16, which few devices run, in float32."""
    proto = source.proto
    if any(tensor.data_type == onnx.TensorProto.BFLOAT16 for tensor in proto.graph.initializer):
        proto = onnx.ModelProto()
        proto.CopyFrom(source.proto)
        to_float32(proto, plain.weights)
    users = open_plainly(proto, plain.weights, level)
    own, form = {value.name: value for value in users.get_inputs()}, plain.output_form
    given = own.pop(plain.input_form.name)
    unread = {
        name: np.zeros([size if isinstance(size, int) else 1 for size in v.shape], np.float32)
        for name, v in own.items()
    }
    kind = _NUMPY.get(given.type, np.float32)
    copies = given.shape[0] if isinstance(given.shape[0], int) else 1
    rows = [plain.input_form.convert(row[None], np.dtype(kind)) for row in inputs]
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
