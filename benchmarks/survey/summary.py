"""The survey's tables, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.survey.attacks import ATTACKS
from taintwatch_calibration.results import markdown_table

__all__ = ["attack_table", "detector_table", "page", "recovery_table", "row_table"]

Cell = Mapping[str, Any]
_RATES = ("0.02", "0.001")


def page(result: Cell) -> str:
    """Return all tables of a result."""
    parts = ["### Attacks\n\n" + attack_table(result["attacks"], result["detectors"])]
    networks = dict.fromkeys(cell["network"] for cell in result["detectors"])
    for network in networks:
        cells = [cell for cell in result["detectors"] if cell["network"] == network]
        parts.append(f"### Detectors on {network}\n\n" + detector_table(cells))
        recovered = [cell for cell in cells if "recovery" in cell]
        if recovered:
            parts.append(f"### Labels behind the defences, {network}\n\n" + recovery_table(recovered))
    parts.append("### Every row of the survey\n\n" + row_table(result["rows"]))
    return "\n".join(parts)


def _share(cell: Cell | None) -> str:
    """`12 of 20 (39 to 78%)`, the 95% Wilson interval in brackets."""
    if not cell or not cell["n"]:
        return "-"
    low, high = cell["interval"]
    return f"{cell['count']} of {cell['n']} ({100 * low:.0f} to {100 * high:.0f}%)"


def _short(cell: Cell | None) -> str:
    return f"{cell['count']}/{cell['n']}" if cell and cell["n"] else "-"


def attack_table(cells: list[Any], detectors: list[Any]) -> str:
    """Return each attack with its published figure, and what the default detector sees of its successes."""
    default = {cell["network"]: cell for cell in detectors if cell["detector"] == "combined"}
    rows = []
    for cell in cells:
        seen = default.get(cell["network"], {}).get("tpr", {}).get(cell["attack"], {})
        attack, faint = ATTACKS[cell["attack"]], cell["faintness"]
        rows.append([
            attack.title, cell["network"], _share(cell["success"]), _short(cell.get("control_wrong")),
            f"{faint['l2']:.2f}", f"{faint['ssim']:.3f}", f"{cell['cpu_seconds_per_picture']:.2f}",
            *(_short(seen.get(rate)) for rate in _RATES), attack.published,
        ])  # fmt: skip
    heads = ["attack", "network", "succeeds", "wrong with the control", "l2", "SSIM", "CPU s a picture",
             "`combined` sees at 2%", "at 0.1%", "published"]  # fmt: skip
    return markdown_table(heads, rows)


def detector_table(cells: list[Any]) -> str:
    """Return each detector's rates on one network: held-out false alarms, then what it sees of each attack, at 2%."""
    attacks = list(dict.fromkeys(name for cell in cells for name in cell.get("tpr", {})))
    rows = []
    for cell in cells:
        if "out" in cell:
            rows.append([cell["detector"], cell["out"], *[""] * (len(attacks) + 2)])
            continue
        rates = [_short(cell["fpr"][rate]) for rate in _RATES]
        seen = [_short(cell["tpr"].get(name, {}).get(_RATES[0])) for name in attacks]
        rows.append([cell["detector"], f"{cell['cpu_ms_per_frame']:.1f}", *rates, *seen])
    return markdown_table(["detector", "CPU ms a frame", "FPR at 2%", "FPR at 0.1%", *attacks], rows)


def recovery_table(cells: list[Any]) -> str:
    """Return the accuracy behind each defence: benign, and under each attack."""
    names = list(dict.fromkeys(name for cell in cells for name in cell["recovery"]))
    rows = [[cell["detector"], *(_short(cell["recovery"].get(name)) for name in names)] for cell in cells]
    return markdown_table(["defence", *(name.replace("_", " ") for name in names)], rows)


def row_table(rows: list[Any]) -> str:
    """Return what stands for every row of the survey, or why nothing does."""
    return markdown_table(
        ["system", "year", "group", "here"],
        [[row["name"], str(row["year"]), row["group"], f"`{row['here']}`" if row["here"] else f"out: {row['out']}"]
         for row in rows],
    )  # fmt: skip
