"""Number formats and fused ops that exporters and optimisers leave: rewritten to float32 and standard ops.

float16, bfloat16 and float64 become float32; integer operators (QLinearConv ...) become float ones between
QuantizeLinear and DequantizeLinear; what ONNX Runtime fused (FusedConv ...) is taken apart again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.graph.weight_file import WeightFile

__all__ = ["sorted_nodes", "standard_ops", "to_float32"]

_OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_MACHINE_ONLY = "com.microsoft.nchwc"


def sorted_nodes(model: onnx.ModelProto) -> None:
    """Put the nodes in topological order: some converters append theirs at the end. Raises `ModelError`."""
    graph = model.graph
    known = {t.name for t in graph.initializer} | {v.name for v in graph.input} | {""}
    known |= {t.values.name for t in graph.sparse_initializer}
    waiting, ready = list(graph.node), []
    while waiting:
        later = []
        for node in waiting:
            if known.issuperset(node.input):
                known.update(node.output)
                ready.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            missing = sorted({n for node in later for n in node.input} - known - {o for n in later for o in n.output})
            raise ModelError(f"its graph needs a value that nothing gives ('{(missing or ['a loop'])[0]}')")
        waiting = later
    del graph.node[:]
    graph.node.extend(ready)


def to_float32(model: onnx.ModelProto, weights: WeightFile | None = None) -> str | None:
    """Compute in float32 what is stored in another float format; return that format's name.

    `weights`: where those of a large model lie, and are written to.
    """
    graph, found = model.graph, set()
    for tensor in graph.initializer:
        if tensor.data_type in _OTHER_FLOATS:
            found.add(tensor.data_type)
            tensor.CopyFrom(_as_float32(tensor, weights))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in _OTHER_FLOATS:
                found.add(attribute.t.data_type)
                attribute.t.CopyFrom(_as_float32(attribute.t))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _OTHER_FLOATS:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _OTHER_FLOATS:
            found.add(value.type.tensor_type.elem_type)
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    if found:
        del graph.value_info[:]
    if found and weights is not None:
        weights.move(model)
    return str(TensorProto.DataType.Name(min(found))).lower() if found else None


def _as_float32(tensor: onnx.TensorProto, weights: WeightFile | None = None) -> onnx.TensorProto:
    limit = np.finfo(np.float32).max
    stored = numpy_helper.to_array(tensor) if weights is None else weights.array(tensor)
    wide = np.float64 if tensor.data_type == TensorProto.DOUBLE else np.float32
    values = np.clip(stored.astype(wide), -limit, limit)
    return numpy_helper.from_array(values.astype(np.float32, copy=False), tensor.name)


class _Rewriter:
    """Collects the nodes that stand for one."""

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto) -> None:
        self.model, self.node, self.made = model, node, list[onnx.NodeProto]()
        self.stored = {t.name for t in model.graph.initializer}

    def add(self, op: str, inputs: list[str], output: str | None = None, **attrs: Any) -> str:
        output = output or f"{self.node.output[0]}/{op}_{len(self.made)}"
        self.made.append(helper.make_node(op, inputs, [output], **attrs))
        return output

    def constant(self, value: np.ndarray) -> str:
        name = f"{self.node.output[0]}/constant_{len(self.made)}_{len(self.stored)}"
        self.stored.add(name)
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def plain(self, value: str, scale: str, zero: str, *, axis: int | None = None) -> str:
        attrs: dict[str, Any] = {} if axis is None else {"axis": axis}
        return self.add("DequantizeLinear", [value, scale, zero], None, **attrs)

    def quantised(self, value: str, scale: str, zero: str) -> None:
        self.add("QuantizeLinear", [value, scale, zero], self.node.output[0])


def _bias(r: _Rewriter, bias: str, first: str, second: str) -> str:
    return r.add("Mul", [r.add("Cast", [bias], to=TensorProto.FLOAT), r.add("Mul", [first, second])])


def _standard(node: onnx.NodeProto) -> dict[str, Any]:
    return {k: v for k, v in attributes(node).items() if not k.startswith("activation")}


def _linear_convolution(r: _Rewriter) -> None:
    x, xs, xz, w, ws, wz, ys, yz, *bias = r.node.input
    inputs = [r.plain(x, xs, xz), r.plain(w, ws, wz, axis=0)]
    r.quantised(r.add("Conv", inputs + [_bias(r, b, xs, ws) for b in bias if b], **_standard(r.node)), ys, yz)


def _linear_product(r: _Rewriter) -> None:
    a, a_s, az, w, ws, wz, ys, yz = r.node.input
    r.quantised(r.add("MatMul", [r.plain(a, a_s, az), r.plain(w, ws, wz, axis=1)]), ys, yz)


def _quantised_gemm(r: _Rewriter) -> None:
    given = list(r.node.input)
    a, a_s, az, w, ws, wz, bias = [*given, ""][:7]
    out = given[7:]
    known = attributes(r.node)
    inputs = [r.plain(a, a_s, az), r.plain(w, ws, wz, axis=0 if known.get("transB", 0) else 1)]
    inputs += [_bias(r, bias, a_s, ws)] if bias else []
    if out:
        r.quantised(r.add("Gemm", inputs, **_standard(r.node)), out[0], out[1])
    else:
        r.add("Gemm", inputs, r.node.output[0], **_standard(r.node))


def _linear_pair(op: str) -> Callable[[_Rewriter], None]:
    def rewrite(r: _Rewriter) -> None:
        a, a_s, az, b, bs, bz, ys, *yz = r.node.input
        r.quantised(r.add(op, [r.plain(a, a_s, az), r.plain(b, bs, bz)]), ys, (yz or [""])[0])

    return rewrite


def _linear_single(op: str) -> Callable[[_Rewriter], None]:
    def rewrite(r: _Rewriter) -> None:
        x, xs, xz, ys, *yz = r.node.input
        known = {k: v for k, v in _standard(r.node).items() if k not in ("channels_last", "opset")}
        r.quantised(r.add(op, [r.plain(x, xs, xz)], **known), ys, (yz or [""])[0])

    return rewrite


def _linear_concat(r: _Rewriter) -> None:
    ys, yz, *parts = r.node.input
    values = [r.plain(*parts[i : i + 3]) for i in range(0, len(parts), 3)]
    r.quantised(r.add("Concat", values, axis=attributes(r.node)["axis"]), ys, yz)


def _fused(op: str) -> Callable[[_Rewriter], None]:
    """FusedConv, FusedGemm: the activation behind, and the sum before it where there is a fourth input."""

    def rewrite(r: _Rewriter) -> None:
        inputs, a = list(r.node.input), attributes(r.node)
        value = r.add(op, [i for i in inputs[:3] if i], **_standard(r.node))
        if len(inputs) > 3 and inputs[3]:
            value = r.add("Add", [value, inputs[3]])
        activation = a.get("activation", b"").decode()
        parameters = [float(v) for v in a.get("activation_params", [])]
        if activation == "Clip":
            limits = [r.constant(np.array(v, np.float32)) for v in parameters]
            r.add("Clip", [value, *limits], r.node.output[0])
        else:
            known = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}.get(activation, ())
            r.add(activation or "Identity", [value], r.node.output[0], **dict(zip(known, parameters, strict=False)))

    return rewrite


def _fused_product(r: _Rewriter) -> None:
    a = attributes(r.node)
    if a.get("transA", 0) or a.get("transB", 0) or a.get("transBatchA", 0) or a.get("transBatchB", 0):
        raise ModelError("holds ops that ONNX Runtime fused (FusedMatMul); give the file as it was exported")
    product = r.add("MatMul", list(r.node.input))
    r.add("Mul", [product, r.constant(np.array(a.get("alpha", 1.0), np.float32))], r.node.output[0])


def _quick_gelu(r: _Rewriter) -> None:
    x = r.node.input[0]
    scaled = r.add("Mul", [x, r.constant(np.array(attributes(r.node).get("alpha", 1.702), np.float32))])
    r.add("Mul", [x, r.add("Sigmoid", [scaled])], r.node.output[0])


def _gelu(r: _Rewriter) -> None:
    """x * (1 + erf(x / sqrt 2)) / 2; with a second input, the bias, added first."""
    x = r.node.input[0] if len(r.node.input) == 1 else r.add("Add", list(r.node.input))
    half, root = (r.constant(np.array(v, np.float32)) for v in (0.5, 2.0**-0.5))
    share = r.add("Erf", [r.add("Mul", [x, root])])
    share = r.add("Mul", [r.add("Add", [share, r.constant(np.array(1.0, np.float32))]), half])
    r.add("Mul", [x, share], r.node.output[0])


def _attention(r: _Rewriter) -> None:
    """Opset 23's Attention as products and a softmax. Raises `ModelError` for what no image classifier has."""
    a, given = attributes(r.node), [*r.node.input, "", "", ""]
    heads, theirs = int(a.get("q_num_heads", 0)), int(a.get("kv_num_heads", 0))
    if a.get("is_causal", 0) or a.get("softcap", 0.0) or heads != theirs or given[4] or len(r.node.output) > 1:
        raise ModelError("holds an Attention as language models have it (causal, cached or grouped); it has no rule")
    query, key, value = given[:3]
    if heads:  # (B, N, heads * d) to (B, heads, N, d)
        split = r.constant(np.array([0, 0, heads, -1], np.int64))
        query, key, value = (
            r.add("Transpose", [r.add("Reshape", [name, split])], perm=[0, 2, 1, 3]) for name in (query, key, value)
        )
    scores = r.add("MatMul", [query, r.add("Transpose", [key], perm=[0, 1, 3, 2])])
    scores = r.add("Mul", [scores, _attention_scale(r, query, a.get("scale"))])
    if given[3] and _is_boolean(r.model, given[3]):
        scores = r.add("Where", [given[3], scores, r.constant(np.array(-1e30, np.float32))])
    elif given[3]:
        scores = r.add("Add", [scores, given[3]])
    shares = r.add("Softmax", [scores], axis=-1)
    if not heads:
        r.add("MatMul", [shares, value], r.node.output[0])
        return
    joined = r.add("Transpose", [r.add("MatMul", [shares, value])], perm=[0, 2, 1, 3])
    r.add("Reshape", [joined, r.constant(np.array([0, 0, -1], np.int64))], r.node.output[0])


def _attention_scale(r: _Rewriter, query: str, scale: float | None) -> str:
    """The given scale, or 1 / sqrt(d) of (B, heads, N, d)."""
    if scale is not None:
        return r.constant(np.array(scale, np.float32))
    size = r.add("Cast", [r.add("Shape", [query], start=3, end=4)], to=TensorProto.FLOAT)
    return r.add("Reciprocal", [r.add("Sqrt", [size])])


def _is_boolean(model: onnx.ModelProto, name: str) -> bool:
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    known = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    return bool(stored.get(name, known.get(name)) == TensorProto.BOOL)


_REWRITES: dict[str, Callable[[_Rewriter], None]] = {
    "Attention": _attention,
    "BiasGelu": _gelu,
    "FusedConv": _fused("Conv"),
    "FusedGemm": _fused("Gemm"),
    "FusedMatMul": _fused_product,
    "QGemm": _quantised_gemm,
    "QLinearAdd": _linear_pair("Add"),
    "QLinearAveragePool": _linear_single("AveragePool"),
    "QLinearConcat": _linear_concat,
    "QLinearConv": _linear_convolution,
    "QLinearGlobalAveragePool": _linear_single("GlobalAveragePool"),
    "QLinearLeakyRelu": _linear_single("LeakyRelu"),
    "QLinearMatMul": _linear_product,
    "QLinearMul": _linear_pair("Mul"),
    "QLinearReduceMean": _linear_single("ReduceMean"),
    "QLinearSigmoid": _linear_single("Sigmoid"),
    "QLinearSoftmax": _linear_single("Softmax"),
    "QuickGelu": _quick_gelu,
}


def standard_ops(model: onnx.ModelProto) -> list[str]:
    """Rewrite fused and integer ops; return their names. Raises `ModelError` for one that cannot be."""
    nodes: list[onnx.NodeProto] = []
    rewritten: dict[str, None] = {}
    for node in model.graph.node:
        if node.domain == _MACHINE_ONLY:
            raise ModelError("was optimised by ONNX Runtime for one machine (nchwc); give the file as it was exported")
        fused = node.domain == "com.microsoft" and node.op_type == "Gelu"
        foreign = node.op_type == "Attention" and node.domain == "com.microsoft"  # another op of that name
        if foreign or (node.op_type not in _REWRITES and not fused):
            if node.domain == "com.microsoft" and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                node.domain = ""
            nodes.append(node)
            continue
        writer = _Rewriter(model, node)
        (_gelu if fused else _REWRITES[node.op_type])(writer)
        nodes += writer.made
        rewritten[node.op_type] = None
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    unknown = next((n for n in nodes if n.domain not in ("", "ai.onnx")), None)
    if unknown is not None:
        raise ModelError(
            f"holds the op {unknown.op_type} of '{unknown.domain}', which is no standard ONNX op; give the file as it "
            "was exported, before it was optimised"
        )
    kept = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return list(rewritten)
