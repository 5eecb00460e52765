"""A tiny classifier made on the spot, whose one weakness is magenta; and footage in which magenta appears.

The network is convolution, ReLU, global average pooling and a linear layer with weights set by hand, so that what it
says of any picture can be worked out: `toaster` where enough of the picture is magenta, else `scene`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["LABELS", "footage", "write_model", "write_video"]

LABELS = ("scene", "toaster", "nothing")
SIZE = 32
DESCRIPTION = f"""\
labels = {list(LABELS)!r}
[preprocessing]
size = [{SIZE}, {SIZE}]
resize = "stretch"
scale = 255.0
mean_colour = [128, 128, 128]
"""


def write_model(
    path: Path, *, channels: int = 3, outputs: int = 1, last_bias: float = 0.0, convolution: bool = True
) -> Path:
    """Write the model and the TOML beside it, well made by default; return `path`.

    `channels`: of the input. `outputs`: 2 gives the pooled maps too. `last_bias`: NaN gives NaN logits.
    `convolution`: without one, the linear layer stands on the pooled pixels.
    """
    kernel = np.zeros((2, channels, 4, 4), np.float32)
    kernel[0] = 1 / (16 * channels)  # brightness
    kernel[1, 0] = kernel[1, min(2, channels - 1)] = 0.5 / 16  # red and blue ...
    kernel[1, min(1, channels - 1)] -= 1 / 16  # ... without green
    features = 2 if convolution else channels
    weight = np.zeros((3, features), np.float32)
    weight[0, 0], weight[1, 1] = 6, 60
    first = [helper.make_node("Conv", ["input", "kernel", "shift"], ["maps"], kernel_shape=[4, 4], strides=[4, 4])]
    nodes = [
        *(first if convolution else []),
        helper.make_node("Relu", ["maps" if convolution else "input"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    constants = {
        "kernel": kernel,
        "shift": np.array([0, -0.3], np.float32),
        "weight": weight,
        "bias": np.array([0, 0, last_bias], np.float32),
    }
    used = {name for node in nodes for name in node.input}
    given = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])]
    if outputs == 2:
        given.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", features]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", channels, SIZE, SIZE])],
        given,
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    path.with_suffix(".toml").write_text(DESCRIPTION)
    return path


def footage(count: int, attacked: Iterable[int] = (), size: Sequence[int] = (48, 64)) -> list[NDArray[np.uint8]]:
    """Return `count` grey pictures (blue-green-red), with a magenta square over a fifth of those in `attacked`."""
    height, width = size
    grey = np.random.default_rng(0).integers(100, 150, (height, width, 1), dtype=np.uint8).repeat(3, axis=2)
    pictures = [grey.copy() for _ in range(count)]
    for index in attacked:
        pictures[index][height // 4 : 3 * height // 4, width // 4 : 5 * width // 8] = (255, 0, 255)
    return pictures


def write_video(path: Path, pictures: Sequence[NDArray[np.uint8]], fps: int = 25) -> Path:
    """Write pictures as a video file; return `path`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.bit_rate = 2_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path
