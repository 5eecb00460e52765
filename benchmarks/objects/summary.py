"""The summary of the parts: rates over all rows of one kind, by guarded detector and of the worst one."""

from __future__ import annotations

from typing import Any

__all__ = ["MODELS", "summary_of"]

_CORNER = "dpatch"
MODELS = {
    "yolox_nano": "YOLOX-nano, COCO, Apache-2.0: motorway, car park, hallway",
    "signs.finder": "the bundled sign finder, trained here by benchmarks.street: street",
}
_OF_SITE = {"street": "signs.finder"}
_HALVED = 0.5
"""Recall that a hiding patch leaves at most: one that leaves more is too weak to count, and its rows say so."""


def summary_of(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the figures that were aimed at, from the rows of the parts that were measured."""
    sites = {name: part for name, part in parts.items() if "benign" in part}
    worn = [row | {"model": _model(name)} for name, part in sites.items() for row in part["attacks"]
            if not _in_corner(row)]  # fmt: skip
    hiding = [row for row in worn if row["recall_after"] <= _HALVED]
    corner = [
        row | {"model": _model(name)} for name, part in sites.items() for row in part["attacks"] if _in_corner(row)
    ]
    benign = {name: part["benign"] for name, part in sites.items()}
    frames = sum(row["frames"] for row in benign.values())
    found: dict[str, Any] = {
        "hiding_tpr": min(_by_model(hiding).values(), default=None),
        "hiding_tpr_by_model": _by_model(hiding),
        "hiding_tpr_digital": _by_model([row for row in hiding if not row["recorded"]]),
        "hiding_tpr_recorded": _by_model([row for row in hiding if row["recorded"]]),
        "hiding_tpr_all_rows": _by_model(worn),
        "hiding_rows_too_weak": len(worn) - len(hiding),
        "dpatch_tpr": min(_by_model(corner).values(), default=None),
        "dpatch_tpr_by_model": _by_model(corner),
        "dpatch_effective": sum(row["effective"] for row in corner),
        "benign_frames": frames,
        "benign_frame_fpr": _share(sum(row["suspicious"] for row in benign.values()), frames),
        "benign_suspicious": {name: row["suspicious"] for name, row in benign.items()},
    }
    if "tracks" in parts:
        tracks = parts["tracks"]
        found["track_tpr"] = tracks["all_attacked"]["tpr"]
        found["track_tpr_interval"] = tracks["all_attacked"]["tpr_interval"]
        found["untouched_tracks"] = tracks["untouched"]["tracks"]
        found["untouched_tracks_alerted"] = tracks["untouched"]["alerted"]
    if "speed" in parts:
        found["ratio_gated"] = parts["speed"]["ratio"]
    if "adaptive" in parts:
        unseen: dict[str, float] = {}
        for row in parts["adaptive"]["attackers"]:
            unseen[row["attacker"]] = max(row["unseen_share"], unseen.get(row["attacker"], 0.0))
        found["adaptive_unseen"] = unseen  # as a file or before a camera, whichever is worse
    if "jedi" in parts:
        peer = parts["jedi"]
        found["jedi_hiding_tpr"] = _tpr([row for row in peer["attacks"] if not _in_corner(row)])
        found["jedi_benign_frame_fpr"] = peer["benign_frame_fpr"]
    return found


def _in_corner(row: dict[str, Any]) -> bool:
    name: str = row["attack"]
    return name.startswith(_CORNER)


def _model(site: str) -> str:
    return _OF_SITE.get(site, "yolox_nano")


def _by_model(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the rate of each detector that has rows."""
    each = {model: _tpr([row for row in rows if row["model"] == model]) for model in MODELS}
    return {model: rate for model, rate in each.items() if rate is not None}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _tpr(rows: list[dict[str, Any]]) -> float | None:
    return _share(sum(row["suspicious_of_effective"] for row in rows), sum(row["effective"] for row in rows))
