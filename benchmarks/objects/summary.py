"""The summary of the parts: rates over all rows of one kind."""

from __future__ import annotations

from typing import Any

__all__ = ["summary_of"]

_CORNER = "dpatch"


def summary_of(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the figures that were aimed at, from the rows of the parts that were measured."""
    sites = [part for part in parts.values() if "benign" in part]
    rows = [row for part in sites for row in part["attacks"]]
    found: dict[str, Any] = {}
    for name, corner in (("hiding", False), ("dpatch", True)):
        of_kind = [row for row in rows if (row["attack"] == _CORNER) == corner]
        found[f"{name}_tpr"] = _tpr(of_kind)
        found[f"{name}_tpr_digital"] = _tpr([row for row in of_kind if not row["recorded"]])
        found[f"{name}_tpr_recorded"] = _tpr([row for row in of_kind if row["recorded"]])
    benign = [part["benign"] for part in sites]
    found["benign_frames"] = sum(row["frames"] for row in benign)
    found["benign_frame_fpr"] = _share(sum(row["suspicious"] for row in benign), found["benign_frames"])
    if "tracks" in parts:
        untouched = parts["tracks"]["untouched"]
        found["track_tpr"] = parts["tracks"]["all_attacked"]["tpr"]
        found |= {"untouched_tracks": untouched["tracks"], "untouched_tracks_alerted": untouched["alerted"]}
    if "speed" in parts:
        found["ratio_gated"] = parts["speed"]["ratio"]
    if "jedi" in parts:
        peer = parts["jedi"]
        found["jedi_hiding_tpr"] = _tpr([row for row in peer["attacks"] if row["attack"] != _CORNER])
        found["jedi_benign_frame_fpr"] = peer["benign_frame_fpr"]
    return found


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _tpr(rows: list[dict[str, Any]]) -> float | None:
    return _share(sum(row["suspicious_of_effective"] for row in rows), sum(row["effective"] for row in rows))
