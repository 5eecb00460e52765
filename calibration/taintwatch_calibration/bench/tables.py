"""The evaluation as Markdown, for a page of documentation, and as CSV, for a spreadsheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taintwatch.csv_rows import csv_row
from taintwatch_calibration.bench.page import worst
from taintwatch_calibration.results import markdown_table

__all__ = ["csv_table", "markdown_tables"]

_LEAST = 20


def markdown_tables(document: Mapping[str, Any], rate: float) -> str:
    """Return tables: the worst cell of each family, each model's attacks with the default, controls, times."""
    cells = [cell for cell in document["cells"] if cell["target_fpr"] == rate]
    detectors = list(dict.fromkeys(cell["detector"] for cell in cells))
    models = document["models"]
    tables = [_families(cells, detectors, rate), _models(cells), _controls(models, rate), _times(models)]
    return "\n".join(tables)


def csv_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the cells as CSV, one a line; a list's values are parted by spaces."""
    columns = list(dict.fromkeys(name for cell in cells for name in cell))
    rows = [csv_row(columns), *(csv_row([_flat(cell.get(name)) for name in columns]) for cell in cells)]
    return "\n".join(rows) + "\n"


def _flat(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _families(cells: Sequence[dict[str, Any]], detectors: Sequence[str], rate: float) -> str:
    rows = []
    for family in dict.fromkeys(cell["attack_family"] for cell in cells):
        found = (worst(cells, family, detector, rate) for detector in detectors)
        rows.append([family.replace("_", " "), *(_share(cell) for cell in found)])
    return markdown_table(["worst cell of", *(f"`{name}`" for name in detectors)], rows)


def _models(cells: Sequence[dict[str, Any]]) -> str:
    models = list(dict.fromkeys(cell["model"] for cell in cells))
    rows = []
    for attack in dict.fromkeys(cell["attack"] for cell in cells):
        found = {c["model"]: c for c in cells if c["attack"] == attack and c["detector"] == "default"}
        rows.append([attack, *(_counted(found.get(name)) for name in models)])
    held = {c["model"]: c["fpr"] for c in cells if c["detector"] == "default"}
    rows.append(["*held-out false alarms*", *(f"*{held[name]:.1%}*" if name in held else "" for name in models)])
    return markdown_table(["seen by `default`, of how many", *(name.replace("_", " ") for name in models)], rows)


def _controls(models: Sequence[Mapping[str, Any]], rate: float) -> str:
    names = list(models[0]["controls"]["detectors"])
    rows = []
    for model in models:
        found = model["controls"]
        rates = (found["detectors"].get(name, {}).get(f"{rate:g}") for name in names)
        rows.append([model["name"], str(found["kept"]), *(f"{r['rate']:.1%}" if r else "" for r in rates)])
    heads = ["a photograph pasted over it, called an attack", "of", *(f"`{name}`" for name in names)]
    return markdown_table(heads, rows)


def _times(models: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for model in models for name in model["ms_per_frame"]))
    rows = []
    for model in models:
        times = model["ms_per_frame"]
        rows.append([model["name"], *(f"{times[n]:.2f}" if n in times else "" for n in names)])
    return markdown_table(["ms for one frame", *(f"`{name}`" for name in names)], rows)


def _share(cell: Mapping[str, Any] | None) -> str:
    return "-" if cell is None else f"{cell['tpr']:.1%}"


def _counted(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    if cell["tpr"] is None:
        return "none succeeds"
    text = f"{cell['tpr']:.1%} of {cell['n']}"
    return f"({text})" if cell["n"] < _LEAST else text
