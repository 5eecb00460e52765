"""A run of the bench over several models: what it prints, and the JSON, Markdown and HTML that it writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from taintwatch_calibration.bench.evaluation import Evaluation, EvaluationOptions
from taintwatch_calibration.bench.page import draw_roc, html_page, worst
from taintwatch_calibration.bench.tables import csv_table, markdown_tables
from taintwatch_calibration.craft.engine import Step
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json, write_text
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["Outputs", "check_rates", "require_drawing", "run_bench"]

_REPORT_S = 20.0
_MAIN_RATE = 0.02


class Outputs:
    """Where a run writes: `page` (HTML) always; JSON (with a PNG beside it), Markdown and CSV where they are wanted."""

    def __init__(
        self, page: Path, document: Path | None = None, markdown: Path | None = None, spreadsheet: Path | None = None
    ) -> None:
        self.page, self.document, self.markdown, self.spreadsheet = page, document, markdown, spreadsheet

    def __str__(self) -> str:
        wanted = (self.page, self.document, self.markdown, self.spreadsheet)
        return " and ".join(str(path) for path in wanted if path is not None)


def check_rates(target_fpr: Sequence[float]) -> None:
    """Raise `UsageError` for a target false-positive rate that is none."""
    for rate in target_fpr:
        if not 0 < rate <= 0.5:
            raise UsageError(f"--fpr must be above 0 and at most 0.5, not {rate:g}")


def require_drawing() -> None:
    """Raise `UsageError` where the pictures could not be drawn, which would otherwise be found out at the end."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError("the pictures need matplotlib: pip install 'taintwatch[bench]'") from None
    mpl.use("Agg")


def run_bench(models: Iterable[Evaluation], options: EvaluationOptions, outputs: Outputs, console: Console) -> None:
    """Evaluate each model, write the results, print the worst cells. `console` gets the progress."""
    evaluations, cells = [], []
    for each in models:
        evaluations.append(each)
        cells += each.cells(_reporter(each.subject.name, console))
    result = {**machine(), "options": asdict(options), "models": [each.about() for each in evaluations], "cells": cells}
    _write(result, evaluations, outputs)
    _show(cells, _rate(options.target_fpr))


def _reporter(model: str, console: Console) -> Callable[[str], Callable[[Step], None]]:
    def reporter(attack: str) -> Callable[[Step], None]:
        last = [time.monotonic()]

        def report(step: Step) -> None:
            if time.monotonic() - last[0] > _REPORT_S:
                last[0] = time.monotonic()
                console.print(f"         {model}: {attack}: step {step.iteration}, success {step.success:.0%}")

        return report

    return reporter


def _rate(target_fpr: Sequence[float]) -> float:
    return _MAIN_RATE if _MAIN_RATE in target_fpr else target_fpr[0]


def _write(result: Mapping[str, Any], evaluations: Sequence[Evaluation], outputs: Outputs) -> None:
    families: dict[str, dict[str, Any]] = {}
    for each in evaluations:
        for family, curves in each.curves().items():
            families.setdefault(family, {})[each.subject.name] = curves
    pictures = {
        f"ROC: {family.replace('_', ' ')}": draw_roc(models, family.replace("_", " "))
        for family, models in families.items()
    }
    rate = _rate(result["options"]["target_fpr"])
    write_text(outputs.page, html_page(result, pictures, rate))
    if outputs.document is not None:
        write_json(outputs.document, result)
        write_atomically(outputs.document.with_suffix(".png"), next(iter(pictures.values())))
    if outputs.markdown is not None:
        write_text(outputs.markdown, markdown_tables(result, rate))
    if outputs.spreadsheet is not None:
        write_text(outputs.spreadsheet, csv_table(result["cells"]))


def _show(cells: Sequence[dict[str, Any]], rate: float) -> None:
    detectors = list(dict.fromkeys(cell["detector"] for cell in cells))
    table = Table("worst cell of", *detectors, title=f"TPR at a target FPR of {rate:.0%}")
    for family in dict.fromkeys(cell["attack_family"] for cell in cells):
        found = (worst(cells, family, detector, rate) for detector in detectors)
        table.add_row(family, *(f"{cell['tpr']:.1%} ({cell['fpr']:.1%})" if cell else "-" for cell in found))
    Console().print(table)
