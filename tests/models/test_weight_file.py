"""Weights of a large model lie in a file while it is prepared; what is written holds them all again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from taintwatch_models.graph import weight_file
from taintwatch_models.graph.prepare import prepare_lightly, prepare_source
from taintwatch_models.graph.verification import check_inputs
from taintwatch_models.graph.weight_file import move_weights
from taintwatch_models.model_source import read_source
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import read_radar, write_radar
from tests.models import heads

KIND = "max-pool and three layers (VGG)"
_PREPARE = """
import resource, sys
from taintwatch.cli import model
model.PARITY_INPUTS = 2
for path in sys.argv[1:]:
    model.prepare_command([path, "--out", path + ".radar.onnx"], standalone_mode=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_file, "_LARGE_MODEL", 0)
    monkeypatch.setattr(weight_file, "_LARGE", 1024)


@pytest.mark.parametrize("beside", [False, True], ids=["in the file", "beside it"])
@pytest.mark.usefixtures("small_is_large")
def test_a_prepared_file_holds_the_weights_that_were_moved(tmp_path: Path, beside: bool) -> None:
    path = heads.export(heads.make(KIND), tmp_path / "m.onnx")
    if beside:
        onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="m.data", size_threshold=0)
    prepared = prepare_lightly(read_source(path), heads.DESCRIPTION)
    assert prepared.radar.weights is not None
    assert prepared.radar.weights.folder.is_dir()
    write_radar(prepared.radar, tmp_path / "m.radar.onnx")
    onnx.checker.check_model(str(tmp_path / "m.radar.onnx"))
    whole = prepare_source(read_source(path), heads.DESCRIPTION).radar
    inputs = check_inputs(whole.info.preprocessing, 3)
    ours, expected = (
        OnnxRadar(each, ("tight", "paper"), session=SessionSettings(device="cpu", threads=1))(inputs)
        for each in (read_radar(tmp_path / "m.radar.onnx"), whole)
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(ours[name], values)


@pytest.mark.usefixtures("small_is_large")
def test_a_model_of_an_old_opset_keeps_the_weights_that_were_moved(tmp_path: Path) -> None:
    path = heads.export(heads.make(KIND), tmp_path / "m.onnx", opset=11)
    prepared = prepare_lightly(read_source(path), heads.DESCRIPTION)
    assert prepared.radar.weights is not None
    assert any(note.startswith("opset 11") for note in prepared.radar.info.notes)


@pytest.mark.usefixtures("small_is_large")
def test_a_weight_that_does_not_fit_its_shape_stays_for_the_checks_to_come() -> None:
    good = numpy_helper.from_array(np.arange(2048, dtype=np.float32), "good")
    bad = TensorProto(name="bad", dims=[4096], data_type=TensorProto.FLOAT, raw_data=b"\0" * 12)
    graph = helper.make_graph([], "g", [], [], [good, bad])
    moved, weights = move_weights(helper.make_model(graph))
    assert weights is not None
    stored = {tensor.name: tensor for tensor in moved.graph.initializer}
    assert len(stored["bad"].raw_data) == 12
    assert not stored["good"].raw_data
    np.testing.assert_array_equal(weights.array(stored["good"]), np.arange(2048))


def test_preparing_takes_at_most_four_times_the_file(tmp_path: Path) -> None:
    """Of a model that is nearly all head, as VGG is; beyond what the same command has taken for a small one."""
    small, large = (_of_one_layer(tmp_path / f"m{hidden}.onnx", hidden) for hidden in (8, 4000))
    command = [sys.executable, "-c", _PREPARE, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = (int(line) * 1024 for line in done.stdout.splitlines() if line.isdigit())
    assert large.stat().st_size > 60e6
    assert after - before <= 4 * large.stat().st_size


def _of_one_layer(path: Path, hidden: int) -> Path:
    """Convolution, ReLU and two layers on 8 x 8 cells of 64 channels; nearly all weights lie in the first layer."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (64, 3, 4, 4), "first": (64 * 64, hidden), "second": (hidden, heads.CLASSES)}
    stored = [
        numpy_helper.from_array(rng.standard_normal(shape, np.float32) / np.float32(shape[0] ** 0.5), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["c"], strides=[4, 4]),
        helper.make_node("Relu", ["c"], ["maps"]),
        helper.make_node("Flatten", ["maps"], ["flat"]),
        helper.make_node("Gemm", ["flat", "first"], ["f"]),
        helper.make_node("Relu", ["f"], ["r"]),
        helper.make_node("Gemm", ["r", "second"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", heads.CLASSES])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path
