"""The grid as a table in Markdown, for a page of documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["markdown_table"]


def markdown_table(rows: Sequence[dict[str, Any]], detectors: Sequence[str]) -> str:
    """Return one line for each cell: its success, and each detector's rate on what succeeds with its interval."""
    heads = ["patch", "shown at", "where", "succeeds", *(f"`{name}` sees" for name in detectors)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        if row["detector"] != detectors[0]:
            continue
        made = row.get("patch") or f"batch {row['batch_size']}, {row['sizes']}"
        cells = [made, f"{row['patch_size']:g}", row["position"]]
        cells.append(f"{row['success_rate']:.1%} of {row['attempts']}")
        cells += [_rate(_same(rows, row, name)) for name in detectors]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _same(rows: Sequence[dict[str, Any]], row: dict[str, Any], detector: str) -> dict[str, Any]:
    keys = ("batch_size", "sizes", "patch", "patch_size", "position")
    wanted = [row.get(key) for key in keys]
    return next(r for r in rows if r["detector"] == detector and [r.get(key) for key in keys] == wanted)


def _rate(row: dict[str, Any]) -> str:
    if row["tpr"] is None:
        return "none succeeds"
    low, high = row["tpr_interval"]
    return f"{row['tpr']:.3f} ({low:.2f} to {high:.2f})"
