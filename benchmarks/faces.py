"""Faces and adversarial glasses: who is recognised, who is fooled, and what is noticed of it.

    python -m benchmarks.faces --data ../shared/data --out docs/results/faces.json

158 people of LFW: 15 are strangers; of everybody else half of the photographs train the identity layer, a quarter
calibrates, a quarter tests. Every threshold comes from benign photographs of the calibrating quarter. What was done is
kept in --work, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from benchmarks.face_trials.attacks import Attacks, craft_all
from benchmarks.face_trials.model import FaceModel
from benchmarks.face_trials.people import CALIBRATION, TEST, TRAINING, People, embeddings, read_people
from benchmarks.face_trials.report import (
    ACCEPTED,
    PUBLISHED,
    attacking,
    detecting,
    product,
    real_glasses,
    recognition,
    recovered,
)
from benchmarks.face_trials.videos import Watching, record_all, summary
from taintwatch_calibration.faces.face_model import fill_path
from taintwatch_calibration.faces.identity_fit import fit_identity
from taintwatch_calibration.machine import machine
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.faces.embedding import Embedder
from taintwatch_models.faces.face_file import FaceFile, settings_path, write_face_file
from taintwatch_models.faces.loading import load_face_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.model_source import file_hash
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.storage import write_atomically

Table = dict[str, NDArray[Any]]

SALIENCY_THRESHOLD = 0.5


@denormals_flushed()
def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    people, recognised, model = prepared(arguments.data, arguments.work, arguments.threads)
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
        **attacking(attacks, attacked, known),
        "detectors": detecting(benign, attacks, attacked, known),
        "published_elsewhere": PUBLISHED,
        "real_glasses": real_glasses(people, benign, known),
        "recovered": recovered(attacks["impersonation"], attacked["impersonation"]),
    }
    if arguments.until != "photographs":
        report["videos"] = _videos(people, model, benign, attacks["impersonation"], known, arguments)
    print(json.dumps(report, indent=2))
    if arguments.out is not None:
        write_atomically(arguments.out, (json.dumps(report, indent=2) + "\n").encode())


def prepared(data: Path, work: Path, threads: int) -> tuple[People, dict[str, Any], FaceModel]:
    """Return the photographs, how they are recognised, and the model that does; what was made is kept in `work`."""
    embed = Embedder(data / "models" / "mobilefacenet.onnx", str(_declared(work)), threads=threads)
    people = read_people(data / "faces" / "lfw158.tar", work, embed.size)
    clean, covered = embeddings(people, embed, work)
    training = people.part == TRAINING
    layer = fit_identity(clean[training], people.labels[training], len(people.names), covered)
    model = FaceModel.make(
        embed, layer, people.names, people.mean, work, saliency_threshold=SALIENCY_THRESHOLD, threads=threads
    )
    return people, recognition(people, layer(clean)), model


def _videos(
    people: People,
    model: FaceModel,
    benign: dict[str, Table],
    attack: Attacks,
    known: float,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    scales, threshold = product(benign, known)
    settings = FaceFile(
        file_hash(model.path), known, fill_path(model.path.parent).name, SALIENCY_THRESHOLD, scales, threshold,
        ACCEPTED, len(benign["calibration"]["label"]),
    )  # fmt: skip
    write_face_file(settings, settings_path(model.path))
    loaded = load_face_model(
        ModelSettings(
            path=str(model.path), detectors=("face",), session=SessionSettings(device="cpu", threads=arguments.threads)
        )
    )
    watching = Watching(loaded.classifier, loaded.detectors, known)
    trials = record_all(people, attack, model, watching, arguments.work, videos=arguments.videos)
    return summary(trials, attack)


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
    parser.add_argument("--videos", type=int, default=20, help="of so many of the wearers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--until", choices=["recognition", "benign", "attacks", "photographs", "end"], default="end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
