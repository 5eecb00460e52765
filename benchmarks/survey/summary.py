"""The survey's tables, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.survey.attacks import ATTACKS
from benchmarks.survey.headlines import PLAIN, headline, published, share_text
from taintwatch_calibration.results import markdown_table

__all__ = ["attack_table", "detector_table", "page", "recovery_table", "robust_table", "row_table"]

Cell = Mapping[str, Any]
_RATES = ("0.02", "0.001")
_SEEN = """In brackets the successes that were judged; below them how many of these are seen, in percent: at 2%, at
0.1%. False alarms are benign pictures at the same two thresholds.

"""
_BEHIND = """Labels that are right, in percent of the pictures in brackets: benign ones with and without the defence,
then all attempts of each attack.

"""
_KINDS = {"physical": "what is printed", "digital": "digital attacks"}


def page(result: Cell) -> str:
    """Return all tables of a result."""
    networks = list(dict.fromkeys(cell["network"] for cell in result["attacks"]))
    robust = [name for name in networks if name.startswith("signs_") and name != PLAIN]
    parts = []
    for network in (name for name in networks if name not in robust):
        attacks, detectors = (_on(network, result[kind]) for kind in ("attacks", "detectors"))
        parts.append(f"### Attacks on {network}\n\n" + attack_table(attacks, detectors))
        for kind, title in _KINDS.items():
            names = [cell["attack"] for cell in attacks if ATTACKS[cell["attack"]].kind == kind]
            if names and detectors:
                heading = f"### What each detector sees on {network}: {title}\n\n"
                parts.append(heading + _SEEN + detector_table(detectors, names))
        recovered = [cell for cell in detectors if "recovery" in cell]
        if recovered:
            parts.append(f"### Labels behind the defences, {network}\n\n" + _BEHIND + recovery_table(recovered))
    if robust:
        parts.append("### Networks that defend by themselves\n\n" + robust_table(result, [PLAIN, *robust]))
    parts.append("### Every row of the survey\n\n" + row_table(result))
    return "\n".join(parts)


def _on(network: str, cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell["network"] == network]


def _short(cell: Cell | None) -> str:
    return f"{cell['count']}/{cell['n']}" if cell and cell["n"] else "-"


def _percent(cell: Cell | None) -> str:
    return f"{100 * cell['count'] / cell['n']:.0f}" if cell and cell["n"] else "-"


def _words(name: str) -> str:
    return name.replace("_", " ")


def attack_table(cells: Sequence[Cell], detectors: Sequence[Cell]) -> str:
    """Return each attack on one network, and what the default detector sees of its successes."""
    default: Cell = next((cell for cell in detectors if cell["detector"] == "combined"), {})
    rows = []
    for cell in cells:
        seen, faint = default.get("tpr", {}).get(cell["attack"], {}), cell["faintness"]
        rows.append([
            ATTACKS[cell["attack"]].title, share_text(cell["success"]), _short(cell.get("control_wrong")),
            f"{faint['l2']:.2f}", f"{faint['ssim']:.3f}", f"{cell['steps']:g}",
            f"{cell['cpu_seconds_per_picture']:.2f}",
            share_text(seen.get(_RATES[0])), _short(seen.get(_RATES[1])),
        ])  # fmt: skip
    heads = ["attack", "succeeds", "wrong with the control", "l2", "SSIM", "share of the steps", "CPU s a picture",
             "`combined` sees at 2%", "at 0.1%"]  # fmt: skip
    return markdown_table(heads, rows)


def detector_table(cells: Sequence[Cell], names: Sequence[str]) -> str:
    """Return each detector's held-out false alarms and the percentage that it sees of each attack, at 2% and 0.1%."""
    judged = [cell for cell in cells if "out" not in cell]
    counts = {name: next((c["tpr"][name][_RATES[0]]["n"] for c in judged if name in c["tpr"]), 0) for name in names}
    rows = []
    for cell in cells:
        if "out" in cell:
            rows.append([f"`{cell['detector']}`", cell["out"], *[""] * (len(names) + 1)])
            continue
        alarms = [_short(cell["fpr"][rate]) for rate in _RATES]
        seen = [[_percent(cell["tpr"].get(name, {}).get(rate)) for rate in _RATES] for name in names]
        rows.append([f"`{cell['detector']}`", f"{cell['cpu_ms_per_frame']:.1f}", ", ".join(alarms),
                     *("-" if each == ["-", "-"] else ", ".join(each) for each in seen)])  # fmt: skip
    heads = [f"{_words(name)} ({count})" for name, count in counts.items()]
    return markdown_table(["detector", "CPU ms a frame", "false alarms", *heads], rows)


def recovery_table(cells: Sequence[Cell]) -> str:
    """Return the percentage of labels that is right behind each defence: benign, and under each attack."""
    names = list(dict.fromkeys(name for cell in cells for name in cell["recovery"]))
    counts = {name: next(c["recovery"][name]["n"] for c in cells if name in c["recovery"]) for name in names}
    rows = [[f"`{cell['detector']}`", *(_percent(cell["recovery"].get(name)) for name in names)] for cell in cells]
    return markdown_table(["defence", *(f"{_words(name)} ({count})" for name, count in counts.items())], rows)


def robust_table(result: Cell, networks: Sequence[str]) -> str:
    """Return what each network gets right, and how often each attack succeeds on it; the plain one first."""
    right = {cell["network"]: cell["right"] for cell in result["networks"]}
    success = {(cell["network"], cell["attack"]): cell["success"] for cell in result["attacks"]}
    names = dict.fromkeys(attack for network, attack in success if network in networks[1:])
    rows = [["right, not attacked", *(share_text(right.get(network)) for network in networks)]]
    rows += [
        [ATTACKS[name].title, *(share_text(success.get((network, name))) for network in networks)] for name in names
    ]
    return markdown_table(["", *(f"`{network}`" for network in networks)], rows)


def row_table(result: Cell) -> str:
    """Return what stands for every row of the survey and what it came to, or why nothing does."""
    rows = []
    for row in result["rows"]:
        here = f"`{row['here']}`" if row["here"] else f"out: {row['out']}"
        figures = [published(row), headline(row, result)] if row["here"] else ["", ""]
        rows.append([row["name"], str(row["year"]), row["group"], here, *figures])
    return markdown_table(["system", "year", "group", "here", "published", "ours"], rows)
