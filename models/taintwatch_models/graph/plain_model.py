"""A user's ONNX classifier made regular: float32 pictures (B, 3, H, W) in, logits (B, classes) out, opset >= 17."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from taintwatch_models.errors import ModelError, first_line
from taintwatch_models.graph.bounds import refuse_large_input, refuse_large_values
from taintwatch_models.graph.formats import sorted_nodes, standard_ops, to_float32
from taintwatch_models.graph.interface import InputForm, OutputForm, adapt_input, adapt_output, choose_output
from taintwatch_models.graph.simplification import (
    fold_regular,
    inferred,
    merge_pads,
    opset_of,
    raise_opset,
    shapes_of,
    without_weights,
)
from taintwatch_models.graph.stored_values import StoredValues, stored_values
from taintwatch_models.graph.time_box import TimeBox
from taintwatch_models.graph.weight_file import WeightFile
from taintwatch_models.model_source import ModelSource

__all__ = ["PlainModel", "plain_model"]

_TIGHT_NAMES = "mask label rank margin swing saliency_threshold fill inpaint"
_PAPER_NAMES = "mask label rank filled saliency_threshold fill inpaint labels"
RESERVED = (
    frozenset({"logits", "label", "features", "saliency_concentration", "temperature", "pixels"})
    | {f"tight_{name}" for name in _TIGHT_NAMES.split()} | {f"paper_{name}" for name in _PAPER_NAMES.split()}
)  # fmt: skip
"""What a radar graph's outputs and optional inputs are called."""


@dataclass(frozen=True, eq=False)
class PlainModel:
    """A classifier as a regular graph: nodes in topological order, from `input` to `logits`."""

    proto: onnx.ModelProto
    opset: int
    input: str
    logits: str
    input_size: tuple[int, int]
    """(height, width)."""
    classes: int
    constants: StoredValues
    shapes: Mapping[str, tuple[int | None, ...]]
    """Inferred shape of every value; None stands for the batch or for what inference could not tell."""
    input_form: InputForm
    """How the user's own input differs from `input`."""
    output_form: OutputForm
    """What lies between `logits` and the user's own output."""
    notes: tuple[str, ...] = field(default=())
    """What was changed on the way, for people."""
    weights: WeightFile | None = None
    """Where the weights of a large model lie; None: in the graph."""

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.proto.graph.node)


def plain_model(
    source: ModelSource,
    *,
    output: str | None = None,
    size: tuple[int, int] | None = None,
    order: str = "rgb",
    time_box: TimeBox | None = None,
) -> PlainModel:
    """Check and regularise an ONNX classifier.

    `output` names the logits where the model has several outputs; `size` (height, width) is taken where its input has
    none; `order` says which channels make the grey of a one-channel input; `time_box` is looked at between the steps.
    Raises `ModelError`: an invalid graph, several inputs, an input that is no batch of pictures, an output that is no
    batch of logits, no time left.
    """
    where, weights, notes = source.where, source.weights, list[str]()
    time_box = time_box or TimeBox()
    model = _standard(source, notes, weights)
    time_box.check(where)
    model = raise_opset(model, where, notes)
    time_box.check(where)
    chosen = choose_output(model, where, output)
    input_name, input_form = adapt_input(model, where, size, order, notes)
    refuse_large_input(input_form.size, where)
    model = fold_regular(model, input_name, where, notes, weights)
    time_box.check(where)
    merge_pads(model)
    model = inferred(model)
    logits, output_form = adapt_output(model, shapes_of(model), chosen, where, notes)
    renamed = _free_reserved_names(model)
    input_name, logits = renamed.get(input_name, input_name), renamed.get(logits, logits)
    model = inferred(model)
    shapes = shapes_of(model)
    time_box.check(where)
    refuse_large_values(shapes, where)
    classes = shapes.get(logits, (None, None))[-1]
    if not classes:
        raise ModelError(f"{where}: how many classes '{logits}' has cannot be told")
    return PlainModel(
        model, opset_of(model), input_name, logits, input_form.size, classes, stored_values(model, weights), shapes,
        input_form, output_form, tuple(notes), weights,
    )  # fmt: skip


def _standard(source: ModelSource, notes: list[str], weights: WeightFile | None) -> onnx.ModelProto:
    """Return a copy that may be changed: valid, in float32, of standard ops. Raises `ModelError`."""
    model = onnx.ModelProto()
    model.CopyFrom(source.proto)
    for entry in model.opset_import:
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    if not any(entry.domain == "" for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("", 17))
    try:
        sorted_nodes(model)
        rewritten = standard_ops(model)
        stored_as = to_float32(model, weights)
    except ModelError as error:
        raise ModelError(f"{source.where}: {error}") from None
    if rewritten:
        notes.append(f"{', '.join(rewritten)} rewritten with standard ops")
    if stored_as:
        notes.append(f"{stored_as} weights, computed in float32")
    try:
        onnx.checker.check_model(without_weights(model))
    except Exception as error:  # protobuf and the checker raise their own kinds
        raise ModelError(f"{source.where}: not a valid ONNX model ({first_line(error)})") from None
    return model


def _free_reserved_names(model: onnx.ModelProto) -> dict[str, str]:
    """Rename the model's own values that are called as an output or optional input of a radar graph is."""
    graph = model.graph
    renamed = {name: f"model/{name}" for name in RESERVED}
    for output in graph.output:
        if output.name == "logits":  # the radar graph's output of that name is this very value
            del renamed["logits"]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    return renamed
