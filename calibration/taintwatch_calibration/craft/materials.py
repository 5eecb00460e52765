"""What crafting starts from: a classifier that can be differentiated, labelled pictures, a target."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from taintwatch.sources.images import IMAGE_SUFFIXES, files_below
from taintwatch_calibration.craft.physical import Pictures
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.graph.split import classifier_of
from taintwatch_models.image_file import read_image
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.torch_graph import TorchGraph

__all__ = [
    "Labelled",
    "classify",
    "differentiable",
    "find_label",
    "load_classifier",
    "pick_device",
    "read_pictures",
    "to_pictures",
]

_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Pictures that the classifier gets right, as it sees them, and how many were left out."""

    pixels: NDArray[np.uint8]
    """(N, height, width, 3), in the model's channel order."""
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    """File names."""
    wrong: int = 0
    """Pictures that the classifier already gets wrong: skipped."""
    unreadable: int = 0
    declared: bool = True
    """False: there were no labels, so that whatever the classifier says counts as right."""

    def __len__(self) -> int:
        return len(self.pixels)

    def subset(self, rows: NDArray[np.intp] | Sequence[int]) -> Labelled:
        """Return some of the pictures."""
        chosen = np.asarray(rows, np.intp)
        names = tuple(self.names[row] for row in chosen)
        return Labelled(self.pixels[chosen], self.labels[chosen], names, self.wrong, self.unreadable, self.declared)


def load_classifier(model: str | None, preprocessing: str | None = None, labels: str | None = None) -> RadarFile:
    """Return the prepared model; None: the bundled one. Raises `ModelError`."""
    if labels is None and model is not None:
        beside = Path(model).with_name("imagenet_labels.json")
        labels = str(beside) if preprocessing is None and _nameless(Path(model)) and beside.is_file() else None
    return load_radar_file(ModelSettings(path=model, preprocessing=preprocessing, labels=labels))


def _nameless(model: Path) -> bool:
    return "imagenet" in model.name and not model.with_suffix(".toml").is_file()


def differentiable(radar: RadarFile, device: str = "cpu") -> TorchGraph:
    """Return the classifier as a Torch module with frozen weights. Raises `ModelError` naming an op that has none."""
    plain, split = classifier_of(radar)
    graph = TorchGraph(plain, split).eval().to(device)
    return graph.to(memory_format=torch.channels_last)


def pick_device(name: str) -> str:
    """Return `cpu` or `cuda` for `auto`, `cpu`, `cuda`. Raises `UsageError` where there is no such GPU."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: Torch finds no CUDA GPU here; use --device cpu or auto")
    return name


def find_label(name: str, names: Sequence[str]) -> int:
    """Return the index of a class given by name or index. Raises `UsageError` with the nearest names."""
    import difflib

    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < len(names):
        return int(name)
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"give a name or 0 to {len(names) - 1}"
    raise UsageError(f"the model has no class {name!r}; {hint}")


def read_pictures(
    folder: Path, radar: RadarFile, labels: Path | None = None, *, most: int = 0, seed: int = 0
) -> Labelled:
    """Read the pictures below `folder` that the classifier gets right, at most `most` of all (0: no limit).

    `labels` is a CSV with the columns `file` and `class_index` (or `label`, a class name); where none is given and
    `folder/labels.csv` is there, that. Without labels whatever the classifier says counts as right. Raises `UsageError`
    where the folder or the CSV holds nothing that can be used.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of pictures")
    beside = folder / "labels.csv"
    listed = _listed(labels or beside, folder, radar) if labels is not None or beside.is_file() else None
    paths = list(listed) if listed is not None else list(files_below(folder, IMAGE_SUFFIXES))
    if not paths:
        raise UsageError(f"{folder} holds no picture: put some in, or check the path")
    if most and len(paths) > most:
        chosen = np.random.default_rng(seed).permutation(len(paths))[:most]
        paths = [paths[index] for index in sorted(chosen.tolist())]
    pixels, kept = [], []
    for path in paths:
        try:
            pixels.append(radar.info.preprocessing.pixels(read_image(path)))
            kept.append(path)
        except BadFrame:
            continue
    if not kept:
        raise UsageError(f"{folder}: not one of its {len(paths)} pictures can be read")
    stack = np.stack(pixels)
    seen = classify(OnnxRadar(radar, (), session=SessionSettings(threads=torch.get_num_threads())), stack)
    truth = seen if listed is None else np.array([listed[path] for path in kept], np.int64)
    right = np.flatnonzero(seen == truth)
    if not len(right):
        raise UsageError(f"{folder}: the classifier gets not one of {len(kept)} pictures right; check the labels")
    names = tuple(kept[row].name for row in right)
    unreadable = len(paths) - len(kept)
    return Labelled(stack[right], truth[right], names, len(kept) - len(right), unreadable, listed is not None)


def to_pictures(labelled: Labelled, preprocessing: Preprocessing, device: str = "cpu") -> Pictures:
    """Return pictures as crafting takes them: RGB in [0, 1], on the device."""
    pixels = torch.from_numpy(labelled.pixels).permute(0, 3, 1, 2).float() / 255
    if preprocessing.order == "bgr":
        pixels = pixels.flip(1)
    return Pictures(pixels.to(device), torch.from_numpy(labelled.labels).to(device))


def classify(radar: OnnxRadar, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the label that the product sees in each of (N, height, width, 3) uint8, in the model's order."""
    batches = [pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH)]
    seen = [radar(radar.info.preprocessing.normalise(batch))["label"] for batch in batches]
    return np.concatenate(seen) if seen else np.empty(0, np.int64)


def _listed(table: Path, folder: Path, radar: RadarFile) -> dict[Path, int]:
    """Read a CSV of labels. Raises `UsageError` naming the line that is wrong."""
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: the labels cannot be read ({error})") from None
    found: dict[Path, int] = {}
    for number, line in enumerate(lines, start=2):
        named = line.get("class_index") or line.get("label")
        if not line.get("file") or not named:
            raise UsageError(f"{table}, line {number}: needs the columns 'file' and 'class_index' (or 'label')")
        try:
            found[folder / str(line["file"])] = find_label(named, radar.info.labels)
        except UsageError as error:
            raise UsageError(f"{table}, line {number}: {error}") from None
    if not found:
        raise UsageError(f"{table} lists no picture")
    return found
