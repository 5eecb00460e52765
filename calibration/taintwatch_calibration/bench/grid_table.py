"""The records of a patch grid as rows, and as a table in Markdown for a page of documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taintwatch_calibration.results import markdown_table

__all__ = ["grid_rows", "grid_table"]


def grid_rows(records: Sequence[dict[str, Any]], detectors: Sequence[str], target_fpr: float) -> list[dict[str, Any]]:
    """Flatten records to one row for each cell and detector; `tpr` and `fpr` are at the target rate.

    A cell whose patch never succeeds has no TPR: None.
    """
    rows = []
    for record in records:
        head = {key: value for key, value in record.items() if key != "detectors"}
        for name in detectors:
            found = record["detectors"].get(name)
            at = found["at"][f"{target_fpr:g}"] if found else None
            rates = {key: at[key] if at else None for key in ("tpr", "tpr_interval", "fpr", "threshold")}
            others = found["at"] if found else {}
            rows.append(
                {**head, "detector": name, **rates, "target_fpr": target_fpr,
                 "auc": found["auc"] if found else None, "at": others}
            )  # fmt: skip
    return rows


def grid_table(rows: Sequence[dict[str, Any]], detectors: Sequence[str]) -> str:
    """Return one line for each cell: its success, and each detector's rate on what succeeds with its interval."""
    lines = []
    for row in rows:
        if row["detector"] != detectors[0]:
            continue
        made = row.get("patch") or f"batch {row['batch_size']}, {row['sizes']}"
        success = f"{row['success_rate']:.1%} of {row['attempts']}"
        rates = (_rate(_same(rows, row, name)) for name in detectors)
        lines.append([made, f"{row['patch_size']:g}", row["position"], success, *rates])
    return markdown_table(["patch", "shown at", "where", "succeeds", *(f"`{name}` sees" for name in detectors)], lines)


def _same(rows: Sequence[dict[str, Any]], row: dict[str, Any], detector: str) -> dict[str, Any]:
    keys = ("batch_size", "sizes", "patch", "patch_size", "position")
    wanted = [row.get(key) for key in keys]
    return next(r for r in rows if r["detector"] == detector and [r.get(key) for key in keys] == wanted)


def _rate(row: dict[str, Any]) -> str:
    if row["tpr"] is None:
        return "none succeeds"
    low, high = row["tpr_interval"]
    return f"{row['tpr']:.3f} ({low:.2f} to {high:.2f})"
