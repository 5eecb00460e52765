"""Keras' classifiers with random weights, exported by Keras itself and by tf2onnx: pictures are (B, H, W, 3)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.architectures.exports import quiet
from benchmarks.architectures.torch_networks import CLASSES

__all__ = ["KERAS_EXPORTERS", "KERAS_NETWORKS", "KERAS_SIDE"]

KERAS_SIDE = 96
KERAS_NETWORKS = ("MobileNetV3Small", "EfficientNetB0", "ResNet50")


@cache
def _network(name: str) -> Any:
    """The network in inference mode; its closing softmax stays."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import keras

    keras.utils.set_random_seed(0)
    shape = (KERAS_SIDE, KERAS_SIDE, 3)
    made = getattr(keras.applications, name)(input_shape=shape, weights=None, classes=CLASSES)
    made(np.zeros((1, *shape), np.float32))  # Keras exports what has been called
    return made


def _by_keras(name: str, path: Path) -> None:
    network = _network(name)
    with quiet():
        network.export(str(path), format="onnx", verbose=False)


def _by_tf2onnx(name: str, path: Path) -> None:
    network = _network(name)
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec([None, KERAS_SIDE, KERAS_SIDE, 3], tf.float32, name="input")]
    with quiet():
        tf2onnx.convert.from_keras(network, input_signature=signature, opset=17, output_path=str(path))


KERAS_EXPORTERS: dict[str, Callable[[str, Path], None]] = {"keras": _by_keras, "tf2onnx": _by_tf2onnx}
