"""The file of a reference: a head in JSON and arrays, written whole, read with bounds, every number finite."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.detection.anomaly import LayerCells
from taintwatch_models.errors import CalibrationError
from taintwatch_models.storage import write_atomically

__all__ = ["Archive", "finite", "layers_in", "layers_out", "number", "read_archive", "write_archive"]

_MOST_BYTES = 256 * 2**20

Archive = Mapping[str, NDArray[Any]]
T = TypeVar("T")


def write_archive(path: Path, head: Mapping[str, Any], arrays: Archive) -> None:
    """Write a head, JSON-ready, and arrays, whole or not at all. Raises `CalibrationError`."""
    buffer = io.BytesIO()
    coded = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez_compressed(buffer, allow_pickle=False, head=coded, **arrays)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_archive(path: Path, format_name: str, learn: str, build: Callable[[dict[str, Any], Archive], T]) -> T:
    """Read a head and arrays, and return what `build` makes of them; `learn` is the command that writes such a file.

    Raises `CalibrationError`: missing, too large, unreadable, of another format, or refused by `build` with one of
    ValueError, KeyError and TypeError.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a regular file")
        if path.stat().st_size > _MOST_BYTES:
            raise CalibrationError(f"{path}: larger than any reference is ({_MOST_BYTES >> 20} MB at most)")
        with path.open("rb") as file:
            if sum(part.file_size for part in zipfile.ZipFile(file).infolist()) > _MOST_BYTES:
                raise ValueError("it unpacks to more than any reference does")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                head = json.loads(stored["head"].tobytes().decode())
                if head["format"] != format_name:
                    raise CalibrationError(
                        f"{path}: written by another version of Taintwatch (its format is '{head['format']}', not "
                        f"'{format_name}'); learn it anew with `{learn}`"
                    )
                return build(head, stored)
    except FileNotFoundError:
        raise CalibrationError(f"{path}: no such reference; learn one with `{learn}`") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, OverflowError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise CalibrationError(f"{path}: not a readable reference ({type(error).__name__}: {error})") from None


def layers_out(layers: Sequence[LayerCells]) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Return the layers' part of the head, and their arrays."""
    rows: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for index, layer in enumerate(layers):
        arrays |= {f"layer{index}_{name}": getattr(layer, name) for name in ("channels", "mean", "whitening")}
        rows.append({
            "value": layer.value, "cells": layer.cells, "tokens": layer.tokens, "stride": layer.stride,
            "centre": layer.centre, "spread": layer.spread,
        })  # fmt: skip
    return rows, arrays


def layers_in(rows: Sequence[Mapping[str, Any]], stored: Archive) -> tuple[LayerCells, ...]:
    """Build the layers again. Raises `ValueError`, `KeyError`, `TypeError`."""
    layers = tuple(
        LayerCells(
            str(row["value"]), (int(row["cells"][0]), int(row["cells"][1])), int(row["tokens"]), int(row["stride"]),
            _whole(stored[f"layer{index}_channels"]), finite(stored[f"layer{index}_mean"]),
            finite(stored[f"layer{index}_whitening"]), number(row["centre"]), number(row["spread"]),
        )
        for index, row in enumerate(rows)
    )  # fmt: skip
    if min((layer.spread for layer in layers), default=1.0) <= 0:
        raise ValueError("a scale is not above 0")
    return layers


def finite(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array of finite floating-point numbers. Raises `ValueError`."""
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise ValueError("a number is not finite")
    return np.asarray(values)


def number(value: object) -> float:
    """Return a finite number. Raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind != "i":
        raise ValueError("channels are no whole numbers")
    return np.asarray(values, np.int64)
