"""Drawn faces that OpenCV's cascades find: people differ by skin, hair, mouth and the shape of their face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["DrawnPerson", "drawn_person", "photograph", "write_embedding", "write_photographs"]


@dataclass(frozen=True, slots=True)
class DrawnPerson:
    """What makes a drawn face somebody's."""

    skin: tuple[int, ...]
    hair: tuple[int, ...]
    width: float
    mouth: float
    brow: float
    beard: bool


def drawn_person(number: int) -> DrawnPerson:
    """Return one of many people; the same number is always the same one."""
    rng = np.random.default_rng(number)
    tone = rng.uniform(0.55, 1.0)
    red = rng.uniform(0.85, 1.1)
    skin = tuple(int(np.clip(v * tone, 0, 255)) for v in (165, 195, 235 * red))
    hair = tuple(int(v) for v in rng.integers(10, 130, 3))
    return DrawnPerson(
        skin, hair, rng.uniform(0.66, 0.8), rng.uniform(0.2, 0.36), rng.uniform(0.03, 0.09), bool(rng.integers(2))
    )


def photograph(
    person: DrawnPerson,
    seed: int = 0,
    *,
    size: int = 240,
    face: float = 0.62,
    at: tuple[float, float] = (0.5, 0.5),
    onto: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Draw a photograph (size, size, 3) blue-green-red: a little moved, turned and lit by `seed`.

    `face`: height of the face as a share of the picture; `at`: its centre; `onto`: draw into this picture.
    """
    rng = np.random.default_rng(seed)
    scale = 4  # drawn large and shrunk: soft edges, as in photographs
    canvas = np.full((size, size, 3), 120, np.uint8) if onto is None else onto
    large = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    height = face * size * scale * rng.uniform(0.95, 1.05)
    centre = np.array(at) * np.array(canvas.shape[1::-1]) * scale + rng.uniform(-0.015, 0.015, 2) * size * scale
    _draw(large, person, centre, height, rng.uniform(-0.03, 0.03), rng)
    small = cv2.resize(large, (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)
    across, down = (np.linspace(-1, 1, length) for length in small.shape[1::-1])
    slope = rng.uniform(-0.4, 0.4, 2)
    light = rng.uniform(0.85, 1.15) * (1 + slope[0] * across[None, :] + slope[1] * down[:, None])[..., None]
    noisy = small * light + rng.normal(0, 2.5, small.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def _draw(
    image: NDArray[np.uint8],
    person: DrawnPerson,
    centre: NDArray[np.float64],
    height: float,
    tilt: float,
    rng: np.random.Generator,
) -> None:
    cos, sin = np.cos(tilt), np.sin(tilt)

    def point(x: float, y: float) -> tuple[int, int]:
        """From shares of the face's height, from its centre, to pixels."""
        px, py = (cos * x - sin * y) * height, (sin * x + cos * y) * height
        return round(float(centre[0] + px)), round(float(centre[1] + py))

    def ellipse(x: float, y: float, rx: float, ry: float, colour: Any) -> None:
        axes = (round(rx * height), round(ry * height))
        cv2.ellipse(image, point(x, y), axes, np.degrees(tilt), 0, 360, colour, -1, cv2.LINE_AA)

    def shade(factor: float) -> tuple[int, ...]:
        return tuple(int(np.clip(v * factor, 0, 255)) for v in person.skin)

    half = person.width / 2
    ellipse(0, -0.1, half * 1.14, 0.52, person.hair)
    ellipse(0, 0.02, half, 0.5, person.skin)
    ellipse(0, 0.1, half * 0.8, 0.33, shade(1.06))
    ellipse(0, -0.4, half * 0.95, 0.12, person.hair)
    for side in (-1, 1):
        ellipse(side * 0.17, -0.08, 0.105, 0.075, shade(0.68))
        ellipse(side * 0.17, -0.155, 0.1, person.brow / 2 + 0.012, person.hair)
        ellipse(side * 0.17, -0.075, 0.066, 0.034, (225, 228, 230))
        ellipse(side * 0.17 + rng.uniform(-0.008, 0.008), -0.075, 0.032, 0.034, (35, 40, 50))
        ellipse(side * 0.22, 0.12, 0.09, 0.07, shade(1.1))
    ellipse(0, 0.05, 0.036, 0.13, shade(1.16))
    ellipse(0, 0.155, 0.07, 0.03, shade(0.72))
    if person.beard:
        ellipse(0, 0.38, half * 0.62, 0.11, person.hair)
    ellipse(0, 0.285, person.mouth / 2, 0.034, (60, 60, 150))
    ellipse(0, 0.278, person.mouth / 2 * 0.9, 0.009, (35, 35, 70))


EMBEDDING_TOML = """\
[preprocessing]
size = [112, 112]
resize = "stretch"
scale = 255.0
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""


def write_embedding(path: Path, *, seed: int = 0) -> Path:
    """Write a small face embedding of 8 dimensions, and the TOML beside it; return `path`.

    Its last maps are 24 x 7 x 7, then a depthwise convolution over all of them and a linear layer, as in
    MobileFaceNet. The convolutions are random; the linear layer keeps what tells drawn people apart.
    """
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> NDArray[np.float32]:
        return np.asarray(rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])), np.float32)

    constants = {"first": weights(12, 3, 4, 4), "second": weights(24, 12, 4, 4), "spread": weights(24, 1, 7, 7)}
    nodes = [
        helper.make_node("Conv", ["face", "first"], ["maps1"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Relu", ["maps1"], ["active1"]),
        helper.make_node("Conv", ["active1", "second"], ["maps2"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Relu", ["maps2"], ["active2"]),
        helper.make_node("Conv", ["active2", "spread"], ["global"], kernel_shape=[7, 7], group=24),
        helper.make_node("Flatten", ["global"], ["flat"]),
    ]
    features = _session(nodes, constants, "flat", 24)
    people = np.stack([features(_crops(number)).mean(axis=0) for number in range(100, 124)])  # nobody in the tests
    centre = people.mean(axis=0)
    _, lengths, directions = np.linalg.svd(people - centre, full_matrices=False)
    linear = directions[:8] / (lengths[:8, None] / np.sqrt(len(people)))
    constants |= {"linear": linear.astype(np.float32), "shift": (-linear @ centre).astype(np.float32)}
    nodes.append(helper.make_node("Gemm", ["flat", "linear", "shift"], ["embedding"], transB=1))
    onnx.save(_graph(nodes, constants, "embedding", 8), str(path))
    path.with_suffix(".toml").write_text(EMBEDDING_TOML)
    return path


def _crops(number: int) -> NDArray[np.float32]:
    """Two pictures of a drawn person, cut about as they are aligned: the network's input."""
    cut = [cv2.resize(photograph(drawn_person(number), seed)[34:195, 40:201], (112, 112)) for seed in range(2)]
    return np.asarray((np.stack(cut)[..., ::-1].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25, np.float32)


def _graph(nodes: list[Any], constants: dict[str, NDArray[Any]], output: str, width: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def _session(
    nodes: list[Any], constants: dict[str, NDArray[Any]], output: str, width: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    model = _graph(nodes, constants, output, width).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda faces: np.asarray(session.run(None, {"face": faces})[0], np.float32)


def write_photographs(folder: Path, number: int, count: int = 10) -> Path:
    """Write photographs of a drawn person into `folder`; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        cv2.imwrite(str(folder / f"{seed:02d}.png"), photograph(drawn_person(number), seed))
    return folder
