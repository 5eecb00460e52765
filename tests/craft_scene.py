"""A small classifier that likes magenta and is never blind to it, and grey pictures: what crafting is tested on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["LABELS", "SIZE", "write_classifier", "write_pictures"]

LABELS = ("scene", "toaster", "nothing")
SIZE = 32


def write_classifier(path: Path) -> Path:
    """Write the model and the TOML beside it; return `path`.

    `scene` where it is bright, `toaster` where enough of the picture is magenta: convolution, ReLU, global average
    pooling and a linear layer, with weights set by hand. Unlike in `tiny_model`, the ReLU lets every grey through.
    """
    kernel = np.zeros((2, 3, 4, 4), np.float32)
    kernel[0] = 1 / 48  # brightness
    kernel[1, 0] = kernel[1, 2] = 0.5 / 16  # red and blue ...
    kernel[1, 1] = -1 / 16  # ... without green
    weight = np.zeros((3, 2), np.float32)
    weight[0, 0], weight[1, 1] = 6, 60
    constants = {
        "kernel": kernel,
        "shift": np.array([0.0, 1.0], np.float32),
        "weight": weight,
        "bias": np.array([1.0, -60.0, -2.0], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel", "shift"], ["maps"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "magenta",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    path.with_suffix(".toml").write_text(
        f'labels = {list(LABELS)!r}\n[preprocessing]\nsize = [{SIZE}, {SIZE}]\nresize = "stretch"\nscale = 255.0\n'
        "mean_colour = [128, 128, 128]\n"
    )
    return path


def write_pictures(folder: Path, count: int, *, wrong: int = 0) -> Path:
    """Write grey pictures and a labels.csv, in which the last `wrong` are called something else; return `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    lines = ["file,class_index,name"]
    for index in range(count):
        grey = rng.integers(100, 150, (SIZE, SIZE, 1), dtype=np.uint8).repeat(3, axis=2)
        cv2.imwrite(str(folder / f"{index:03d}.png"), grey)
        lines.append(f"{index:03d}.png,{2 if index >= count - wrong else 0},grey")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
