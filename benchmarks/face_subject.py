"""Make the face model and its photographs into a subject of `taintwatch bench detection`.

    python -m benchmarks.face_subject --data ../shared/data --out build/bench/faces-subject

The model is that of `python -m benchmarks.faces` (MobileFaceNet; its identity layer is trained to survive occlusion);
what was embedded is kept in --work. Nothing of it goes into the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.face_trials.people import CALIBRATION, TEST, TRAINING, People, embeddings, read_people
from taintwatch_calibration.bench.subject_file import write_description, write_pictures
from taintwatch_calibration.faces.face_model import fill_path, write_face_model
from taintwatch_calibration.faces.identity_fit import fit_identity
from taintwatch_models.faces.embedding import Embedder
from taintwatch_models.storage import write_atomically

_SALIENCY_THRESHOLD = 0.5
_TO_CRAFT_ON = 300
_ABOUT = (
    "MobileFaceNet with an identity layer trained to survive occlusion, 143 people of LFW; photographs aligned as the "
    "product does, split by photograph"
)


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    work, out = arguments.work, arguments.out
    work.mkdir(parents=True, exist_ok=True)
    declared = work / "mobilefacenet.toml"
    write_atomically(declared, b"[preprocessing]\nsize = [112, 112]\nresize = 'stretch'\nscale = 1.0\n")
    embed = Embedder(arguments.data / "models" / "mobilefacenet.onnx", str(declared), threads=1)
    people = read_people(arguments.data / "faces" / "lfw158.tar", work, embed.size)
    clean, covered = embeddings(people, embed, work)
    training = people.part == TRAINING
    layer = fit_identity(clean[training], people.labels[training], len(people.names), covered)
    out.mkdir(parents=True, exist_ok=True)
    path = write_face_model(out, embed, layer, people.names, people.mean)
    rng = np.random.default_rng(arguments.seed)
    test = rng.permutation(people.rows(TEST))
    rows = {
        "craft": rng.permutation(people.rows(TRAINING))[:_TO_CRAFT_ON],
        "calibrate": people.rows(CALIBRATION),
        "held_out": test[: len(test) * 2 // 3],
        "test_images": test[len(test) * 2 // 3 :],
    }
    write_pictures(out, {name: _model_pictures(people, chosen, embed) for name, chosen in rows.items()})
    target = people.names[_nearest(layer(clean[rows["test_images"]]), people.labels[rows["test_images"]])]
    description: dict[str, str | float | bool] = {
        "name": "faces", "model": path.name, "target": target, "about": _ABOUT,
        "saliency_threshold": _SALIENCY_THRESHOLD, "fill": fill_path(out).name, "swing_weight": 0.0, "faces": True,
    }  # fmt: skip
    write_description(out, description)
    print(f"{out}: {', '.join(f'{len(chosen)} {name}' for name, chosen in rows.items())}")


def _nearest(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> int:
    """Return who ranks highest on the faces of others: the easiest person to be taken for."""
    scores = np.asarray(logits, np.float64).copy()
    ranks = (-scores).argsort(axis=1).argsort(axis=1).astype(np.float64)
    ranks[np.arange(len(labels)), labels] = np.nan
    return int(np.nanmean(ranks, axis=0).argmin())


def _model_pictures(
    people: People, rows: NDArray[np.intp], embed: Embedder
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The faces (N, H, W, 3) in the model's channel order, and their labels."""
    pixels = [embed.preprocessing.pixels(face) for face in people.faces[rows]]
    return np.stack(pixels), people.labels[rows]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the measuring data")
    parser.add_argument("--work", type=Path, default=Path("/tmp/taintwatch-faces"), help="what was done is kept here")  # noqa: S108
    parser.add_argument("--out", type=Path, default=Path("build/bench/faces-subject"), help="the subject's folder")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
