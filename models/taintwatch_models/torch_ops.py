"""ONNX ops with Torch, each as ONNX defines it: what `TorchGraph` runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_models.errors import ModelError
from taintwatch_models.torch_shape_ops import SHAPE_OPS, TorchOp, axes_of, tensor_like

__all__ = ["TORCH_OPS"]


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


def _resize(v: list[Any], a: dict[str, Any]) -> Tensor:
    mode, place = (a.get(key, given).decode() for key, given in (("mode", b"nearest"),
                   ("coordinate_transformation_mode", b"half_pixel")))  # fmt: skip
    known = mode == "nearest" or (mode in ("linear", "cubic") and place in ("half_pixel", "pytorch_half_pixel"))
    scales = [] if len(v) < 3 or v[2] is None else [float(scale) for scale in torch.as_tensor(v[2]).flatten()[2:]]
    sizes = [] if len(v) < 4 or v[3] is None else [int(size) for size in torch.as_tensor(v[3]).flatten()[2:]]
    if not known or not (scales or sizes):
        raise ModelError(f"a Resize by '{mode}' with '{place}' cannot be run with Torch here")
    kind = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    if scales:
        return F.interpolate(v[0], scale_factor=scales, mode=kind)
    return F.interpolate(v[0], sizes, mode=kind)


def _batch_norm(v: list[Any], a: dict[str, Any]) -> Tensor:
    return F.batch_norm(v[0], v[3], v[4], v[1], v[2], eps=a.get("epsilon", 1e-5))


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


def _reduced(kind: Callable[..., Tensor]) -> TorchOp:
    def op(v: list[Any], a: dict[str, Any]) -> Tensor:
        axes = axes_of(v, a) if "axes" in a or (len(v) > 1 and v[1] is not None) else list(range(v[0].ndim))
        return kind(v[0], axes, keepdim=bool(a.get("keepdims", 1)))

    return op


def _quantised(v: list[Any], a: dict[str, Any]) -> Tensor:
    """Round to the steps of whole numbers, and give the real numbers that these stand for, with slope 1.

    A DequantizeLinear behind it has nothing left to do. Slope: straight through (Bengio et al., 2013).
    """
    x, scale = v[0], torch.as_tensor(v[1], dtype=v[0].dtype, device=v[0].device)
    zero = np.asarray(v[2] if len(v) > 2 and v[2] is not None else np.uint8(0))
    shape = [1] * x.ndim
    if scale.numel() > 1:
        shape[a.get("axis", 1) % x.ndim] = -1
    scale, offset = scale.reshape(shape), torch.as_tensor(zero.astype(np.int64), device=x.device).reshape(shape)
    limits = np.iinfo(zero.dtype)
    steps = torch.clamp(torch.round(x / scale) + offset, limits.min, limits.max) - offset
    return torch.as_tensor(x + (steps * scale - x).detach())


def _cast(v: list[Any], a: dict[str, Any]) -> Tensor:
    kind = {1: None, 10: None, 11: None, 6: torch.int32, 7: torch.int64, 9: torch.bool, 2: torch.uint8}[a["to"]]
    if kind is None:
        return torch.as_tensor(v[0] if v[0].is_floating_point() else v[0].float())
    result: Tensor = v[0].to(kind)
    return result


def _fold(kind: Callable[[Tensor, Tensor], Tensor]) -> TorchOp:
    def op(v: list[Any], a: dict[str, Any]) -> Tensor:
        like = next(x for x in v if isinstance(x, Tensor))
        total = tensor_like(v[0], like)
        for value in v[1:]:
            total = kind(total, tensor_like(value, like))
        return total

    return op


def _unit_length(v: list[Any], a: dict[str, Any]) -> Tensor:
    return F.normalize(v[0], float(a.get("p", 2)), a.get("axis", -1), eps=0.0)


def _of_one(kind: Callable[[Tensor], Tensor]) -> TorchOp:
    return lambda v, a: kind(torch.as_tensor(v[0]))


_OF_ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs, "Ceil": torch.ceil, "Cos": torch.cos, "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor,
    "HardSwish": F.hardswish, "IsInf": torch.isinf, "IsNaN": torch.isnan, "Log": torch.log, "Mish": F.mish,
    "Neg": torch.neg, "Not": torch.logical_not, "Reciprocal": torch.reciprocal, "Relu": F.relu,
    "Round": torch.round, "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin, "Softplus": F.softplus,
    "Sqrt": torch.sqrt, "Tanh": torch.tanh,
}  # fmt: skip

TORCH_OPS: dict[str, TorchOp] = {
    **SHAPE_OPS,
    **{name: _of_one(kind) for name, kind in _OF_ONE.items()},
    "Add": lambda v, a: v[0] + v[1],
    "And": lambda v, a: torch.as_tensor(v[0]) & torch.as_tensor(v[1]),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "Div": lambda v, a: v[0] / v[1],
    "Dropout": lambda v, a: v[0],
    "Einsum": lambda v, a: torch.einsum(a["equation"].decode(), *v),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda v, a: v[0].mean(tuple(range(2, v[0].ndim)), keepdim=True),
    "GlobalMaxPool": lambda v, a: v[0].amax(tuple(range(2, v[0].ndim)), keepdim=True),
    "HardSigmoid": lambda v, a: torch.clamp(a.get("alpha", 0.2) * v[0] + a.get("beta", 0.5), 0, 1),
    "Identity": lambda v, a: v[0],
    "LeakyRelu": lambda v, a: F.leaky_relu(v[0], a.get("alpha", 0.01)),
    "MatMul": lambda v, a: v[0] @ v[1],
    "MaxPool": _max_pool,
    "Mul": lambda v, a: v[0] * v[1],
    "PRelu": lambda v, a: torch.where(v[0] > 0, v[0], v[0] * v[1]),
    "ReduceMean": lambda v, a: v[0].mean(axes_of(v, a), keepdim=bool(a.get("keepdims", 1))),
    "Resize": _resize,
    "Sub": lambda v, a: v[0] - v[1],
    "Cast": _cast,
    "Celu": lambda v, a: F.celu(v[0], a.get("alpha", 1.0)),
    "DequantizeLinear": lambda v, a: v[0],
    "Elu": lambda v, a: F.elu(v[0], a.get("alpha", 1.0)),
    "Equal": lambda v, a: v[0] == v[1],
    "Gelu": lambda v, a: F.gelu(v[0], approximate=a.get("approximate", b"none").decode()),
    "Greater": lambda v, a: v[0] > v[1],
    "GreaterOrEqual": lambda v, a: v[0] >= v[1],
    "GroupNormalization": _group_norm,
    "InstanceNormalization": lambda v, a: F.instance_norm(v[0], weight=v[1], bias=v[2], eps=a.get("epsilon", 1e-5)),
    "LayerNormalization": _layer_norm,
    "Less": lambda v, a: v[0] < v[1],
    "LessOrEqual": lambda v, a: v[0] <= v[1],
    "LogSoftmax": lambda v, a: F.log_softmax(v[0], a.get("axis", -1)),
    "LpNormalization": _unit_length,
    "Max": _fold(torch.maximum),
    "Min": _fold(torch.minimum),
    "Pow": lambda v, a: v[0] ** v[1],
    "QuantizeLinear": _quantised,
    "RMSNormalization": _rms_norm,
    "ReduceL2": _reduced(lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim).sqrt()),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "ReduceSumSquare": _reduced(lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim)),
    "Selu": lambda v, a: F.selu(v[0]),
    "Softmax": lambda v, a: F.softmax(v[0], a.get("axis", -1)),
    "Sum": _fold(torch.add),
    "Swish": lambda v, a: v[0] * torch.sigmoid(a.get("alpha", 1.0) * v[0]),
}
