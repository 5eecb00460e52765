"""The face subject: MobileFaceNet, some people of LFW enrolled by their mean embedding, recognised by the cosine.

As in ArcFace, a logit is the cosine of the embedding to the person's anchor times a sharpness, but for the embedding's
own length, which MobileFaceNet leaves as it is: it is divided by its mean over the enrolled.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from benchmarks.survey.subject import Pixels, Subject, split_subject
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_models.faces.align import align
from taintwatch_models.faces.embedding import Embedder, with_identity
from taintwatch_models.faces.finder import HaarFaces
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.storage import write_atomically

__all__ = ["SHARPNESS", "face_embedding", "face_subject"]

SHARPNESS = 30.0
_DECLARED = "survey_mobilefacenet.toml"
_PEOPLE, _MOST = 40, 22
"""Enrolled, and photographs of each at most."""


def face_subject(data: Path, work: Path) -> Subject:
    """Return the subject; the aligned photographs are stored in `work`, and are not for the repository."""
    declared = work / _DECLARED
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(declared, b"[preprocessing]\nsize = [112, 112]\nresize = 'stretch'\nscale = 1.0\n")
    embed = Embedder(data / "models" / "mobilefacenet.onnx", str(declared), threads=1)
    faces, labels, names = _aligned(data / "faces" / "lfw158.tar", work / "survey_faces.npz", embed.size)
    enrolled = np.arange(len(labels)) % 3 == 0
    embeddings = embed(faces[enrolled])
    anchors = _anchors(embeddings, labels[enrolled], len(names))
    length = float(np.linalg.norm(embeddings, axis=1).mean())
    radar = _radar(embed, SHARPNESS / length * anchors.T, names, work / "survey_faces.onnx")
    seen = np.stack([embed.preprocessing.pixels(face) for face in faces])
    others = ~enrolled
    return split_subject(
        "faces", radar, (seen[others], labels[others]), (seen[enrolled], labels[enrolled]), 0, work, data
    )


def face_embedding(subject: Subject) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return the embedding, RGB in [0, 1] (B, 3, 112, 112) to (B, D), differentiable; and the anchors (people, D)."""
    embed = Embedder(subject.data / "models" / "mobilefacenet.onnx", str(subject.zoo / _DECLARED), threads=1)
    dimensions = embed.model.dimensions
    names = tuple(str(index) for index in range(dimensions))
    radar = _radar(embed, np.eye(dimensions, dtype=np.float32), names, subject.zoo / "survey_embedding.onnx")
    weights = onnx.load(str(subject.zoo / "survey_faces.onnx")).graph.initializer
    layer = next(numpy_helper.to_array(tensor) for tensor in weights if tensor.name == "identity/weights")
    graph = differentiable(radar)
    return lambda rgb: graph(subject.normalise(rgb)), F.normalize(torch.from_numpy(np.array(layer)), dim=1)


def _radar(embed: Embedder, weights: NDArray[np.float32], names: tuple[str, ...], path: Path) -> RadarFile:
    buffer = io.BytesIO()
    onnx.save(with_identity(embed.model, weights, np.zeros(len(names), np.float32)), buffer)
    write_atomically(path, buffer.getvalue(), mode=0o600)
    return prepare(path, ModelDescription(embed.preprocessing, names)).radar


def _anchors(embeddings: NDArray[np.float32], labels: NDArray[np.int64], people: int) -> NDArray[np.float32]:
    """Each person's mean embedding at length 1, (people, D)."""
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    means = np.stack([units[labels == person].mean(axis=0) for person in range(people)])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def _aligned(archive: Path, stored: Path, size: int) -> tuple[Pixels, NDArray[np.int64], tuple[str, ...]]:
    """Return the photographs of the people with most of them, aligned as the product does, blue-green-red."""
    if not stored.is_file():
        find, faces, labels = HaarFaces(smallest=0.3), [], []
        names: list[str] = []
        with tarfile.open(archive) as tar:
            members: dict[str, list[tarfile.TarInfo]] = {}
            for member in sorted(tar.getmembers(), key=lambda each: each.name):
                if member.name.endswith(".jpg"):
                    members.setdefault(PurePosixPath(member.name).parent.name, []).append(member)
            people = sorted(members, key=lambda name: (-len(members[name]), name))[:_PEOPLE]
            for name in sorted(people):
                for member in members[name][:_MOST]:
                    stream = tar.extractfile(member)
                    content = np.frombuffer(stream.read() if stream else b"", np.uint8)
                    image = cv2.imdecode(content, cv2.IMREAD_COLOR)
                    found = find(np.asarray(image, np.uint8)) if image is not None else ()
                    if found:
                        faces.append(align(np.asarray(image, np.uint8), found[0], size))
                        labels.append(len(names))
                names.append(name)
        buffer = io.BytesIO()
        np.savez(buffer, faces=np.stack(faces), labels=np.array(labels, np.int64), names=np.array(names))
        write_atomically(stored, buffer.getvalue(), mode=0o600)
    with np.load(stored) as found_file:
        return found_file["faces"], found_file["labels"], tuple(found_file["names"].tolist())
