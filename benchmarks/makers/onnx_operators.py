"""ONNX operators as differentiable torch functions, opsets 9 to 21.

Each takes the node's inputs and attributes and returns its output, or a list of outputs. The table
holds what common image classifiers use; `onnx_torch` runs a graph with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "ABSENT",
    "OPERATORS",
    "OPSET",
    "OUTPUTS",
    "Attributes",
    "Operator",
    "UnsupportedOperatorError",
]

Attributes = Mapping[str, Any]
Inputs = Sequence[Tensor]  # `ABSENT` where an optional input is left out
Operator = Callable[[Inputs, Attributes], Tensor | list[Tensor]]

ABSENT = torch.empty(0)
OPSET, OUTPUTS = "__opset__", "__outputs__"  # handed to every operator with its attributes
_DTYPES = {
    onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.FLOAT16: torch.float16, onnx.TensorProto.BOOL: torch.bool,
    onnx.TensorProto.UINT8: torch.uint8, onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT32: torch.int32, onnx.TensorProto.INT64: torch.int64,
}  # fmt: skip


class UnsupportedOperatorError(ValueError):
    """The graph uses an operator, or a mode of one, that this converter doesn't know."""


def _at(inputs: Inputs, index: int) -> Tensor | None:
    """The optional input at an index, or None where it is left out."""
    return None if index >= len(inputs) or inputs[index] is ABSENT else inputs[index]


def _ints(inputs: Inputs, index: int, attributes: Attributes, name: str) -> list[int] | None:
    """An integer list that older opsets hold in an attribute and newer ones in an input."""
    given = _at(inputs, index)
    if given is not None:
        return [int(v) for v in given.reshape(-1).tolist()]
    return list(attributes[name]) if name in attributes else None


def _spatial_pads(x: Tensor, kernel: Sequence[int], a: Attributes) -> list[int]:
    """The pads of a convolution or pooling as ONNX orders them: all begins, then all ends."""
    rank = len(kernel)
    mode = a.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return list(a.get("pads", [0] * (2 * rank)))
    if mode == "VALID":
        return [0] * (2 * rank)
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    totals = [
        max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return less + more if mode == "SAME_UPPER" else more + less


def _torch_pads(pads: Sequence[int]) -> list[int]:
    """ONNX pads (begins, then ends, first axis first) as torch wants them (last axis first)."""
    rank = len(pads) // 2
    return [pads[axis + side] for axis in reversed(range(rank)) for side in (0, rank)]


def _conv(i: Inputs, a: Attributes) -> Tensor:
    x, weight, bias = i[0], i[1], _at(i, 2)
    rank = weight.ndim - 2
    pads = _spatial_pads(x, weight.shape[2:], a)
    padding = pads[:rank]
    if padding != pads[rank:]:  # torch pads both ends alike
        x, padding = F.pad(x, _torch_pads(pads)), [0] * rank
    convolve: Callable[..., Tensor] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[rank]
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    return convolve(x, weight, bias, strides, padding, dilations, a.get("group", 1))


def _pool_geometry(x: Tensor, a: Attributes) -> tuple[list[int], list[int], list[int], bool]:
    kernel = list(a["kernel_shape"])
    pads, ceil_mode = _spatial_pads(x, kernel, a), bool(a.get("ceil_mode", 0))
    if len(kernel) != 2 or (ceil_mode and pads[:2] != pads[2:]):
        raise UnsupportedOperatorError("pooling: only 2-D, and ceil_mode only with equal pads")
    return kernel, list(a.get("strides", [1, 1])), pads, ceil_mode


def _max_pool(i: Inputs, a: Attributes) -> Tensor:
    kernel, strides, pads, ceil_mode = _pool_geometry(i[0], a)
    x, padding = i[0], pads[:2]
    if padding != pads[2:] or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        x, padding = F.pad(x, _torch_pads(pads), value=-torch.inf), [0, 0]
    return F.max_pool2d(x, kernel, strides, padding, a.get("dilations", [1, 1]), ceil_mode)


def _average_pool(i: Inputs, a: Attributes) -> Tensor:
    kernel, strides, pads, ceil_mode = _pool_geometry(i[0], a)
    with_pad = bool(a.get("count_include_pad", 0))
    if pads[:2] == pads[2:]:
        return F.avg_pool2d(i[0], kernel, strides, pads[:2], ceil_mode, with_pad)
    mean = F.avg_pool2d(F.pad(i[0], _torch_pads(pads)), kernel, strides)
    if with_pad:
        return mean
    return mean / F.avg_pool2d(F.pad(torch.ones_like(i[0]), _torch_pads(pads)), kernel, strides)


def _gemm(i: Inputs, a: Attributes) -> Tensor:
    left = i[0].mT if a.get("transA") else i[0]
    right = i[1].mT if a.get("transB") else i[1]
    product: Tensor = a.get("alpha", 1.0) * (left @ right)
    bias = _at(i, 2)
    return product if bias is None else product + a.get("beta", 1.0) * bias


def _batch_norm(i: Inputs, a: Attributes) -> Tensor:
    x, scale, bias, mean, variance = i[:5]
    return F.batch_norm(x, mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


def _layer_norm(i: Inputs, a: Attributes) -> Tensor:
    shape = i[0].shape[a.get("axis", -1) :]
    return F.layer_norm(i[0], shape, i[1], _at(i, 2), a.get("epsilon", 1e-5))


def _clip(i: Inputs, a: Attributes) -> Tensor:
    low, high = _at(i, 1), _at(i, 2)
    return torch.clamp(
        i[0],
        a.get("min") if low is None else low.item(),
        a.get("max") if high is None else high.item(),
    )


def _flatten(i: Inputs, a: Attributes) -> Tensor:
    lead = i[0].shape[: a.get("axis", 1)]
    return i[0].reshape(int(np.prod(lead)), -1)


def _softmax(i: Inputs, a: Attributes) -> Tensor:
    if a[OPSET] >= 13:
        return F.softmax(i[0], a.get("axis", -1))
    flat = _flatten(i, {"axis": a.get("axis", 1) % i[0].ndim})  # before 13: over all later axes
    return F.softmax(flat, -1).reshape(i[0].shape)


def _reshape(i: Inputs, a: Attributes) -> Tensor:
    shape = _ints(i, 1, a, "shape") or []
    if not a.get("allowzero"):  # 0 copies the input's size at that place
        shape = [i[0].shape[k] if size == 0 else size for k, size in enumerate(shape)]
    return i[0].reshape(shape)


def _pad(i: Inputs, a: Attributes) -> Tensor:
    given, axes, fill = _ints(i, 1, a, "pads") or [], _ints(i, 3, a, "axes"), _at(i, 2)
    rank = i[0].ndim
    pads = [0] * (2 * rank)
    for k, axis in enumerate(range(rank) if axes is None else axes):
        pads[axis % rank], pads[axis % rank + rank] = given[k], given[k + len(given) // 2]
    value = a.get("value", 0.0) if fill is None else fill.item()
    mode = a.get("mode", "constant")
    if mode == "constant":
        return F.pad(i[0], _torch_pads(pads), value=value)
    return F.pad(i[0], _torch_pads(pads)[:4], "replicate" if mode == "edge" else mode)


def _slice(i: Inputs, a: Attributes) -> Tensor:
    starts, ends = _ints(i, 1, a, "starts") or [], _ints(i, 2, a, "ends") or []
    axes = _ints(i, 3, a, "axes") or list(range(len(starts)))
    steps = _ints(i, 4, {}, "") or [1] * len(starts)
    x: Tensor = i[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Python's slice reads negative ends and steps just as ONNX does; torch lacks the latter.
        taken = range(*slice(start, end, step).indices(x.shape[axis]))
        x = x.index_select(axis, torch.tensor(list(taken), dtype=torch.int64, device=x.device))
    return x


def _split(i: Inputs, a: Attributes) -> list[Tensor]:
    axis, sizes = a.get("axis", 0), _ints(i, 1, a, "split")
    if sizes is None:
        return list(torch.split(i[0], -(-i[0].shape[axis] // a[OUTPUTS]), axis))
    return list(torch.split(i[0], sizes, axis))


def _squeeze(i: Inputs, a: Attributes) -> Tensor:
    axes = _ints(i, 1, a, "axes")
    return i[0].squeeze() if axes is None else i[0].squeeze(tuple(axes))


def _unsqueeze(i: Inputs, a: Attributes) -> Tensor:
    axes = _ints(i, 1, a, "axes") or []
    x: Tensor = i[0]
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _gather(i: Inputs, a: Attributes) -> Tensor:
    axis, x, index = a.get("axis", 0), i[0], i[1]
    axis %= x.ndim
    picked = x.index_select(axis, index.reshape(-1) % x.shape[axis])
    return picked.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def operator(i: Inputs, a: Attributes) -> Tensor:
        axes = _ints(i, 1, a, "axes")
        if axes is None and a.get("noop_with_empty_axes"):
            return i[0]
        return function(i[0], tuple(axes or range(i[0].ndim)), keepdim=bool(a.get("keepdims", 1)))

    return operator


def _divide(i: Inputs, _: Attributes) -> Tensor:
    return torch.div(i[0], i[1], rounding_mode=None if i[0].is_floating_point() else "trunc")


def _fill(i: Inputs, a: Attributes) -> Tensor:
    value: Tensor = a.get("value", torch.zeros(1))
    return value.reshape(-1)[0].expand(_ints(i, 0, a, "shape") or []).clone()


def _resize(i: Inputs, a: Attributes) -> Tensor:
    if a.get("mode", "nearest") != "nearest" or i[0].ndim != 4:
        raise UnsupportedOperatorError("Resize: only nearest neighbour, 4-D")
    sizes = _ints(i, 3, {}, "")
    scale = None if sizes else i[2].tolist()[2:]
    return F.interpolate(i[0], sizes[2:] if sizes else None, scale, mode="nearest")


OPERATORS: dict[str, Operator] = {
    "Add": lambda i, _: i[0] + i[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda i, a: i[0].to(_DTYPES[a["to"]]),
    "Clip": _clip,
    "Concat": lambda i, a: torch.cat(list(i), a["axis"]),
    "ConstantOfShape": _fill,
    "Conv": _conv,
    "Div": _divide,
    "Dropout": lambda i, _: i[0],
    "Erf": lambda i, _: torch.erf(i[0]),
    "Exp": lambda i, _: torch.exp(i[0]),
    "Expand": lambda i, _: i[0] * torch.ones(i[1].tolist(), dtype=i[0].dtype, device=i[0].device),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda i, a: F.gelu(i[0], approximate=a.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda i, _: i[0].mean(tuple(range(2, i[0].ndim)), keepdim=True),
    "GlobalMaxPool": lambda i, _: i[0].amax(tuple(range(2, i[0].ndim)), keepdim=True),
    "HardSigmoid": lambda i, a: (a.get("alpha", 0.2) * i[0] + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda i, _: F.hardswish(i[0]),
    "Identity": lambda i, _: i[0],
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda i, a: F.leaky_relu(i[0], a.get("alpha", 0.01)),
    "MatMul": lambda i, _: i[0] @ i[1],
    "Max": lambda i, _: reduce(torch.maximum, i),
    "MaxPool": _max_pool,
    "Min": lambda i, _: reduce(torch.minimum, i),
    "Mul": lambda i, _: i[0] * i[1],
    "Neg": lambda i, _: -i[0],
    "PRelu": lambda i, _: torch.where(i[0] >= 0, i[0], i[0] * i[1]),
    "Pad": _pad,
    "Pow": lambda i, _: i[0] ** i[1],
    "Reciprocal": lambda i, _: 1 / i[0],
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": lambda i, _: F.relu(i[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda i, a: torch.tensor(i[0].shape[a.get("start", 0) : a.get("end")]),
    "Sigmoid": lambda i, _: torch.sigmoid(i[0]),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": lambda i, _: torch.sqrt(i[0]),
    "Squeeze": _squeeze,
    "Sub": lambda i, _: i[0] - i[1],
    "Sum": lambda i, _: reduce(torch.add, i),
    "Tanh": lambda i, _: torch.tanh(i[0]),
    "Transpose": lambda i, a: i[0].permute(a.get("perm", list(reversed(range(i[0].ndim))))),
    "Unsqueeze": _unsqueeze,
}  # fmt: skip
