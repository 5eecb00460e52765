"""How Torch's classifiers are exported: torch's two exporters in their usual calls, opsets, and kinds of numbers."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.architectures.torch_networks import described
from taintwatch_models.graph.verification import check_inputs

__all__ = ["EXPORTERS", "FORMS", "Exporter", "quiet"]

Exporter = Callable[[nn.Module, int, Path], None]
"""Takes a network in evaluation mode, the side of its pictures, and where to write. Raises what torch raises."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what exporters print of their own internals."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _default(model: nn.Module, side: int, path: Path) -> None:
    """torch's call as it stands: dynamo, one example, a batch of 1."""
    with quiet():
        torch.onnx.export(model, (torch.zeros(1, 3, side, side),), str(path))


def _dynamo(opset: int | None = None, dtype: torch.dtype = torch.float32) -> Exporter:
    def export(model: nn.Module, side: int, path: Path) -> None:
        example = torch.zeros(2, 3, side, side, dtype=dtype)  # torch takes a batch of 1 for a constant
        with quiet():
            torch.onnx.export(
                model.to(dtype), (example,), str(path), dynamo=True, opset_version=opset,
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            )  # fmt: skip

    return export


def _legacy(opset: int = 17) -> Exporter:
    def export(model: nn.Module, side: int, path: Path) -> None:
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
        with quiet():
            torch.onnx.export(
                model, (torch.zeros(1, 3, side, side),), str(path), dynamo=False, opset_version=opset,
                input_names=["input"], output_names=["logits"], dynamic_axes=axes,
            )  # fmt: skip

    return export


def _half(model: nn.Module, side: int, path: Path) -> None:
    """ONNX Runtime's converter, which keeps float32 inputs and outputs."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _legacy()(model, side, path)
    with quiet():
        onnx.save(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(path))


def _integers(form: str) -> Exporter:
    """Quantise the weights and activations to int8 on pictures."""

    def export(model: nn.Module, side: int, path: Path) -> None:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

        class Pictures(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self._rows: Iterator[NDArray[np.float32]] = iter(check_inputs(described(side), 8))

            def get_next(self) -> dict[str, NDArray[np.float32]] | None:
                row = next(self._rows, None)
                return None if row is None else {"input": row[None]}

        plain = path.with_name("plain.onnx")
        _legacy()(model, side, plain)
        with quiet():
            quantize_static(str(plain), str(path), Pictures(), quant_format=QuantFormat[form])

    return export


EXPORTERS: dict[str, Exporter] = {"default": _default, "dynamic": _dynamo(), "legacy": _legacy()}
"""torch's call as it stands (dynamo, one example), dynamo with a dynamic batch, the exporter before it."""

FORMS: dict[str, Exporter] = {
    **{f"legacy, opset {opset}": _legacy(opset) for opset in (7, 9, 11, 13, 15)},
    **{f"dynamic, opset {opset}": _dynamo(opset) for opset in (18, 20, 21, 22, 23, 24)},
    "float16 by conversion": _half,
    "float16": _dynamo(dtype=torch.float16),
    "bfloat16": _dynamo(dtype=torch.bfloat16),
    "int8 QDQ": _integers("QDQ"),
    "int8 QOperator": _integers("QOperator"),
}
"""Opsets 7 to 24 and kinds of numbers, of a few networks."""
