"""From a user's model file to a radar graph: read, split, transpose, write, and check that it still says the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from taintwatch_models.errors import ModelError
from taintwatch_models.fills import mean_fill, noise_fill
from taintwatch_models.graph.bounds import refuse_oversized
from taintwatch_models.graph.logits_parity import require_same_logits
from taintwatch_models.graph.plain_model import PlainModel, plain_model
from taintwatch_models.graph.radar import build_radar
from taintwatch_models.graph.split import Split, find_split
from taintwatch_models.graph.time_box import PREPARE_S, TimeBox
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.model_source import ModelSource, read_source
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile, RadarInfo, attach

__all__ = ["Prepared", "default_preprocessing", "prepare", "prepare_lightly", "prepare_source"]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A radar graph with the regularised model that it was made from."""

    radar: RadarFile
    plain: PlainModel
    split: Split


def default_preprocessing(plain: PlainModel) -> Preprocessing:
    """Return what is assumed where nothing is declared: RGB in [-1, 1], or 0..255 where whole numbers are taken."""
    if plain.input_form.whole:
        return Preprocessing(size=plain.input_size, scale=1.0)
    return Preprocessing(size=plain.input_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def prepare(path: Path, description: ModelDescription | None, *, output: str | None = None) -> Prepared:
    """Prepare the ONNX classifier at `path`: see `prepare_source`. Raises `ModelError`."""
    return prepare_source(read_source(path), description, output=output)


def prepare_source(
    source: ModelSource,
    description: ModelDescription | None,
    *,
    output: str | None = None,
    size: tuple[int, int] | None = None,
    limit_s: float = PREPARE_S,
) -> Prepared:
    """Prepare a classifier, with all its weights in the graph: see `prepare_lightly`. Raises `ModelError`."""
    prepared = prepare_lightly(source, description, output=output, size=size, limit_s=limit_s)
    radar = prepared.radar
    if radar.weights is None:
        return prepared
    radar.weights.put_back(radar.proto)
    return replace(prepared, radar=RadarFile(radar.proto, radar.info))


def prepare_lightly(
    source: ModelSource,
    description: ModelDescription | None,
    *,
    output: str | None = None,
    size: tuple[int, int] | None = None,
    limit_s: float = PREPARE_S,
) -> Prepared:
    """Prepare a classifier.

    `output` names the logits where it has several outputs; `size` (height, width) is that of its pictures where neither
    it nor its description says so. The weights of a large model stay in their file: only `write_radar` and the checks
    take such a graph. Raises `ModelError`: see `plain_model`, `find_split` and `HeadTranspose`; also where the declared
    size or labels do not fit the model, the prepared graph's logits differ from it, or more than `limit_s` seconds have
    passed (looked at between the steps).
    """
    where, time_box = source.where, TimeBox(limit_s)
    refuse_oversized(source.proto, where)  # before its weights are looked at
    description = description or ModelDescription()
    known = description.preprocessing
    size, order = (known.size, known.order) if known else (size, "rgb")
    plain = plain_model(source, output=output, size=size, order=order, time_box=time_box)
    preprocessing, labels = _declared(description, plain, where)
    fills = {"tight": mean_fill(preprocessing), "paper": noise_fill(preprocessing, np.random.default_rng(0))}
    noise = noise_fill(preprocessing, np.random.default_rng(1), 2)
    try:
        plain, split = find_split(plain)
        proto = build_radar(plain, split, fills)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    time_box.check(where)
    info = RadarInfo(
        name=source.name,
        source_sha256=source.sha256,
        input=plain.input,
        classes=plain.classes,
        labels=labels,
        background=description.background,
        preprocessing=preprocessing,
        declared=known is not None,
        maps=split.maps,
        channels=split.channels,
        cells=(split.height, split.width),
        convolution=split.layer,
        head=split.head_ops,
        multi_label=plain.output_form.multi_label,
        notes=plain.notes,
    )
    radar = attach(proto, info, plain.weights)
    require_same_logits(source, plain, radar.proto, noise)
    return Prepared(radar, plain, split)


def _declared(description: ModelDescription, plain: PlainModel, where: str) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing and the labels. Raises `ModelError` where what is declared does not fit the model."""
    preprocessing = description.preprocessing or default_preprocessing(plain)
    if preprocessing.size != plain.input_size:
        raise ModelError(
            f"{where}: takes images of {plain.input_size[0]} x {plain.input_size[1]} (height x width), but its "
            f"preprocessing declares size = {list(preprocessing.size)}"
        )
    labels = description.class_names(plain.classes, where)
    if description.background is not None and description.background not in labels:
        raise ModelError(f"{where}: the background '{description.background}' is not one of its labels")
    return preprocessing, labels
