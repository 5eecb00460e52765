"""Models that would take minutes, or all the memory, are refused at once."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.bounds import MOST_NODES, refuse_large_values, refuse_oversized
from taintwatch_models.graph.prepare import prepare_source
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.model_source import read_source


def write(path: Path, nodes: list[onnx.NodeProto], size: int = 32, *more: onnx.TensorProto) -> Path:
    """Write a classifier: a convolution, then these nodes from `maps` to `last`, then pooling and a linear layer."""
    first = helper.make_node("Conv", ["input", "kernel"], ["maps"], kernel_shape=[4, 4], strides=[4, 4])
    ending = [
        helper.make_node("GlobalAveragePool", ["last"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weight"], ["logits"], transB=1),
    ]
    stored = [
        numpy_helper.from_array(np.ones((2, 3, 4, 4), np.float32), "kernel"),
        numpy_helper.from_array(np.ones((3, 2), np.float32), "weight"),
        *more,
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([first, *nodes, *ending], "bounds", [image], [logits], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def refused(path: Path) -> str:
    began = time.monotonic()
    with pytest.raises(ModelError) as caught:
        load_radar_file(ModelSettings(path=str(path)))
    assert time.monotonic() - began < 20.0
    return str(caught.value)


def test_too_many_nodes(tmp_path: Path) -> None:
    names = ["maps", *(f"v{number}" for number in range(MOST_NODES)), "last"]
    nodes = [helper.make_node("Relu", [before], [after]) for before, after in itertools.pairwise(names)]
    assert "has more than 20000 nodes" in refused(write(tmp_path / "m.onnx", nodes))


def test_more_weights_than_a_file_holds(tmp_path: Path) -> None:
    claimed = [TensorProto(name=f"w{n}", dims=[1 << 27], data_type=TensorProto.FLOAT) for n in range(4)]
    assert "its weights are 2.1 GB in float32" in refused(
        write(tmp_path / "m.onnx", [helper.make_node("Relu", ["maps"], ["last"])], 32, *claimed)
    )


def test_nodes_of_subgraphs_count() -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])] * (MOST_NODES + 1), "inner", [], [])
    model = helper.make_model(helper.make_graph([helper.make_node("If", ["c"], ["z"], then_branch=inner)], "g", [], []))
    with pytest.raises(ModelError, match="has more than 20000 nodes"):
        refuse_oversized(model, "m.onnx")


def test_pictures_that_no_camera_gives(tmp_path: Path) -> None:
    relu = helper.make_node("Relu", ["maps"], ["last"])
    assert "takes pictures of 8000 x 8000" in refused(write(tmp_path / "m.onnx", [relu], 8000))


def test_a_constant_that_fills_the_memory(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["sum"], keepdims=0),
        helper.make_node("Add", ["maps", "sum"], ["last"]),
    ]
    sizes = numpy_helper.from_array(np.array([40_000, 40_000], np.int64), "sizes")
    assert "fills a tensor of 40000 x 40000" in refused(write(tmp_path / "m.onnx", nodes, 32, sizes))


def test_a_weight_that_claims_to_be_huge(tmp_path: Path) -> None:
    claim = TensorProto(name="claim", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20])
    relu = helper.make_node("Relu", ["maps"], ["last"])
    assert "the weight 'claim' has more than" in refused(write(tmp_path / "m.onnx", [relu], 32, claim))


def test_a_value_in_between_that_is_larger_than_memory() -> None:
    refuse_large_values({"small": (None, 2048, 56, 56)}, "m.onnx")
    with pytest.raises(ModelError, match="would have 1 x 64 x 40000 x 40000 numbers"):
        refuse_large_values({"up": (None, 64, 40_000, 40_000)}, "m.onnx")


def test_time_that_runs_out_between_two_steps(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [helper.make_node("Relu", ["maps"], ["last"])])
    with pytest.raises(ModelError, match=r"m\.onnx: takes longer than 0 s to prepare"):
        prepare_source(read_source(path), None, limit_s=0.0)
