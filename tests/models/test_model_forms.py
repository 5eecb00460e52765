"""What people export in many forms is prepared as it is, and right: logits as the file's, masks as autograd's."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn

from taintwatch_calibration.craft.materials import differentiable
from taintwatch_models.errors import ModelError
from taintwatch_models.graph.logits_parity import logits_difference
from taintwatch_models.graph.prepare import Prepared, prepare, prepare_source
from taintwatch_models.graph.verification import check_inputs, with_autograd
from taintwatch_models.model_source import file_hash, read_source
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from tests.models import heads

KIND = "mean and linear"


def right(found: Prepared) -> None:
    """Compare masks and statistics with float64 autograd's."""
    inputs = check_inputs(found.radar.info.preprocessing, 2)
    ours = OnnxRadar(found.radar, ("tight",), session=SessionSettings(device="cpu", threads=1))(inputs)
    expected = with_autograd(found, inputs, ("tight",))[1]
    np.testing.assert_allclose(ours["saliency_concentration"], expected["saliency_concentration"], rtol=1e-3)
    assert (ours["tight_mask"] != expected["tight_mask"]).mean() <= 1e-3


def exported(tmp_path: Path, model: nn.Module | None = None) -> Path:
    return heads.export(model or heads.make(KIND), tmp_path / "m.onnx")


class Closed(nn.Module):
    """A network behind a closing function."""

    def __init__(self, *closing: nn.Module, kind: str = KIND) -> None:
        super().__init__()
        self.network, self.closing = heads.make(kind), nn.Sequential(*closing)

    def forward(self, x: Tensor) -> Tensor:
        return self.closing(self.network(x))  # type: ignore[no-any-return]


def test_weights_beside_the_file_are_part_of_its_hash(tmp_path: Path) -> None:
    proto = onnx.load(str(exported(tmp_path)))
    path = tmp_path / "big.onnx"
    onnx.save(proto, str(path), save_as_external_data=True, location="big.data", size_threshold=0)
    before = file_hash(path)
    weights = bytearray((tmp_path / "big.data").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "big.data").write_bytes(bytes(weights))
    assert file_hash(path) != before
    (tmp_path / "big.data").unlink()
    with pytest.raises(ModelError, match=r"its weights are in big\.data, which is missing"):
        read_source(path)


def test_a_sigmoid_for_each_label_is_left_out_however_sure(tmp_path: Path) -> None:
    model = Closed(nn.Sigmoid())
    with torch.no_grad():
        model.network[-1].weight.mul_(200)  # type: ignore[index]
    found = prepare(exported(tmp_path, model.eval()), heads.DESCRIPTION)
    assert found.radar.info.multi_label
    inputs = check_inputs(found.radar.info.preprocessing, 4)
    outputs = OnnxRadar(found.radar, ("tight",), session=SessionSettings(device="cpu"))(inputs)
    assert np.abs(outputs["logits"]).max() > 50
    assert outputs["tight_mask"].any(axis=(1, 2)).all()
    right(found)


@pytest.mark.parametrize("closing", [(), (nn.Flatten(0),)], ids=["(batch, 1)", "(batch,)"])
def test_one_value_is_two_classes(tmp_path: Path, closing: tuple[nn.Module, ...]) -> None:
    body = list(heads.make(KIND))[:-1]  # type: ignore[call-overload]
    model = nn.Sequential(*body, nn.Linear(24, 1), nn.Sigmoid(), *closing).eval()
    found = prepare(exported(tmp_path, model), heads.DESCRIPTION)
    assert found.radar.info.classes == 2
    assert not found.radar.info.multi_label
    right(found)


def test_a_softmax_that_is_clamped_is_left_out(tmp_path: Path) -> None:
    found = prepare(exported(tmp_path, Closed(nn.Softmax(1), nn.Hardtanh(1e-6, 1.0)).eval()), heads.DESCRIPTION)
    assert found.plain.output_form.activation == "Softmax"
    right(found)


def test_old_files_list_their_weights_as_inputs(tmp_path: Path) -> None:
    proto = onnx.load(str(exported(tmp_path)))
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    proto.ir_version = 3
    found = prepare_source(
        read_source(_saved(proto, tmp_path / "zoo.onnx")), heads.DESCRIPTION
    )  # fmt: skip
    assert found.split.body[-1].op_type == "Relu"
    right(found)


def _saved(proto: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def _behind(path: Path, node: str, given: onnx.ValueInfoProto, **attrs: object) -> onnx.ModelProto:
    """Put one node between a new input and the old one."""
    proto = onnx.load(str(path))
    proto.graph.node.insert(0, helper.make_node(node, [given.name], ["input"], **attrs))
    del proto.graph.input[:]
    proto.graph.input.append(given)
    return proto


def test_channels_last_pictures_are_taken(tmp_path: Path) -> None:
    given = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", heads.SIZE, heads.SIZE, 3])
    proto = _behind(exported(tmp_path), "Transpose", given, perm=[0, 3, 1, 2])
    found = prepare(_saved(proto, tmp_path / "nhwc.onnx"), heads.DESCRIPTION)
    assert found.plain.input_form.channels_last
    right(found)


def test_whole_numbers_and_an_input_named_pixels_are_taken(tmp_path: Path) -> None:
    given = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 3, heads.SIZE, heads.SIZE])
    proto = _behind(exported(tmp_path), "Cast", given, to=TensorProto.FLOAT)
    found = prepare(_saved(proto, tmp_path / "whole.onnx"), None)
    assert found.radar.info.preprocessing.scale == 1.0
    pixels = np.full((1, heads.SIZE, heads.SIZE, 3), 90, np.uint8)
    session = SessionSettings(device="cpu", pixels=True)
    assert np.isfinite(OnnxRadar(found.radar, ("tight",), session=session)(pixels)["logits"]).all()


def test_an_input_that_nothing_reads_is_left_out(tmp_path: Path) -> None:
    proto = onnx.load(str(exported(tmp_path)))
    proto.graph.input.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 1, 1, 3]))
    found = prepare(_saved(proto, tmp_path / "keras.onnx"), heads.DESCRIPTION)
    assert "the input 'mean' is left out: nothing reads it" in found.plain.notes


def test_grey_pictures_are_taken(tmp_path: Path) -> None:
    model = heads.make(KIND)
    model[0] = nn.Conv2d(1, 16, 3, 2, 1)  # type: ignore[operator]
    path = tmp_path / "grey.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (torch.zeros(1, 1, heads.SIZE, heads.SIZE),), str(path), dynamo=False, opset_version=17
        )
    found = prepare(path, heads.DESCRIPTION)
    assert found.plain.input_form.grey
    right(found)


def test_a_size_is_asked_for_where_there_is_none(tmp_path: Path) -> None:
    proto = onnx.load(str(exported(tmp_path)))
    for place in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[place].dim_param = f"side{place}"
    del proto.graph.value_info[:]
    source = read_source(_saved(proto, tmp_path / "free.onnx"))
    with pytest.raises(ModelError, match="--size HEIGHTxWIDTH"):
        prepare_source(source, None)
    assert prepare_source(source, None, size=(32, 32)).plain.input_size == (32, 32)
    right(prepare_source(source, heads.DESCRIPTION))


def test_half_precision_weights_are_taken(tmp_path: Path) -> None:
    half = convert_float_to_float16(onnx.load(str(exported(tmp_path))), keep_io_types=True)
    right(prepare(_saved(half, tmp_path / "half.onnx"), heads.DESCRIPTION))


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._rows = iter(check_inputs(heads.DESCRIPTION.preprocessing, 8))  # type: ignore[arg-type]

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self._rows, None)
        return None if row is None else {"input": row[None]}


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_integer_weights_are_taken(form: QuantFormat, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize_static(str(exported(tmp_path)), str(path), Pictures(), quant_format=form)
    found = prepare(path, heads.DESCRIPTION)
    inputs = check_inputs(found.radar.info.preprocessing, 2)
    outputs = OnnxRadar(found.radar, ("tight",), session=SessionSettings(device="cpu"))(inputs)
    assert outputs["tight_mask"].any()
    right(found)


def test_brain_floats_are_taken_though_no_processor_runs_them(tmp_path: Path) -> None:
    proto = onnx.load(str(exported(tmp_path)))
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            bits = (numpy_helper.to_array(tensor).view(np.uint32) >> 16).astype(np.uint16)
            tensor.data_type, tensor.raw_data = TensorProto.BFLOAT16, bits.tobytes()
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    del proto.graph.value_info[:]
    right(prepare(_saved(proto, tmp_path / "brain.onnx"), heads.DESCRIPTION))


def test_a_layer_norm_whose_scale_another_shares_in_whole_numbers_is_taken(tmp_path: Path) -> None:
    stored: dict[str, Any] = {
        "whole": np.full(12, 50, np.int8), "step": np.array(0.02, np.float32), "zero": np.array(0, np.int8),
        "over": np.array([1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["first"]),
        helper.make_node("Identity", ["first"], ["shared"]),
        helper.make_node("QuantizeLinear", ["shared", "step", "zero"], ["again"]),
        helper.make_node("DequantizeLinear", ["again", "step", "zero"], ["scale"]),
        helper.make_node("Mul", ["tokens", "first"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "over"], ["mean"], keepdims=0),
        helper.make_node("LayerNormalization", ["mean", "scale"], ["pooled"]),
    ]
    right(prepare(_of_tokens(tmp_path / "m.onnx", nodes, stored, 18), heads.DESCRIPTION))


def test_a_batch_of_one_that_was_written_down_is_freed_without_allowing_zeros(tmp_path: Path) -> None:
    proto = onnx.load(str(exported(tmp_path, heads.make("average pool and linear"))))
    flatten = next(node for node in proto.graph.node if node.op_type == "Flatten")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 24 * 16], np.int64), "flat"))
    flatten.CopyFrom(helper.make_node("Reshape", [flatten.input[0], "flat"], list(flatten.output), allowzero=1))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del proto.graph.value_info[:]
    right(prepare(_saved(proto, tmp_path / "default.onnx"), heads.DESCRIPTION))


class TinyVit(nn.Module):
    """A class token, two blocks of attention, the class token's logits (ViT)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 32)), nn.Parameter(torch.randn(1, 17, 32))
        layer = [nn.TransformerEncoderLayer(32, 4, 64, 0, "gelu", batch_first=True, norm_first=True) for _ in range(2)]
        self.blocks, self.norm, self.head = nn.ModuleList(layer), nn.LayerNorm(32), nn.Linear(32, 9)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch", [True, False])
def test_a_class_token_reads_the_patches_that_the_last_attention_reads(batch: bool, tmp_path: Path) -> None:
    path = heads.export(TinyVit().eval(), tmp_path / "vit.onnx", batch=batch)
    found = prepare(path, heads.DESCRIPTION)
    assert (found.radar.info.channels, *found.radar.info.cells) == (32, 4, 4)
    assert found.split.side
    right(found)


class ClassAttention(nn.Module):
    """A class token that attends to the patches in two blocks of its own, which the patches go around (CaiT)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.token = nn.Conv2d(3, 32, 8, 8), nn.Parameter(torch.randn(1, 1, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.reads = nn.ModuleList(nn.Linear(32, 96) for _ in range(2))
        self.head = nn.Linear(32, 9)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        token = self.token.expand(x.shape[0], -1, -1)
        for norm, reads in zip(self.norms, self.reads, strict=False):
            q, k, v = reads(norm(torch.cat([token, patches], 1))).chunk(3, dim=-1)
            token = token + torch.softmax(q[:, :1] @ k.transpose(1, 2) / 6, dim=-1) @ v
        return self.head(self.norms[2](torch.cat([token, patches], 1))[:, 0])  # type: ignore[no-any-return]


def test_a_class_token_with_blocks_of_its_own_reads_what_the_last_of_them_reads(tmp_path: Path) -> None:
    found = prepare(heads.export(ClassAttention().eval(), tmp_path / "cait.onnx"), heads.DESCRIPTION)
    assert (found.radar.info.channels, *found.radar.info.cells) == (32, 4, 4)
    assert "norms.1" in found.split.layer
    right(found)


def test_rows_that_were_joined_to_heads_are_freed_where_attention_reads_them(tmp_path: Path) -> None:
    """(197, 1, 192) to (197, 4, 48): whether rows were joined to tokens or to heads shows only in what reads them."""
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(heads.SIZE, 8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=48, num_classes=6)
    nn.init.normal_(network.heads[0].weight)  # torchvision's own is zero
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)  # the exporter knows none of its fused operations
    try:
        found = prepare(heads.export(network.eval(), tmp_path / "vit.onnx"), heads.DESCRIPTION)
    finally:
        torch.backends.mha.set_fastpath_enabled(value=was)
    assert (found.radar.info.channels, *found.radar.info.cells) == (32, 4, 4)
    inputs = check_inputs(found.radar.info.preprocessing, 3)
    assert logits_difference(read_source(tmp_path / "vit.onnx"), found.plain, found.radar.proto, inputs) < 1e-5
    right(found)
    again = differentiable(found.radar)(torch.from_numpy(inputs)).numpy()
    assert again == pytest.approx(OnnxRadar(found.radar, ())(inputs)["logits"], abs=1e-5)


def _of_tokens(path: Path, nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray], opset: int) -> Path:
    """Write a classifier of 16 tokens of 12 values, `tokens` (B, 16, 12), and what `nodes` make of them, `pooled`."""
    rng = np.random.default_rng(0)
    weights = {"patch": rng.normal(0, 0.2, (12, 3, 8, 8)), "last": rng.normal(0, 1, (12, 7))}
    stored = {name: value.astype(np.float32) for name, value in weights.items()} | stored
    stored["flat"] = np.array([0, 12, 16])
    front = [
        helper.make_node("Conv", ["input", "patch"], ["maps"], strides=[8, 8]),
        helper.make_node("Reshape", ["maps", "flat"], ["planes"]),
        helper.make_node("Transpose", ["planes"], ["tokens"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        [*front, *nodes, helper.make_node("MatMul", ["pooled", "last"], ["logits"])],
        "tokens",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, heads.SIZE, heads.SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return _saved(model, path)


@pytest.mark.parametrize("masked", [False, True])
def test_the_op_attention_is_taken_apart(masked: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stored: dict[str, Any] = {name: rng.normal(0, 0.5, (12, 12)).astype(np.float32) for name in ("q", "k", "v")}
    stored["mask"] = rng.random((16, 16)) < 0.7
    nodes = [helper.make_node("MatMul", ["tokens", name], [f"{name}_of"]) for name in ("q", "k", "v")]
    given = ["q_of", "k_of", "v_of", *(["mask"] if masked else [])]
    nodes.append(helper.make_node("Attention", given, ["attended"], q_num_heads=3, kv_num_heads=3))
    nodes.append(helper.make_node("ReduceMean", ["attended", "over"], ["pooled"], keepdims=0))
    found = prepare(_of_tokens(tmp_path / "m.onnx", nodes, stored | {"over": np.array([1])}, 23), heads.DESCRIPTION)
    assert "Attention rewritten with standard ops" in found.plain.notes
    right(found)


def test_pooled_tokens_are_looked_at_behind_their_last_norm(tmp_path: Path) -> None:
    """Before it gradient times activation is nothing in every cell: a token's length changes no logit."""
    ones, zeros = np.ones(12, np.float32), np.zeros(12, np.float32)
    nodes = [
        helper.make_node("LayerNormalization", ["tokens", "scale", "bias"], ["normed"], epsilon=1e-6),
        helper.make_node("ReduceMean", ["normed", "over"], ["pooled"], keepdims=0),
    ]
    stored = {"scale": ones, "bias": zeros, "over": np.array([1])}
    found = prepare(_of_tokens(tmp_path / "m.onnx", nodes, stored, 18), heads.DESCRIPTION)
    assert found.split.layer == "normed"
    right(found)


def test_tokens_that_are_read_by_points_are_taken(tmp_path: Path) -> None:
    stored = {"points": np.array([[[3], [9]], [[9], [14]]]), "over": np.array([0, 1])}
    nodes = [
        helper.make_node("Transpose", ["tokens"], ["rows"], perm=[1, 0, 2]),
        helper.make_node("GatherND", ["rows", "points"], ["read"]),
        helper.make_node("ReduceMean", ["read", "over"], ["pooled"], keepdims=0),
    ]
    found = prepare(_of_tokens(tmp_path / "m.onnx", nodes, stored, 18), heads.DESCRIPTION)
    right(found)


def test_a_table_that_reads_one_row_in_its_order_is_a_reshape(tmp_path: Path) -> None:
    stored = {"over": np.array([1]), "one": np.array([-1]), "table": np.arange(12)[None]}
    nodes = [
        helper.make_node("ReduceMean", ["tokens", "over"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "one"], ["row"]),
        helper.make_node("Gather", ["row", "table"], ["pooled"]),
    ]
    path = _of_tokens(tmp_path / "m.onnx", nodes, stored, 18)
    proto = onnx.load(str(path))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    right(prepare(_saved(proto, path), heads.DESCRIPTION))


def test_the_weights_of_a_large_model_lie_in_a_file_while_it_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(tmp_path, heads.make("max-pool and three layers (VGG)"))
    plainly = prepare(path, heads.DESCRIPTION)
    monkeypatch.setattr("taintwatch_models.graph.weight_file._LARGE_MODEL", 0)
    monkeypatch.setattr("taintwatch_models.graph.weight_file._LARGE", 1024)
    found = prepare(path, heads.DESCRIPTION)
    assert found.plain.weights is not None
    assert found.plain.weights.folder.is_dir()
    right(found)
    inputs = check_inputs(found.radar.info.preprocessing, 3)
    ours, expected = (
        OnnxRadar(each.radar, ("tight", "paper"), session=SessionSettings(device="cpu", threads=1))(inputs)
        for each in (found, plainly)
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(ours[name], values)
