"""ONNX ops with Torch, each as ONNX defines it: what `TorchGraph` runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_models.errors import ModelError

__all__ = ["TORCH_OPS", "TorchOp"]

TorchOp = Callable[[list[Any], dict[str, Any]], Any]
"""Takes a node's inputs (tensors; arrays of whole numbers; floats) and attributes; gives a tensor, or a tuple."""


def _pads(attrs: dict[str, Any], x: Tensor, value: float = 0.0) -> Tensor:
    if attrs.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError("auto_pad cannot be run with Torch here; export the model with explicit pads")
    top, left, bottom, right = attrs.get("pads", [0, 0, 0, 0])
    return F.pad(x, (left, right, top, bottom), value=value) if any((top, left, bottom, right)) else x


def _conv(v: list[Any], a: dict[str, Any]) -> Tensor:
    bias = v[2] if len(v) > 2 else None
    strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
    return F.conv2d(_pads(a, v[0]), v[1], bias, strides, 0, dilations, a.get("group", 1))


def _max_pool(v: list[Any], a: dict[str, Any]) -> Tensor:
    padded = _pads(a, v[0], float("-inf"))
    return F.max_pool2d(padded, a["kernel_shape"], a.get("strides", [1, 1]), ceil_mode=bool(a.get("ceil_mode", 0)))


def _average_pool(v: list[Any], a: dict[str, Any]) -> Tensor:
    if any(a.get("pads", [0])) and not a.get("count_include_pad", 0):
        raise ModelError("an AveragePool that does not count its padding cannot be run with Torch here")
    ceil = bool(a.get("ceil_mode", 0))
    return F.avg_pool2d(_pads(a, v[0]), a["kernel_shape"], a.get("strides", [1, 1]), ceil_mode=ceil)


def _gemm(v: list[Any], a: dict[str, Any]) -> Tensor:
    weights = v[1].T if a.get("transB", 0) else v[1]
    product = a.get("alpha", 1.0) * (v[0] @ weights)
    result: Tensor = product if len(v) < 3 else product + a.get("beta", 1.0) * v[2]
    return result


def _clip(v: list[Any], a: dict[str, Any]) -> Tensor:
    low = v[1] if len(v) > 1 else None
    high = v[2] if len(v) > 2 else None
    if isinstance(low, float) and isinstance(high, float):  # ReLU6: torch's own is several times faster backwards
        return F.hardtanh(v[0], low, high)
    return torch.clamp(v[0], low, high)


def _axes(v: list[Any], a: dict[str, Any]) -> list[int]:
    return [int(axis) for axis in (a["axes"] if "axes" in a else v[1])]


def _reshape(v: list[Any], a: dict[str, Any]) -> Tensor:
    shape = [v[0].shape[i] if d == 0 else d for i, d in enumerate(_whole(v[1]))]
    result: Tensor = v[0].reshape(shape)
    return result


def _resize(v: list[Any], a: dict[str, Any]) -> Tensor:
    if a.get("mode", b"nearest") != b"nearest" or len(v) < 3 or v[2] is None:
        raise ModelError("only a Resize to the nearest cell, by scales, can be run with Torch here")
    scales = [float(scale) for scale in torch.as_tensor(v[2]).flatten()[2:]]
    return F.interpolate(v[0], scale_factor=scales, mode="nearest")


def _squeeze(v: list[Any], a: dict[str, Any]) -> Tensor:
    result: Tensor = v[0].squeeze(tuple(_axes(v, a)))
    return result


def _unsqueeze(v: list[Any], a: dict[str, Any]) -> Tensor:
    for axis in sorted(_axes(v, a)):
        v[0] = v[0].unsqueeze(axis)
    return v[0]  # type: ignore[no-any-return]


def _batch_norm(v: list[Any], a: dict[str, Any]) -> Tensor:
    return F.batch_norm(v[0], v[3], v[4], v[1], v[2], eps=a.get("epsilon", 1e-5))


def _pad(v: list[Any], a: dict[str, Any]) -> Tensor:
    n = [int(p) for p in v[1]]
    return F.pad(v[0], (n[3], n[7], n[2], n[6]))


def _concat(v: list[Any], a: dict[str, Any]) -> Any:
    like = next((x for x in v if isinstance(x, Tensor)), None)
    if like is None:  # sizes
        return np.concatenate(v, a["axis"])
    return torch.cat([_tensor(x, like) for x in v], a["axis"])


def _tensor(value: Any, like: Tensor) -> Tensor:
    return (
        value if isinstance(value, Tensor) else torch.as_tensor(np.array(value), dtype=like.dtype, device=like.device)
    )


def _whole(value: Any) -> list[int]:
    return [int(v) for v in np.atleast_1d(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)]


def _layer_norm(v: list[Any], a: dict[str, Any]) -> Tensor:
    axis = a.get("axis", -1) % v[0].ndim
    return F.layer_norm(v[0], v[0].shape[axis:], v[1], v[2] if len(v) > 2 else None, a.get("epsilon", 1e-5))


def _rms_norm(v: list[Any], a: dict[str, Any]) -> Tensor:
    axis = a.get("axis", -1) % v[0].ndim
    return F.rms_norm(v[0], v[0].shape[axis:], v[1], a.get("epsilon", 1e-5))


def _group_norm(v: list[Any], a: dict[str, Any]) -> Tensor:
    groups, channels = a.get("num_groups", v[0].shape[1]), v[0].shape[1]
    scale, bias = (p if len(p) == channels else p.repeat_interleave(channels // groups) for p in v[1:3])
    return F.group_norm(v[0], groups, scale, bias, a.get("epsilon", 1e-5))


def _transpose(v: list[Any], a: dict[str, Any]) -> Tensor:
    result: Tensor = v[0].permute(a.get("perm", list(range(v[0].ndim))[::-1]))
    return result


def _slice(v: list[Any], a: dict[str, Any]) -> Tensor:
    x = v[0]
    starts, ends = _whole(v[1]), _whole(v[2])
    axes = _whole(v[3]) if len(v) > 3 and v[3] is not None else list(range(len(starts)))
    steps = _whole(v[4]) if len(v) > 4 and v[4] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(x.shape[axis])[slice(start, end if end >= -x.shape[axis] else None, step)]
        x = x.index_select(axis, torch.tensor(list(places), device=x.device))
    return torch.as_tensor(x)


def _split(v: list[Any], a: dict[str, Any]) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    sizes = _whole(v[1]) if len(v) > 1 and v[1] is not None else -(-v[0].shape[axis] // a["outputs"])
    return tuple(torch.split(v[0], sizes, axis))


def _gather(v: list[Any], a: dict[str, Any]) -> Tensor:
    axis = a.get("axis", 0) % v[0].ndim
    index = torch.as_tensor(np.array(v[1]), dtype=torch.int64, device=v[0].device) % v[0].shape[axis]
    result: Tensor = v[0].index_select(axis, index.reshape(-1))
    shaped: Tensor = result.reshape(*v[0].shape[:axis], *index.shape, *v[0].shape[axis + 1 :])
    return shaped


def _gather_points(v: list[Any], a: dict[str, Any]) -> Tensor:
    if a.get("batch_dims", 0):
        raise ModelError("a GatherND along the batch cannot be run with Torch here")
    index = torch.as_tensor(np.array(v[1]), dtype=torch.int64, device=v[0].device)
    result: Tensor = v[0][tuple(index.unbind(-1))]
    return result


def _expand(v: list[Any], a: dict[str, Any]) -> Tensor:
    wanted = np.broadcast_shapes(tuple(v[0].shape), tuple(_whole(v[1])))
    result: Tensor = v[0].expand(wanted)
    return result


def _reduced(kind: Callable[..., Tensor]) -> TorchOp:
    def op(v: list[Any], a: dict[str, Any]) -> Tensor:
        axes = _axes(v, a) if "axes" in a or (len(v) > 1 and v[1] is not None) else list(range(v[0].ndim))
        return kind(v[0], axes, keepdim=bool(a.get("keepdims", 1)))

    return op


def _straight_through(v: list[Any], a: dict[str, Any]) -> Tensor:
    """Between QuantizeLinear and DequantizeLinear here: the real number, with its slope."""
    result: Tensor = v[0]
    return result


def _cast(v: list[Any], a: dict[str, Any]) -> Tensor:
    kind = {1: None, 10: None, 11: None, 6: torch.int32, 7: torch.int64, 9: torch.bool, 2: torch.uint8}[a["to"]]
    if kind is None:
        return torch.as_tensor(v[0] if v[0].is_floating_point() else v[0].float())
    result: Tensor = v[0].to(kind)
    return result


def _shape(v: list[Any], a: dict[str, Any]) -> np.ndarray:
    return np.array(v[0].shape[a.get("start", 0) : a.get("end")], np.int64)


def _where(v: list[Any], a: dict[str, Any]) -> Tensor:
    like = next(x for x in v[1:] if isinstance(x, Tensor))
    condition = v[0] if isinstance(v[0], Tensor) else torch.as_tensor(v[0], device=like.device)
    return torch.where(condition.bool(), _tensor(v[1], like), _tensor(v[2], like))


def _fold(kind: Callable[[Tensor, Tensor], Tensor]) -> TorchOp:
    def op(v: list[Any], a: dict[str, Any]) -> Tensor:
        like = next(x for x in v if isinstance(x, Tensor))
        total = _tensor(v[0], like)
        for value in v[1:]:
            total = kind(total, _tensor(value, like))
        return total

    return op


def _unit_length(v: list[Any], a: dict[str, Any]) -> Tensor:
    return F.normalize(v[0], float(a.get("p", 2)), a.get("axis", -1), eps=0.0)


TORCH_OPS: dict[str, TorchOp] = {
    "Add": lambda v, a: v[0] + v[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": lambda v, a: v[0] / v[1],
    "Dropout": lambda v, a: v[0],
    "Flatten": lambda v, a: v[0].flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda v, a: v[0].mean(tuple(range(2, v[0].ndim)), keepdim=True),
    "GlobalMaxPool": lambda v, a: v[0].amax(tuple(range(2, v[0].ndim)), keepdim=True),
    "HardSigmoid": lambda v, a: torch.clamp(a.get("alpha", 0.2) * v[0] + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda v, a: F.hardswish(v[0]),
    "Identity": lambda v, a: v[0],
    "LeakyRelu": lambda v, a: F.leaky_relu(v[0], a.get("alpha", 0.01)),
    "MatMul": lambda v, a: v[0] @ v[1],
    "MaxPool": _max_pool,
    "Mul": lambda v, a: v[0] * v[1],
    "PRelu": lambda v, a: torch.where(v[0] > 0, v[0], v[0] * v[1]),
    "Pad": _pad,
    "ReduceMean": lambda v, a: v[0].mean(_axes(v, a), keepdim=bool(a.get("keepdims", 1))),
    "Relu": lambda v, a: F.relu(v[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda v, a: torch.sigmoid(v[0]),
    "Squeeze": _squeeze,
    "Sub": lambda v, a: v[0] - v[1],
    "Tanh": lambda v, a: torch.tanh(v[0]),
    "Unsqueeze": _unsqueeze,
    "Abs": lambda v, a: v[0].abs(),
    "Cast": _cast,
    "Celu": lambda v, a: F.celu(v[0], a.get("alpha", 1.0)),
    "DequantizeLinear": _straight_through,
    "Elu": lambda v, a: F.elu(v[0], a.get("alpha", 1.0)),
    "Equal": lambda v, a: v[0] == v[1],
    "Erf": lambda v, a: torch.erf(v[0]),
    "Exp": lambda v, a: v[0].exp(),
    "Expand": _expand,
    "Gather": _gather,
    "GatherND": _gather_points,
    "Gelu": lambda v, a: F.gelu(v[0], approximate=a.get("approximate", b"none").decode()),
    "Greater": lambda v, a: v[0] > v[1],
    "GroupNormalization": _group_norm,
    "InstanceNormalization": lambda v, a: F.instance_norm(v[0], weight=v[1], bias=v[2], eps=a.get("epsilon", 1e-5)),
    "LayerNormalization": _layer_norm,
    "Less": lambda v, a: v[0] < v[1],
    "Log": lambda v, a: v[0].log(),
    "LogSoftmax": lambda v, a: F.log_softmax(v[0], a.get("axis", -1)),
    "LpNormalization": _unit_length,
    "Max": _fold(torch.maximum),
    "Min": _fold(torch.minimum),
    "Mish": lambda v, a: F.mish(v[0]),
    "Neg": lambda v, a: -v[0],
    "Pow": lambda v, a: v[0] ** v[1],
    "QuantizeLinear": _straight_through,
    "RMSNormalization": _rms_norm,
    "Reciprocal": lambda v, a: 1 / v[0],
    "ReduceL2": _reduced(lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim).sqrt()),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "ReduceSumSquare": _reduced(lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim)),
    "Round": lambda v, a: v[0].round(),
    "Selu": lambda v, a: F.selu(v[0]),
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": lambda v, a: F.softmax(v[0], a.get("axis", -1)),
    "Softplus": lambda v, a: F.softplus(v[0]),
    "Split": _split,
    "Sqrt": lambda v, a: v[0].sqrt(),
    "Sum": _fold(torch.add),
    "Swish": lambda v, a: v[0] * torch.sigmoid(a.get("alpha", 1.0) * v[0]),
    "Transpose": _transpose,
    "Where": _where,
}
