"""The summary of the parts: rates over all rows of one kind."""

from __future__ import annotations

from typing import Any

__all__ = ["summary_of"]

_CORNER = "dpatch"


def summary_of(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the figures that were aimed at, from the rows of all parts."""
    sites = [part for part in parts.values() if "benign" in part]
    rows = [row for part in sites for row in part["attacks"]]
    benign = [part["benign"] for part in sites]
    tracks = parts["tracks"]
    found: dict[str, Any] = {}
    for name, corner in (("hiding", False), ("dpatch", True)):
        chosen = [row for row in rows if (row["attack"] == _CORNER) == corner]
        found[f"{name}_tpr"] = _tpr(chosen)
        found[f"{name}_tpr_digital"] = _tpr([row for row in chosen if not row["recorded"]])
        found[f"{name}_tpr_recorded"] = _tpr([row for row in chosen if row["recorded"]])
    return found | {
        "benign_frames": sum(row["frames"] for row in benign),
        "benign_frame_fpr": round(sum(row["suspicious"] for row in benign) / sum(row["frames"] for row in benign), 4),
        "track_tpr": tracks["all_attacked"]["tpr"],
        "untouched_tracks": tracks["untouched"]["tracks"],
        "untouched_tracks_alerted": tracks["untouched"]["alerted"],
        "ratio_gated": parts["speed"]["ratio"],
        "jedi_hiding_tpr": _tpr([row for row in parts["jedi"]["attacks"] if row["attack"] != _CORNER]),
        "jedi_benign_frame_fpr": parts["jedi"]["benign_frame_fpr"],
    }


def _tpr(rows: list[dict[str, Any]]) -> float | None:
    effective = sum(row["effective"] for row in rows)
    return round(sum(row["suspicious_of_effective"] for row in rows) / effective, 4) if effective else None
