"""The evaluation as Markdown, for a page of documentation, and as CSV, for a spreadsheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taintwatch.csv_rows import csv_row
from taintwatch_calibration.bench.page import worst

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
    lines = _heads(["worst cell of", *(f"`{name}`" for name in detectors)])
    for family in dict.fromkeys(cell["attack_family"] for cell in cells):
        found = (worst(cells, family, detector, rate) for detector in detectors)
        lines.append(_row([family.replace("_", " "), *(_share(cell) for cell in found)]))
    return "\n".join(lines) + "\n"


def _models(cells: Sequence[dict[str, Any]]) -> str:
    models = list(dict.fromkeys(cell["model"] for cell in cells))
    lines = _heads(["seen by `default`, of how many", *(name.replace("_", " ") for name in models)])
    for attack in dict.fromkeys(cell["attack"] for cell in cells):
        found = {c["model"]: c for c in cells if c["attack"] == attack and c["detector"] == "default"}
        lines.append(_row([attack, *(_counted(found.get(name)) for name in models)]))
    held = {c["model"]: c["fpr"] for c in cells if c["detector"] == "default"}
    lines.append(_row(["*held-out false alarms*", *(f"*{held[name]:.1%}*" if name in held else "" for name in models)]))
    return "\n".join(lines) + "\n"


def _controls(models: Sequence[Mapping[str, Any]], rate: float) -> str:
    names = list(models[0]["controls"]["detectors"])
    lines = _heads(["a photograph pasted over it, called an attack", "of", *(f"`{name}`" for name in names)])
    for model in models:
        found = model["controls"]
        rates = (found["detectors"].get(name, {}).get(f"{rate:g}") for name in names)
        lines.append(_row([model["name"], str(found["kept"]), *(f"{r['rate']:.1%}" if r else "" for r in rates)]))
    return "\n".join(lines) + "\n"


def _times(models: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for model in models for name in model["ms_per_frame"]))
    lines = _heads(["ms for one frame", *(f"`{name}`" for name in names)])
    for model in models:
        times = model["ms_per_frame"]
        lines.append(_row([model["name"], *(f"{times[n]:.2f}" if n in times else "" for n in names)]))
    return "\n".join(lines) + "\n"


def _share(cell: Mapping[str, Any] | None) -> str:
    return "-" if cell is None else f"{cell['tpr']:.1%}"


def _counted(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    if cell["tpr"] is None:
        return "none succeeds"
    text = f"{cell['tpr']:.1%} of {cell['n']}"
    return f"({text})" if cell["n"] < _LEAST else text


def _heads(names: Sequence[str]) -> list[str]:
    return [_row(names), "|---" * len(names) + "|"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
