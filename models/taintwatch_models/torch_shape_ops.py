"""ONNX ops that move values, with Torch, each as ONNX defines it: reshape, concat, slice, gather, where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_models.errors import ModelError

__all__ = ["SHAPE_OPS", "TorchOp", "axes_of", "tensor_like"]

TorchOp = Callable[[list[Any], dict[str, Any]], Any]
"""Takes a node's inputs (tensors; arrays of whole numbers; floats) and attributes; gives a tensor, or a tuple."""


def axes_of(v: list[Any], a: dict[str, Any]) -> list[int]:
    """Return the axes that a node names, as an attribute or as its second input."""
    return [int(axis) for axis in (a["axes"] if "axes" in a else v[1])]


def tensor_like(value: Any, like: Tensor) -> Tensor:
    """Return a value as a tensor of the kind and on the device of another."""
    return (
        value if isinstance(value, Tensor) else torch.as_tensor(np.array(value), dtype=like.dtype, device=like.device)
    )


def _whole(value: Any) -> list[int]:
    return [int(v) for v in np.atleast_1d(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)]


def _reshape(v: list[Any], a: dict[str, Any]) -> Tensor:
    shape = [v[0].shape[i] if d == 0 else d for i, d in enumerate(_whole(v[1]))]
    result: Tensor = v[0].reshape(shape)
    return result


def _squeeze(v: list[Any], a: dict[str, Any]) -> Tensor:
    result: Tensor = v[0].squeeze(tuple(axes_of(v, a)))
    return result


def _unsqueeze(v: list[Any], a: dict[str, Any]) -> Tensor:
    for axis in sorted(axes_of(v, a)):
        v[0] = v[0].unsqueeze(axis)
    return v[0]  # type: ignore[no-any-return]


def _pad(v: list[Any], a: dict[str, Any]) -> Tensor:
    n = [int(p) for p in v[1]]
    return F.pad(v[0], (n[3], n[7], n[2], n[6]))


def _concat(v: list[Any], a: dict[str, Any]) -> Any:
    like = next((x for x in v if isinstance(x, Tensor)), None)
    if like is None:  # sizes
        return np.concatenate(v, a["axis"])
    return torch.cat([tensor_like(x, like) for x in v], a["axis"])


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


def _shape(v: list[Any], a: dict[str, Any]) -> np.ndarray:
    return np.array(v[0].shape[a.get("start", 0) : a.get("end")], np.int64)


def _where(v: list[Any], a: dict[str, Any]) -> Tensor:
    like = next(x for x in v[1:] if isinstance(x, Tensor))
    condition = v[0] if isinstance(v[0], Tensor) else torch.as_tensor(v[0], device=like.device)
    return torch.where(condition.bool(), tensor_like(v[1], like), tensor_like(v[2], like))


def _largest(v: list[Any], a: dict[str, Any]) -> tuple[Tensor, Tensor]:
    found = v[0].topk(_whole(v[1])[0], a.get("axis", -1), bool(a.get("largest", 1)), bool(a.get("sorted", 1)))
    return found.values, found.indices


def _gather_elements(v: list[Any], a: dict[str, Any]) -> Tensor:
    axis = a.get("axis", 0) % v[0].ndim
    index = torch.as_tensor(v[1], dtype=torch.int64, device=v[0].device) % v[0].shape[axis]
    result: Tensor = v[0].gather(axis, index)
    return result


def _grid_sample(v: list[Any], a: dict[str, Any]) -> Tensor:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(name := a.get("mode", b"linear").decode(), name)
    padding = a.get("padding_mode", b"zeros").decode()
    return F.grid_sample(v[0], v[1], mode, padding, bool(a.get("align_corners", 0)))


SHAPE_OPS: dict[str, TorchOp] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": lambda v, a: v[0].flatten(a.get("axis", 1)),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_points,
    "GridSample": _grid_sample,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": lambda v, a: v[0].repeat(_whole(v[1])),
    "TopK": _largest,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
