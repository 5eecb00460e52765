"""What is told of the benchmark on faces: rates with their intervals, from kept statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.face_trials.attacks import TARGET, Attacks
from benchmarks.face_trials.people import CALIBRATION, TEST, UNKNOWN, People
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.faces.face_model import JUDGED, fit_scales, scores, stranger_threshold
from taintwatch_calibration.rates import area_under_roc, operating_point, threshold_for
from taintwatch_models.faces.face_file import Scale

__all__ = ["ACCEPTED", "PUBLISHED", "attacking", "detecting", "product", "real_glasses", "recognition", "recovered"]

Table = dict[str, NDArray[Any]]

ACCEPTED = 0.05

PUBLISHED = [
    {"name": "TaintRadar (Li et al., INFOCOM 2021), rank", "tpr": 0.7342, "fpr": 0.055},
    {"name": "SentiNet, as quoted there", "tpr": 0.0072},
]
"""Other glasses on another network: to be read beside our figures, not against them."""

DETECTORS: dict[str, tuple[str, ...]] = {
    "paper": ("paper",),
    "tight": ("margin",),
    "tight, swing": ("swing",),
    "bands": ("band_margin",),
    "bands, swing": ("band_swing",),
    "combined": JUDGED,
}


def recognition(people: People, logits: NDArray[np.float32]) -> dict[str, Any]:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = (shares / shares.sum(axis=1, keepdims=True)).max(axis=1)
    right = logits.argmax(axis=1) == people.labels
    test, strangers = people.part == TEST, people.part == UNKNOWN
    below = stranger_threshold(probability[people.part == CALIBRATION])
    return {
        "people": len(people.names),
        "photographs": people.photographs,
        "face_found": round(len(people.faces) / people.photographs, 4),
        "eyes_found": round(people.eyes_found, 4),
        "accuracy": round(float(right[test].mean()), 4),
        "accuracy_interval": _rounded(wilson_interval(int(right[test].sum()), int(test.sum()))),
        "test_photographs": int(test.sum()),
        "stranger_below": round(below, 4),
        "stranger_rejection": round(float((probability[strangers] < below).mean()), 4),
        "stranger_photographs": int(strangers.sum()),
        "known_rejected": round(float((probability[test] < below).mean()), 4),
    }


def _succeeded(attack: Attacks, table: Table, known: float, *, dodging: bool) -> NDArray[np.bool_]:
    """The camera, which has whole pixel values, accepts another name (impersonation: the target's)."""
    fooled = table["label"] != attack.wearers if dodging else table["label"] == TARGET
    return np.asarray(fooled & (table["probability"] >= known), np.bool_)


def attacking(attacks: dict[str, Attacks], tables: dict[str, Table], known: float) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for kind, attack in attacks.items():
        hits = _succeeded(attack, tables[kind], known, dodging=kind == "dodging")
        entry = {
            "attempts": len(hits),
            "successes": int(hits.sum()),
            "stop_probability_reached": int(attack.reached.sum()),
            "iterations_median": float(np.median(attack.iterations)),
        }
        told |= entry if kind == "impersonation" else {kind: entry}
    return told


def detecting(
    benign: dict[str, Table], attacks: dict[str, Attacks], attacked: dict[str, Table], known: float
) -> list[dict[str, Any]]:
    accepted = {part: _rows(table, table["probability"] >= known) for part, table in benign.items()}
    hits = {
        kind: _rows(table, _succeeded(attacks[kind], table, known, dodging=kind == "dodging"))
        for kind, table in attacked.items()
    }
    rows = []
    for name, judged in DETECTORS.items():
        scales = fit_scales(accepted["calibration"], ACCEPTED, judged)
        calibration, test = (scores(accepted[part], scales) for part in ("calibration", "test"))
        found = {kind: scores(table, scales) for kind, table in hits.items()}
        at = operating_point(calibration, test, found["impersonation"], ACCEPTED)
        strict = operating_point(calibration, test, found["impersonation"], 0.02)
        rows.append(
            {
                "name": name,
                "tpr": round(at.tpr, 4),
                "fpr": round(at.fpr, 4),
                "tpr_interval": _rounded(at.tpr_interval),
                "fpr_interval": _rounded(at.fpr_interval),
                "benign": at.benign,
                "attacks": at.attacks,
                "auc": round(area_under_roc(test, found["impersonation"]), 4),
                "tpr_at_2": round(strict.tpr, 4),
                "fpr_at_2": round(strict.fpr, 4),
                "tpr_dodging": round(float((found["dodging"] > at.threshold).mean()), 4)
                if len(found.get("dodging", ()))
                else None,
            }
        )
    return rows


def product(benign: dict[str, Table], known: float) -> tuple[tuple[Scale, ...], float]:
    """Return the product's scales and threshold."""
    calibration = _rows(benign["calibration"], benign["calibration"]["probability"] >= known)
    scales = fit_scales(calibration, ACCEPTED)
    return scales, threshold_for(scores(calibration, scales), ACCEPTED)


def real_glasses(people: People, benign: dict[str, Table], known: float) -> dict[str, Any]:
    """Count false alarms among test photographs with real glasses: see `face_trials/real_glasses.txt`."""
    scales, threshold = product(benign, known)
    lines = (Path(__file__).parent / "real_glasses.txt").read_text().splitlines()
    marked = {line.removeprefix("+ "): line.startswith("+ ") for line in lines if line and not line.startswith("#")}
    files = [people.files[row] for row in people.rows(TEST)]
    accepted = benign["test"]["probability"] >= known
    alarms = (scores(benign["test"], scales) > threshold) & accepted
    told: dict[str, Any] = {}
    for name, dark in (("eyeglasses", False), ("sunglasses", True)):
        rows = np.array([marked.get(file) is dark for file in files]) & accepted
        count, hits = int(rows.sum()), int((alarms & rows).sum())
        interval = _rounded(wilson_interval(hits, count))
        told[name] = {
            "photographs": count,
            "false_alarms": hits,
            "fpr": round(hits / max(count, 1), 4),
            "fpr_interval": interval,
        }
    return told


def recovered(attack: Attacks, table: Table) -> dict[str, float]:
    """Return how often the alert names the wearer, once the region or the worst band is filled."""
    named = np.where(table["after"] != table["label"], table["after"], table["runner_up"])
    return {"wearer_named": round(float((named == attack.wearers).mean()), 4)}


def _rows(table: Table, chosen: NDArray[np.bool_]) -> Table:
    return {name: values[chosen] for name, values in table.items()}


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(end, 4) for end in interval]
