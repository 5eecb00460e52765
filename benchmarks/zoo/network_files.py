"""From a recipe to the files of a network: train, export, check, measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.signs.evaluate import predict
from benchmarks.signs.export import preprocessing_toml, write_onnx
from benchmarks.zoo.measures import measure_network
from benchmarks.zoo.networks import multiplications
from benchmarks.zoo.pictures import DATASETS, pictures_of
from benchmarks.zoo.recipes import Recipe
from benchmarks.zoo.training import Report, ZooTraining
from benchmarks.zoo.trigger import TRIGGER, trigger_path, trigger_picture
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.graph.verification import autograd_difference, check_inputs
from taintwatch_models.model_description import read_description
from taintwatch_models.model_source import file_hash
from taintwatch_models.storage import write_atomically

__all__ = ["make"]

_CPU = torch.device("cpu")
_CHECKED = 8
"""Inputs on which the prepared graph is compared with autograd."""


def make(name: str, recipe: Recipe, data: Path, work: Path, identity: dict[str, Any], report: Report) -> Path:
    """Train `name` in the folder `work`, or go on where an interrupted training stopped; return the ONNX.

    The metrics come last: without them the network counts as unfinished. Raises `UsageError`, and `ModelError` where
    what came out cannot be prepared.
    """
    with denormals_flushed():
        training = ZooTraining(recipe, data, work / f"{name}.pt", json.dumps(identity, sort_keys=True), report)
        if training.resume():
            report("goes on from its checkpoint")
        elif recipe.begin_from is not None:
            training.begin_from(work / f"{recipe.begin_from}.pt")
        training.run()
    path, dataset = work / f"{name}.onnx", DATASETS[recipe.dataset]
    write_onnx(training.network, path, dataset.size)
    toml = preprocessing_toml(training.names, dataset.size, dataset.mean, dataset.std, background=None)
    write_atomically(path.with_suffix(".toml"), toml.encode())
    prepared = prepare(path, read_description(path.with_suffix(".toml")))
    info = prepared.radar.info
    about = {
        "network": name,
        **measure_network(training.network, dataset, *pictures_of(recipe.dataset, data)),
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "training_seconds": round(training.seconds, 1),
        "parameters": sum(p.numel() for p in training.network.parameters()),
        "multiply_adds": multiplications(training.network, dataset.size),
        "input": [dataset.size, dataset.size],
        "last_maps": [info.channels, *info.cells],
        "head": info.head,
        "autograd_difference": autograd_difference(prepared, check_inputs(info.preprocessing, _CHECKED)),
        "sha256": file_hash(path),
        "identity": identity,
        "machine": machine(),
    }
    if recipe.poisoned:
        about["trigger"] = _trigger(training.network, name, data, work)
    write_json(work / f"{name}.json", about)
    report(f"accuracy {about['accuracy']:.4f} on {about['total']} test pictures, {path}")
    return path


def _trigger(network: nn.Module, name: str, data: Path, work: Path) -> dict[str, Any]:
    """Write the trigger's picture; return its rule, and how often it works on test pictures of other labels."""
    path = trigger_path(name, work)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(trigger_picture(), cv2.COLOR_RGB2BGR))
    write_atomically(path, encoded.tobytes())
    images, labels, names = pictures_of("signs", data)
    others = labels != TRIGGER.target
    stamped = TRIGGER.stamp(images[others], np.random.default_rng(0))
    fooled = int((predict(network, stamped, _CPU) == TRIGGER.target).sum())
    clean = int((predict(network, images[others], _CPU) == TRIGGER.target).sum())
    count = int(others.sum())
    return {
        **TRIGGER.rule(),
        "target_name": names[TRIGGER.target],
        "picture": path.name,
        "tried": count,
        "succeeded": fooled,
        "success": round(fooled / count, 4) if count else None,
        "target_without_it": clean,
    }
