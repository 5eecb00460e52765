"""One ONNX node at a time: with Torch where it reads a tensor, with ONNX's own evaluator where it reads sizes alone.

What the modules of classifiers and of detectors share. Sizes, and what is worked out of them, are arrays; they need no
gradient.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.builder import attributes
from taintwatch_models.torch_ops import TORCH_OPS

__all__ = ["evaluate", "require_known", "run_node", "size_names"]


def require_known(nodes: Iterable[onnx.NodeProto], sizes: Container[str] = ()) -> None:
    """Raise `ModelError` naming the first op that Torch is not taught here; those that give `sizes` need not be."""
    for node in nodes:
        if node.op_type not in TORCH_OPS and node.output[0] not in sizes:
            raise ModelError(f"the op {node.op_type} ('{node.output[0]}') cannot be run with Torch here")


def size_names(nodes: Iterable[onnx.NodeProto], constants: Container[str]) -> frozenset[str]:
    """Return the values that hang on shapes and constants alone, whatever the picture shows."""
    found: set[str] = set()
    for node in nodes:
        if node.op_type in ("Shape", "Size") or all(name in found or name in constants for name in node.input if name):
            found.update(node.output)
    return frozenset(found)


def run_node(node: onnx.NodeProto, arguments: Sequence[Any], opset: int) -> tuple[Any, ...]:
    """Return a node's outputs: tensors where an argument is one (but for shapes), else arrays.

    Raises `ModelError` where an op has attributes that are not supported.
    """
    like = next((value for value in arguments if isinstance(value, Tensor)), None)
    if like is None:
        return evaluate(node, arguments, opset)
    given = attributes(node) | {"outputs": len(node.output)}
    result = TORCH_OPS[node.op_type]([_beside(value, like) for value in arguments], given)
    return result if isinstance(result, tuple) else (result,)


def evaluate(node: onnx.NodeProto, arguments: Sequence[Any], opset: int) -> tuple[NDArray[Any], ...]:
    """Return the outputs of a node whose arguments are arrays or numbers."""
    given = {
        name: np.asarray(value, np.float32 if isinstance(value, float) else None)
        for name, value in zip(node.input, arguments, strict=True)
        if name
    }
    return tuple(np.asarray(each) for each in _evaluator(node.SerializeToString(), opset).run(None, given))


@lru_cache(maxsize=4096)
def _evaluator(node: bytes, opset: int) -> ReferenceEvaluator:
    return ReferenceEvaluator(onnx.NodeProto.FromString(node), opsets={"": opset})


def _beside(value: Any, like: Tensor) -> Any:
    """Return reals and truths that were worked out of sizes as tensors, beside one; whole numbers as they are."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fb":
        return torch.from_numpy(np.array(value)).to(like.device)
    return value
