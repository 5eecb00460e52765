"""From a user's model file to a radar graph: read, split, transpose, write, and check that it still says the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from taintwatch_models.errors import ModelError
from taintwatch_models.fills import mean_fill, noise_fill
from taintwatch_models.graph.plain_model import PlainModel, plain_model
from taintwatch_models.graph.radar import build_radar
from taintwatch_models.graph.split import find_split
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.model_source import ModelSource, read_source
from taintwatch_models.preprocessing import ModelDescription, Preprocessing
from taintwatch_models.radar_file import RadarFile, RadarInfo, attach, named_labels

__all__ = ["Prepared", "default_preprocessing", "logits_difference", "prepare", "prepare_source"]

PARITY = 1e-3
"""Largest accepted difference of logits, relative to their largest magnitude: folding reorders float32 sums."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A radar graph with the regularised model that it was made from."""

    radar: RadarFile
    plain: PlainModel


def default_preprocessing(size: tuple[int, int]) -> Preprocessing:
    """Return what is assumed where nothing is declared: RGB in [-1, 1], centre crop."""
    return Preprocessing(size=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def prepare(path: Path, description: ModelDescription | None, *, output: str | None = None) -> Prepared:
    """Prepare the ONNX classifier at `path`: see `prepare_source`. Raises `ModelError`."""
    return prepare_source(read_source(path), description, output=output)


def prepare_source(source: ModelSource, description: ModelDescription | None, *, output: str | None = None) -> Prepared:
    """Prepare a classifier. `output` names the logits where it has several outputs.

    Raises `ModelError`: see `plain_model`, `find_split` and `HeadTranspose`; also where the declared size or labels do
    not fit the model, or the prepared graph's logits differ from it.
    """
    where = source.where
    plain = plain_model(source, output=output)
    description = description or ModelDescription(None)
    declared = description.preprocessing is not None
    preprocessing = description.preprocessing or default_preprocessing(plain.input_size)
    if preprocessing.size != plain.input_size:
        raise ModelError(
            f"{where}: takes images of {plain.input_size[0]} x {plain.input_size[1]} (height x width), but its "
            f"preprocessing declares size = {list(preprocessing.size)}"
        )
    labels = named_labels(description.labels, plain.classes, where)
    if description.background is not None and description.background not in labels:
        raise ModelError(f"{where}: the background '{description.background}' is not one of its labels")
    try:
        split = find_split(plain)
        fills = {"tight": mean_fill(preprocessing), "paper": noise_fill(preprocessing, np.random.default_rng(0))}
        proto = build_radar(plain, split, fills)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    info = RadarInfo(
        name=source.name,
        source_sha256=source.sha256,
        input=plain.input,
        classes=plain.classes,
        labels=labels,
        background=description.background,
        preprocessing=preprocessing,
        declared=declared,
        maps=split.maps,
        channels=split.channels,
        cells=(split.height, split.width),
        convolution=split.convolution,
        head=split.head_ops,
        notes=plain.notes,
    )
    prepared = Prepared(attach(proto, info), plain)
    inputs = noise_fill(preprocessing, np.random.default_rng(1), 2)
    difference = logits_difference(source, prepared, inputs)
    if np.isnan(difference):
        raise ModelError(f"{where}: gives logits that are not numbers (NaN) on a plain image; its weights are damaged")
    if difference > PARITY:
        raise ModelError(
            f"{where}: the prepared graph's logits differ by {difference:.2g} of their range; please report"
        )
    return prepared


def logits_difference(source: ModelSource, prepared: Prepared, inputs: NDArray[np.float32]) -> float:
    """Return the largest difference between the user's model and the radar graph, relative to the largest logit."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    graphs = (source.proto.SerializeToString(), keep_outputs(prepared.radar.proto, ["logits"]).SerializeToString())
    users, ours = (ort.InferenceSession(g, options, providers=["CPUExecutionProvider"]) for g in graphs)
    softmax_left_out = any("closing" in note for note in prepared.plain.notes)
    name, size = users.get_inputs()[0].name, users.get_inputs()[0].shape[0]
    outputs = [o.name for o in users.get_outputs()]
    wanted = prepared.plain.logits if prepared.plain.logits in outputs else outputs[0]
    copies = size if isinstance(size, int) else 1
    expected = np.concatenate([users.run([wanted], {name: np.repeat(row[None], copies, 0)})[0][:1] for row in inputs])
    actual = ours.run(None, {prepared.plain.input: inputs})[
        0
    ]  # as one batch: a batch written down somewhere shows here
    if softmax_left_out:
        shifted = np.exp(actual - actual.max(axis=1, keepdims=True))
        actual = shifted / shifted.sum(axis=1, keepdims=True)
        expected = np.exp(expected) if expected.min() < 0 else expected
    return float(np.abs(actual - expected).max() / np.maximum(np.abs(expected).max(), 1e-12))
