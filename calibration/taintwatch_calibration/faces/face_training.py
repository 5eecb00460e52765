"""From enrolled people to a face model: identity layer, held-out accuracy, stranger threshold, detector thresholds.

Everything that is said of the model is measured by cross-fitting: each photograph is judged by an identity layer that
was fitted without it. The layer that is written is fitted to all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.faces.face_model import (
    JUDGED,
    fill_path,
    fit_scales,
    scores,
    stranger_threshold,
    write_face_model,
)
from taintwatch_calibration.faces.identity_fit import IdentityLayer, fit_identity, mean_face, occlude
from taintwatch_calibration.faces.people_store import EnrolledPerson, PeopleStore
from taintwatch_calibration.rates import threshold_for
from taintwatch_models.calibration_file import Calibration, TightCalibration
from taintwatch_models.errors import UsageError
from taintwatch_models.faces.bands import Bands, region_statistics
from taintwatch_models.faces.embedding import Embedder
from taintwatch_models.faces.face_file import FaceFile, settings_path, write_face_file
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.model_source import file_hash
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, open_session

__all__ = ["SALIENCY_THRESHOLD", "TrainingReport", "train_faces"]

SALIENCY_THRESHOLD = 0.5
COPIES = 6
_FOLDS = 4

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What was made, and how good it is on photographs that it was not fitted to."""

    model: Path
    people: int
    photographs: int
    accuracy: float
    stranger_below: float
    stranger_rejection: float
    """Share of photographs taken for a stranger's once their person is left out of the layer; nan for two people."""
    known_rejected: float
    target_fpr: float
    held_out_fpr: float


@dataclass(frozen=True, slots=True, eq=False)
class _Photographs:
    faces: NDArray[np.uint8]
    labels: NDArray[np.int64]
    clean: NDArray[np.float32]
    covered: NDArray[np.float32]
    """(COPIES, N, dimensions)."""

    def fit(self, rows: NDArray[np.bool_], people: int) -> IdentityLayer:
        return fit_identity(self.clean[rows], self.labels[rows], people, self.covered[:, rows])


def train_faces(
    store: PeopleStore,
    embed: Embedder,
    *,
    target_fpr: float = 0.05,
    seed: int = 0,
    threads: int = 0,
    progress: Progress = lambda what: None,
) -> TrainingReport:
    """Train on everybody enrolled and write the model into the store's folder.

    `target_fpr`: false-positive rate of the detector per photograph. Raises `UsageError` for fewer than two people.
    """
    people = [store.read(name) for name in store.names()]
    if len(people) < 2:
        raise UsageError(
            f"{store.root}: {len(people) or 'nobody'} enrolled; a face model tells people apart, enrol at least two"
        )
    progress("embedding covered copies")
    photographs = _gather(people, embed, np.random.default_rng(seed))
    mean = mean_face(photographs.faces)
    folds = _folds(photographs.labels, np.random.default_rng(seed))
    progress("judging held-out photographs")
    judged = _cross_fit(photographs, folds, len(people), embed, mean, store.model, threads)
    right, probability = judged["label"] == photographs.labels, judged["probability"]
    below = stranger_threshold(probability)
    known = probability >= below
    benign = {name: judged[name][known] for name in JUDGED}
    half = np.random.default_rng(seed).permutation(int(known.sum())) % 2 == 0
    scales = fit_scales(benign, target_fpr)
    combined = scores(benign, scales)
    once = threshold_for(combined[half], target_fpr)
    progress("writing the model")
    layer = photographs.fit(np.ones(len(photographs.labels), np.bool_), len(people))
    model = write_face_model(store.model, embed, layer, tuple(person.name for person in people), mean)
    settings = FaceFile(
        model_sha256=file_hash(model),
        stranger_below=below,
        fill=fill_path(store.model).name,
        saliency_threshold=SALIENCY_THRESHOLD,
        scales=scales,
        threshold=threshold_for(combined, target_fpr),
        target_fpr=target_fpr,
        benign=int(known.sum()),
        held_out_fpr=float((combined[~half] > once).mean()),
    )
    write_face_file(settings, settings_path(model))
    return TrainingReport(
        model=model,
        people=len(people),
        photographs=len(photographs.labels),
        accuracy=float(right.mean()),
        stranger_below=below,
        stranger_rejection=_stranger_rejection(photographs, len(people), below),
        known_rejected=float((~known).mean()),
        target_fpr=target_fpr,
        held_out_fpr=settings.held_out_fpr or 0.0,
    )


def _gather(people: list[EnrolledPerson], embed: Embedder, rng: np.random.Generator) -> _Photographs:
    faces = np.concatenate([person.faces for person in people])
    if faces.shape[1] != embed.size:
        raise UsageError(
            f"the photographs are {faces.shape[1]} pixels wide, this embedding takes {embed.size}; enrol again with it"
        )
    labels = np.concatenate([np.full(len(person.faces), label) for label, person in enumerate(people)])
    covered = np.stack([embed(occlude(faces, mean_face(faces), rng)) for _ in range(COPIES)])
    return _Photographs(faces, labels, np.concatenate([person.embeddings for person in people]), covered)


def _folds(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the fold of each photograph; every fold has some of everybody."""
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        folds[rows] = np.arange(len(rows)) % _FOLDS
    return folds


def _cross_fit(
    photographs: _Photographs,
    folds: NDArray[np.int64],
    people: int,
    embed: Embedder,
    mean: NDArray[np.uint8],
    folder: Path,
    threads: int,
) -> dict[str, NDArray[Any]]:
    """Judge each photograph by a model that was fitted without its fold."""
    parts: dict[str, NDArray[Any]] = {}
    for fold in range(_FOLDS):
        rows = folds == fold
        layer = photographs.fit(~rows, people)
        judged = _judge(photographs.faces[rows], layer, embed, mean, folder, threads)
        for name, values in judged.items():
            parts.setdefault(name, np.empty(len(folds), values.dtype))[rows] = values
    return parts


def _judge(
    faces: NDArray[np.uint8],
    layer: IdentityLayer,
    embed: Embedder,
    mean: NDArray[np.uint8],
    folder: Path,
    threads: int,
) -> dict[str, NDArray[Any]]:
    names = tuple(f"person {index}" for index in range(len(layer.bias)))
    model = write_face_model(folder, embed, layer, names, mean, stem="part")
    fill = fill_path(folder, "part")
    try:
        radar = prepare(model, ModelDescription(embed.preprocessing, names)).radar
        calibration = Calibration(tight=TightCalibration(SALIENCY_THRESHOLD, str(fill)))
        run = OnnxRadar(radar, ("tight",), calibration, SessionSettings(device="cpu", threads=threads))
    finally:
        for path in (model, fill, model.with_suffix(".toml")):
            path.unlink(missing_ok=True)
    graph = keep_outputs(radar.proto, ["logits"]).SerializeToString()
    session = open_session(graph, SessionSettings(device="cpu", threads=threads))[0]
    bands = Bands(lambda inputs: session.run(None, {radar.info.input: inputs})[0], embed.preprocessing([mean]))
    rows: list[dict[str, float]] = []
    for start in range(0, len(faces), 16):
        inputs = embed.preprocessing(list(faces[start : start + 16]))
        outputs = run(inputs)
        for index, band in enumerate(bands(inputs, outputs["logits"])):
            logits = outputs["logits"][index]
            rows.append(
                region_statistics(outputs, index)
                | {"band_margin": band.margin, "band_swing": band.swing, "label": int(logits.argmax())}
                | {"probability": float(1 / np.exp(logits - logits.max()).sum())}
            )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _stranger_rejection(photographs: _Photographs, people: int, below: float) -> float:
    """Leave everybody out in turn; return the share of those left out that are taken for strangers."""
    if people < 3:
        return float("nan")
    rejected = []
    for label in range(people):
        others = photographs.labels != label
        kept = _Photographs(
            photographs.faces, photographs.labels - (photographs.labels > label), photographs.clean, photographs.covered
        )
        logits = kept.fit(others, people - 1)(photographs.clean[~others])
        rejected += list(1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1) < below)
    return float(np.mean(rejected))
