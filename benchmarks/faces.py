"""Faces and adversarial glasses: who is recognised, who is fooled, and what is noticed of it.

    .venv/bin/python benchmarks/faces.py --data ../shared/data --out docs/results/faces.json

158 people of LFW: 15 are strangers; of everybody else half of the photographs train the identity layer, a quarter
calibrates, a quarter tests. Every threshold comes from benign photographs of the calibrating quarter. What was done is
kept in --work, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.face_trials.attacks import TARGET, Attacks, craft_all
from benchmarks.face_trials.model import FaceModel
from benchmarks.face_trials.people import CALIBRATION, TEST, TRAINING, UNKNOWN, People, embeddings, read_people
from benchmarks.face_trials.videos import film_all, summary
from taintwatch_calibration.denormals import denormals_flushed
from taintwatch_calibration.faces.face_model import fill_path
from taintwatch_calibration.faces.face_thresholds import JUDGED, fit_scales, scores, stranger_threshold
from taintwatch_calibration.faces.identity_fit import fit_identity
from taintwatch_calibration.machine import machine
from taintwatch_calibration.rates import area_under_roc, operate, threshold_for, wilson_interval
from taintwatch_models.faces.embedder import Embedder
from taintwatch_models.faces.face_file import FaceFile, Scale, settings_path, write_face_file
from taintwatch_models.faces.loading import load_face_model
from taintwatch_models.loading import ModelSettings
from taintwatch_models.radar_file import file_hash
from taintwatch_models.storage import write_atomically

Table = dict[str, NDArray[Any]]

ACCEPTED = 0.055
CUT = 0.5

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


@denormals_flushed()
def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    embed = Embedder(
        arguments.data / "models" / "mobilefacenet.onnx", str(_declared(arguments.work)), threads=arguments.threads
    )
    people = read_people(arguments.data / "faces" / "lfw158.tar", arguments.work, embed.size)
    clean, covered = embeddings(people, embed, arguments.work)
    training = people.part == TRAINING
    layer = fit_identity(clean[training], people.labels[training], len(people.names), covered)
    model = FaceModel.make(embed, layer, people.names, people.mean, arguments.work, cut=CUT, threads=arguments.threads)
    recognised = _recognition(people, layer(clean))
    print(json.dumps(recognised, indent=2))
    if arguments.until == "recognition":
        return
    benign = {}
    if arguments.until != "attacks":
        for name, part in (("calibration", CALIBRATION), ("test", TEST)):
            faces = people.faces[people.rows(part)]
            benign[name] = model.statistics(faces, arguments.work / f"benign-{name}")
    if arguments.until == "benign":
        return
    attacks = {
        kind: craft_all(people, model, arguments.work, dodging=kind == "dodging", wearers=arguments.wearers)
        for kind in ("impersonation", "dodging")
    }
    if arguments.until == "attacks":
        return
    attacked = {
        kind: model.statistics(attack.faces, arguments.work / f"attacked-{kind}") for kind, attack in attacks.items()
    }
    known = recognised["stranger_below"]
    report = {
        "machine": machine(),
        **recognised,
        **_attacking(attacks, attacked, known),
        "detectors": _detecting(benign, attacks, attacked, known),
        "published_elsewhere": PUBLISHED,
        "real_glasses": _real_glasses(people, benign, known),
        "recovered": _recovered(attacks["impersonation"], attacked["impersonation"]),
    }
    if arguments.until != "photographs":
        report["videos"] = _videos(people, model, benign, attacks["impersonation"], known, arguments)
    print(json.dumps(report, indent=2))
    if arguments.out is not None:
        write_atomically(arguments.out, (json.dumps(report, indent=2) + "\n").encode())


def _recognition(people: People, logits: NDArray[np.float32]) -> dict[str, Any]:
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


def _attacking(attacks: dict[str, Attacks], tables: dict[str, Table], known: float) -> dict[str, Any]:
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


def _detecting(
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
        at = operate(calibration, test, found["impersonation"], ACCEPTED)
        strict = operate(calibration, test, found["impersonation"], 0.02)
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
                if len(found["dodging"])
                else None,
            }
        )
    return rows


def _combined(benign: dict[str, Table], known: float) -> tuple[tuple[Scale, ...], float]:
    """Return the product's scales and threshold."""
    calibration = _rows(benign["calibration"], benign["calibration"]["probability"] >= known)
    scales = fit_scales(calibration, ACCEPTED)
    return scales, threshold_for(scores(calibration, scales), ACCEPTED)


def _real_glasses(people: People, benign: dict[str, Table], known: float) -> dict[str, Any]:
    """Count false alarms among test photographs with real glasses: see `face_trials/real_glasses.txt`."""
    scales, threshold = _combined(benign, known)
    lines = (Path(__file__).parent / "face_trials" / "real_glasses.txt").read_text().splitlines()
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


def _recovered(attack: Attacks, table: Table) -> dict[str, float]:
    """Return how often the alert names the wearer, once the region or the worst band is filled."""
    named = np.where(table["after"] != table["label"], table["after"], table["runner_up"])
    return {"wearer_named": round(float((named == attack.wearers).mean()), 4)}


def _videos(
    people: People,
    model: FaceModel,
    benign: dict[str, Table],
    attack: Attacks,
    known: float,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    scales, threshold = _combined(benign, known)
    settings = FaceFile(
        file_hash(model.path), known, fill_path(model.path.parent).name, CUT, scales, threshold, ACCEPTED,
        len(benign["calibration"]["label"]),
    )  # fmt: skip
    write_face_file(settings, settings_path(model.path))
    loaded = load_face_model(
        ModelSettings(path=str(model.path), device="cpu", threads=arguments.threads, variants=("face",))
    )
    photographs = arguments.work / "photographs"
    trials = film_all(people, attack, photographs, loaded.classifier, loaded.detectors, known, arguments.work)
    return summary(trials, attack)


def _rows(table: Table, chosen: NDArray[np.bool_]) -> Table:
    return {name: values[chosen] for name, values in table.items()}


def _share(hits: NDArray[np.bool_]) -> float | None:
    return round(float(hits.mean()), 4) if len(hits) else None


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(end, 4) for end in interval]


def _declared(work: Path) -> Path:
    """Write what the embedding wants: RGB 0..255, its scaling is inside."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "mobilefacenet.toml"
    write_atomically(path, b"[preprocessing]\nsize = [112, 112]\nresize = 'stretch'\nscale = 1.0\n")
    return path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the measuring data")
    parser.add_argument("--work", type=Path, default=Path("/tmp/taintwatch-faces"), help="what was done is kept here")  # noqa: S108
    parser.add_argument("--out", type=Path, help="the JSON to write")
    parser.add_argument("--wearers", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--until", choices=["recognition", "benign", "attacks", "photographs", "end"], default="end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
