"""Graphs as exporters write them run with Torch: what the runtime gives, for batches, with a gradient."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from taintwatch_models.bundled import BUNDLED_FINDER, bundled_path
from taintwatch_models.errors import ModelError
from taintwatch_models.objects.torch_detector import TorchDetector


class DistanceHead(nn.Module):
    """YOLOv8's outputs in small: split, a softmax over distances, anchors, sizes that are read from the maps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.down = nn.Conv2d(3, 16, 3, 8, 1), nn.Conv2d(16, 16, 3, 2, 1)
        self.head = nn.Conv2d(16, 4 * 8 + 2, 1)
        self.bins = nn.Conv2d(8, 1, 1, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        fine = self.stem(pictures)
        coarse = nn.functional.interpolate(nn.functional.silu(self.down(fine)), size=fine.shape[2:], mode="nearest")
        maps = self.head(fine + coarse)
        rows, columns = maps.shape[2:]
        sides, scores = maps.flatten(2).split((32, 2), 1)
        sides = self.bins(sides.reshape(-1, 4, 8, rows * columns).transpose(2, 1).softmax(1)).reshape(
            -1, 4, rows * columns
        )
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        low, high = sides.chunk(2, 1)
        middle = torch.stack([x, y]).reshape(1, 2, -1) + (high - low) / 2
        return torch.cat([middle * 8, (low + high) * 8, scores.sigmoid()], 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "head.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that most published models were written with is the older one
        torch.onnx.export(
            DistanceHead().eval(), (torch.rand(1, 3, 64, 96),), str(path), opset_version=17, dynamo=False,
            dynamic_axes={"images": {0: "batch"}}, input_names=["images"], output_names=["output0"],
        )  # fmt: skip
    return path


def given_by_both(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, Tensor, Tensor]:
    pictures = np.random.default_rng(0).random(shape, np.float32)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {session.get_inputs()[0].name: each[None]})[0] for each in pictures])
    inputs = torch.from_numpy(pictures).requires_grad_()
    return expected, next(iter(TorchDetector(onnx.load(str(path)))(inputs).values())), inputs


def test_an_export_that_computes_sizes_gives_what_the_runtime_gives(exported: Path) -> None:
    expected, given, inputs = given_by_both(exported, (3, 3, 64, 96))
    assert given.detach().numpy() == pytest.approx(expected, abs=1e-4)
    (slope,) = torch.autograd.grad(given[2, 4:].sum(), [inputs])
    assert slope[2].abs().max() > 0
    assert slope[0].abs().max() == 0  # of another picture


def test_attacks_can_be_crafted_on_the_bundled_finder() -> None:
    expected, given, inputs = given_by_both(bundled_path(BUNDLED_FINDER), (2, 3, 144, 192))
    assert given.detach().numpy() == pytest.approx(expected, abs=1e-3)
    (slope,) = torch.autograd.grad(given[:, 4].sum(), [inputs])
    assert slope.abs().amax((1, 2, 3)).min() > 0


def test_a_graph_for_one_picture_alone_runs_each_of_a_batch_by_itself(tmp_path: Path) -> None:
    whole = helper.make_node("Reshape", ["images", "flat"], ["row"])  # all values in a row: a batch would be mixed
    sizes = [
        helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("k", TensorProto.INT64, [1], [2]),
    ]
    best = helper.make_node("TopK", ["row", "k"], ["best", "places"])
    out = helper.make_node("Reshape", ["best", "shape"], ["out"])
    sizes.append(helper.make_tensor("shape", TensorProto.INT64, [2], [1, 2]))
    graph = helper.make_graph(
        [whole, best, out], "one", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2])], sizes,
    )  # fmt: skip
    pictures = torch.rand(3, 3, 2, 2)
    given = TorchDetector(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))(pictures)["out"]
    assert torch.equal(given, pictures.flatten(1).topk(2).values)


def test_an_op_that_torch_is_not_taught_is_named(exported: Path) -> None:
    proto = onnx.load(str(exported))
    next(node for node in proto.graph.node if node.op_type == "Conv").op_type = "DeformConv"
    with pytest.raises(ModelError, match="the op DeformConv"):
        TorchDetector(proto)
