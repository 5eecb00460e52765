"""A radar graph in half precision, and whether it still says the same."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError

__all__ = ["check_parity", "to_float16"]

TOLERANCE = 0.01
"""Of the logits' range."""


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that computes in float16 and still takes and gives float32. Raises `ModelError`."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # slow to import, seldom needed

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of every weight that it clips
            converted = convert_float_to_float16(copy, keep_io_types=True)
    except Exception as error:
        raise ModelError(
            f"the model cannot be converted to float16 ({str(error).strip().splitlines()[0]}); use float32"
        ) from None
    if not isinstance(converted, onnx.ModelProto):
        raise ModelError("the model cannot be converted to float16; use float32")
    return converted


def check_parity(half: Mapping[str, NDArray[Any]], full: Mapping[str, NDArray[Any]]) -> None:
    """Compare `label` and `logits` of the same inputs. Raises `ModelError` where they differ.

    A label may differ where the two largest logits are closer than the tolerance: either is right then.
    """
    logits = np.asarray(full["logits"], np.float64)
    tolerance = TOLERANCE * float(np.ptp(logits))
    difference = float(np.abs(np.asarray(half["logits"], np.float64) - logits).max())
    if not difference <= tolerance:  # not a number, too
        share = difference / max(float(np.ptp(logits)), 1e-12)
        raise ModelError(f"in float16 the model's logits differ by {share:.1%} of their range; use float32")
    rows = np.arange(len(logits))
    lost = logits.max(axis=1) - logits[rows, np.asarray(half["label"])]
    if (lost > 2 * tolerance).any():
        raise ModelError(f"in float16 the model gives another label for {int((lost > 0).sum())} inputs; use float32")
