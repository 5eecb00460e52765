"""What became of each export: prepared or refused, right or wrong, how slow."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.architectures.cases import ExportCase
from benchmarks.architectures.measured_code import code_digest
from benchmarks.architectures.torch_networks import described
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.graph.logits_parity import logits_difference
from taintwatch_models.graph.prepare import Prepared, prepare_source
from taintwatch_models.graph.verification import check_inputs, stray_pixels, with_autograd
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.model_source import read_source
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["NOT_EXPORTED", "PICTURES", "Row", "measure", "summary", "table"]

PICTURES = 4
NOT_EXPORTED = "not exported: "
_LOGITS, _MASKS = 1e-4, 1e-3
_ON_CPU = SessionSettings(device="cpu", threads=1)


@dataclass(frozen=True)
class Row:
    """What became of one export."""

    family: str
    model: str
    exporter: str
    outcome: str
    """`right`, `wrong`, the sentence that refused it, or why the exporter gave no file."""
    logits_error: float | None = None
    """Largest difference from the file's own output, relative to its largest."""
    mask_error: float | None = None
    """Share of mask pixels that differ from float64 autograd's, of both variants the larger."""
    tight_ratio: float | None = None
    """Processor time of `tight` over that of the file's forward, one picture, one thread, medians."""
    maps: str = ""
    mask_area: float | None = None
    """Mean share of the picture that `tight`'s masks cover: where it is 0, equal masks say nothing."""
    code: str = ""
    """`code_digest` of what it was measured with."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.family, self.model, self.exporter


def measure(case: ExportCase, folder: Path) -> Row:
    """Export one case into a folder (unless its file is there already), prepare it and check it."""
    return replace(_measured(case, folder), code=code_digest())


def _measured(case: ExportCase, folder: Path) -> Row:
    path = folder / "model.onnx"
    try:
        if not path.is_file():
            _export(case, path)
    except Exception as error:  # the exporter's own failure: nothing to prepare
        return Row(*case.key, NOT_EXPORTED + _sentence(error))
    try:
        source = read_source(path)
        prepared = prepare_source(source, ModelDescription(described(case.side)))
    except TaintwatchError as error:
        return Row(*case.key, str(error).removeprefix(f"{path}: "))
    inputs = check_inputs(described(case.side), PICTURES)
    logits = logits_difference(source, prepared.plain, prepared.radar.proto, inputs)
    masks, area = mask_difference(prepared, inputs)
    outcome = "right" if logits <= _tolerance(case) and masks <= _MASKS else "wrong"
    info = prepared.radar.info
    return Row(
        *case.key, outcome, float(f"{logits:.2g}"), float(f"{masks:.2g}"), tight_ratio(path, prepared, inputs[:1]),
        f"{info.channels} x {info.cells[0]} x {info.cells[1]}", float(f"{area:.2g}"),
    )  # fmt: skip


def _export(case: ExportCase, path: Path) -> None:
    """Write all of an export or nothing: weights may lie in a file beside it, under the name that it was given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        case.write(path)
    except BaseException:
        shutil.rmtree(path.parent)
        raise


def _tolerance(case: ExportCase) -> float:
    """1e-4 of the largest output; half-precision files round their own outputs, and integer ones step."""
    if case.exporter.startswith("int8"):
        return 0.1
    return 0.02 if "float16" in case.exporter else _LOGITS


def _sentence(error: Exception) -> str:
    """The innermost cause's first line: torch's exporter wraps it in instructions."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def mask_difference(prepared: Prepared, inputs: NDArray[np.float32]) -> tuple[float, float]:
    """Share of mask pixels that differ from float64 autograd's (of both variants the larger), and `tight`'s area.

    Both have the same last maps: see `with_autograd`.
    """
    ours, expected = with_autograd(prepared, inputs)
    return stray_pixels(ours, expected), float(expected["tight_mask"].mean())


def tight_ratio(path: Path, prepared: Prepared, inputs: NDArray[np.float32], seconds: float = 1.0) -> float | None:
    """Time `tight` and the file's own forward in turn, 3 to 9 times; return the ratio of the medians.

    None where ONNX Runtime does not run the file's kind of numbers here (bfloat16).
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # the runtime raises its own kinds
        return None
    inputs_of = {value.name: value for value in session.get_inputs()}
    given = inputs_of.pop(prepared.plain.input_form.name)
    unread = {
        name: np.zeros([n if isinstance(n, int) else 1 for n in value.shape], np.float32)
        for name, value in inputs_of.items()
    }
    kinds = {"tensor(float16)": np.dtype(np.float16)}
    own = prepared.plain.input_form.convert(inputs, kinds.get(given.type, np.dtype(np.float32)))
    radar = OnnxRadar(prepared.radar, ("tight",), session=_ON_CPU)
    calls: tuple[Callable[[], object], ...] = (
        lambda: session.run(None, {given.name: own, **unread}),
        lambda: radar(inputs),
    )
    times: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    while len(times[0]) < 3 or (len(times[0]) < 9 and time.perf_counter() - begun < seconds):
        for call, spent in zip(calls, times, strict=True):
            start = time.process_time()  # other work on the machine counts for neither
            call()
            spent.append(time.process_time() - start)
    return round(float(np.median(times[1]) / np.median(times[0])), 2)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Count the exports by outcome, JSON-ready."""
    exported = [row for row in rows if not row.outcome.startswith(NOT_EXPORTED)]
    right, wrong = (sum(row.outcome == name for row in exported) for name in ("right", "wrong"))
    return {
        "tried": len(rows),
        "exported": len(exported),
        "accepted": right + wrong,
        "right": right,
        "wrong": wrong,
        "refused": len(exported) - right - wrong,
        "measured_with_other_code": sum(row.code != code_digest() for row in rows),
    }


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of the counts by family and in all."""
    lines = ["| family | networks | exports | accepted | right | refused |", "|---|---|---|---|---|---|"]
    for family in [*dict.fromkeys(row.family for row in rows), "all"]:
        own = [row for row in rows if family in (row.family, "all")]
        counts = summary(own)
        networks = len({row.model for row in own if not row.outcome.startswith(NOT_EXPORTED)})
        cells = (networks, *(counts[name] for name in ("exported", "accepted", "right", "refused")))
        lines.append(f"| {family} | {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)
