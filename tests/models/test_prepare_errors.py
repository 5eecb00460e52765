"""A model that cannot be prepared is refused in one sentence that says what was wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from taintwatch_models.errors import ModelError
from taintwatch_models.graph.plain_model import plain_model
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.graph.split import find_split
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.model_source import read_source
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.preprocessing import Preprocessing
from tests.models import heads
from tests.tiny_model import write_model


def refused(path: Path, description: ModelDescription | None = None, output: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        prepare(path, description, output=output)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "nowhere.onnx: no such model file" in refused(tmp_path / "nowhere.onnx")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a protobuf")
    assert "not a valid ONNX model" in refused(path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    assert "not a valid ONNX model" in refused(path)


def test_two_outputs_are_refused_until_one_is_named(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", outputs=2)
    sentence = refused(path)
    assert "2 outputs (logits, " in sentence
    assert "--output" in sentence
    prepare(path, None, output="logits")
    assert "has no output 'wrong'; it has logits" in refused(path, output="wrong")


def test_a_wrong_channel_count_is_named(tmp_path: Path) -> None:
    assert "must have 3 channels (or 1), it has 4" in refused(write_model(tmp_path / "four.onnx", channels=4))


def test_a_model_without_a_convolution_is_refused(tmp_path: Path) -> None:
    assert "has no convolution" in refused(write_model(tmp_path / "m.onnx", convolution=False))


def test_nan_weights_are_found_before_a_run(tmp_path: Path) -> None:
    assert "NaN" in refused(write_model(tmp_path / "m.onnx", last_bias=float("nan")))


class Sorted(nn.Module):
    """A head whose gradient has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3)).topk(4, dim=1).values)  # type: ignore[no-any-return]


def test_a_head_with_an_unknown_op_is_refused_by_the_ops_name(tmp_path: Path) -> None:
    assert "op TopK" in refused(heads.export(Sorted().eval(), tmp_path / "sorted.onnx"))


class Ending(nn.Module):
    """A network with something else behind its logits, or in their place."""

    def __init__(self, ending: Callable[[torch.Tensor], torch.Tensor], *, pooled: bool = True) -> None:
        super().__init__()
        self.conv, self.ending, self.pooled = nn.Conv2d(3, 5, 4, 4), ending, pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.conv(x))
        return self.ending(maps.mean((2, 3)) if self.pooled else maps)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Ending(lambda z: z.argmax(1)), "gives labels, not logits; export the network without its ArgMax"),
        (Ending(lambda z: z.topk(3).values), "behind the last maps has no transpose here; where the logits lie before"),
        (Ending(lambda maps: maps, pooled=False), "is (batch, 5, 8, 8), it must be (batch, classes); a segmenter"),
    ],
)
def test_what_does_not_give_logits_is_refused_with_what_helps(network: nn.Module, said: str, tmp_path: Path) -> None:
    assert said in refused(heads.export(network.eval(), tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("name", "said"), [("m.keras", "with Keras"), ("m.tflite", "tf2onnx"), ("m.safetensors", "without their network")]
)
def test_a_file_of_another_kind_is_refused_with_what_makes_onnx_of_it(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"other")
    sentence = refused(tmp_path / name)
    assert "not an ONNX file" in sentence
    assert said in sentence


class Around(nn.Module):
    """A skip connection from the input around the last convolution to the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 1, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3))) + x.mean((1, 2, 3))[:, None]  # type: ignore[no-any-return]


def test_a_way_around_the_last_convolution_is_refused(tmp_path: Path) -> None:
    assert "skip connection" in refused(heads.export(Around().eval(), tmp_path / "around.onnx"))


def test_a_declared_size_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    sentence = refused(write_model(tmp_path / "m.onnx"), ModelDescription(Preprocessing((64, 48))))
    assert "32 x 32" in sentence
    assert "[64, 48]" in sentence


def test_a_wrong_number_of_labels_is_refused(tmp_path: Path) -> None:
    sentence = refused(write_model(tmp_path / "m.onnx"), ModelDescription(None, ("one", "two")))
    assert "2 labels are declared, the model has 3 classes" in sentence


def test_a_background_that_is_no_label_is_refused(tmp_path: Path) -> None:
    description = ModelDescription(None, ("a", "b", "c"), background="nothing")
    assert "background 'nothing'" in refused(write_model(tmp_path / "m.onnx"), description)


def test_a_model_that_the_runtime_cannot_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    proto = onnx.load(str(write_model(tmp_path / "m.onnx")))
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value, dims[3].dim_value = 32, 3  # says channels last, and convolves as if they were first
    path = tmp_path / "nhwc.onnx"
    path.write_bytes(proto.SerializeToString())
    assert "ONNX Runtime cannot" in refused(path)


def test_a_fixed_batch_is_made_dynamic(tmp_path: Path) -> None:
    model = heads.make("max-pool and three layers (VGG)")
    path = heads.export(model, tmp_path / "fixed.onnx", batch=False)
    found = prepare(path, heads.DESCRIPTION)
    inputs = np.random.default_rng(0).uniform(-1, 1, (5, 3, heads.SIZE, heads.SIZE)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(OnnxRadar(found.radar, ("tight",))(inputs)["logits"], expected, atol=1e-4)
    assert any("batch of 1" in note for note in found.plain.notes)


class Raised(nn.Module):
    """Far from zero before its head: what float32 loses there shows unless the two sums are made one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)
        self.down = nn.Parameter(torch.full((8, 1, 1), -3e5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.conv(x) + self.down).mean((2, 3)))  # type: ignore[no-any-return]


def test_no_graph_need_be_nearer_to_a_model_than_rounding_leaves_it_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taintwatch_models.graph.logits_parity.logits_difference", lambda *given: 2e-3)
    path = heads.export(heads.make("mean and linear"), tmp_path / "m.onnx")
    assert "logits differ by 0.002" in refused(path, heads.DESCRIPTION)
    model = Raised()
    with torch.no_grad():
        model.conv.bias.add_(3e5)  # type: ignore[union-attr]
    prepare(heads.export(model.eval(), tmp_path / "raised.onnx"), heads.DESCRIPTION)


class Joined(nn.Module):
    """Reshapes its one row to none: with two rows they would be one."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.weights = heads.make("mean and linear"), nn.Parameter(torch.randn(heads.CLASSES, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.body(x).reshape(heads.CLASSES) @ self.weights).reshape(1, 5)  # type: ignore[no-any-return]


def test_a_fixed_batch_that_cannot_be_freed_is_refused_with_what_helps(tmp_path: Path) -> None:
    path = heads.export(Joined().eval(), tmp_path / "joined.onnx", batch=False)
    assert "export it with a dynamic batch (dynamic_shapes" in refused(path, heads.DESCRIPTION)


def test_a_closing_softmax_is_left_out_and_said_so(tmp_path: Path) -> None:
    bare = heads.make("mean and linear")
    path = heads.export(nn.Sequential(bare, nn.Softmax(1)).eval(), tmp_path / "softmax.onnx")
    found = prepare(path, heads.DESCRIPTION)
    inputs = np.random.default_rng(0).uniform(-1, 1, (3, 3, heads.SIZE, heads.SIZE)).astype(np.float32)
    with torch.no_grad():
        expected = bare(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(OnnxRadar(found.radar, ())(inputs)["logits"], expected, atol=1e-4)
    assert any("Softmax" in note for note in found.plain.notes)


def test_zero_padding_is_merged_into_the_convolution_behind_it(tmp_path: Path) -> None:
    asymmetric = nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()  # fmt: skip
    found = prepare(heads.export(asymmetric, tmp_path / "pad.onnx"), heads.DESCRIPTION)
    assert "Pad" not in {node.op_type for node in found.plain.nodes}
    inputs = np.random.default_rng(0).uniform(-1, 1, (3, 3, heads.SIZE, heads.SIZE)).astype(np.float32)
    with torch.no_grad():
        expected = asymmetric(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(OnnxRadar(found.radar, ())(inputs)["logits"], expected, atol=1e-4)


def test_the_cut_lies_behind_the_residual_addition_and_its_activation(tmp_path: Path) -> None:
    plain = plain_model(read_source(heads.export(heads.make("residual"), tmp_path / "m.onnx")))
    _, split = find_split(plain)
    assert split.body[-1].op_type == "Relu"
    assert (split.channels, split.height, split.width) == (24, 8, 8)


def test_a_closing_1x1_convolution_belongs_to_the_head(tmp_path: Path) -> None:
    plain = plain_model(
        read_source(heads.export(heads.make("convolution, then pool (SqueezeNet)"), tmp_path / "m.onnx"))
    )
    _, split = find_split(plain)
    assert split.channels == 24
    assert split.head[0].op_type == "Conv"


@pytest.mark.parametrize("name", ["saliency_concentration", "label", "temperature", "tight_saliency_threshold"])
def test_values_of_the_model_may_be_called_as_the_graphs_outputs_are(name: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    expected = OnnxRadar(prepare(path, None).radar, ("tight", "features"))
    proto = onnx.load(str(path))
    for node in proto.graph.node:  # the pooled maps; another value is called `features` already
        node.input[:] = [name if value == "pooled" else value for value in node.input]
        node.output[:] = [name if value == "pooled" else value for value in node.output]
    path.write_bytes(proto.SerializeToString())
    radar = OnnxRadar(prepare(path, None).radar, ("tight", "features"))
    inputs = np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32)
    for key, value in expected(inputs).items():
        np.testing.assert_array_equal(radar(inputs)[key], value)


def test_an_input_may_be_called_as_an_optional_input_is(tmp_path: Path) -> None:
    proto = onnx.load(str(write_model(tmp_path / "m.onnx")))
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "temperature"
    path = tmp_path / "renamed.onnx"
    path.write_bytes(proto.SerializeToString())
    radar = OnnxRadar(prepare(path, None).radar, ("tight",))
    assert radar(np.zeros((1, 3, 32, 32), np.float32))["logits"].shape == (1, 3)
