"""The radar graph says what autograd says, for every head that is supported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from taintwatch_models.calibration_file import Calibration, PaperCalibration, TightCalibration
from taintwatch_models.graph.prepare import Prepared, prepare
from taintwatch_models.graph.resampling import bilinear_matrix
from taintwatch_models.graph.verification import autograd_difference, check_inputs, stray_pixels
from taintwatch_models.model_source import read_source
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.torch_graph import TorchGraph
from taintwatch_models.torch_radar import GraphSplit, TorchRadar
from tests.models import heads

INPUTS = np.random.default_rng(0).uniform(-1, 1, (32, 3, heads.SIZE, heads.SIZE)).astype(np.float32)
BOTH = ("tight", "paper")


def prepared(kind: str, folder: Path) -> Prepared:
    return prepare(heads.export(heads.make(kind), folder / "model.onnx"), heads.DESCRIPTION)


@pytest.mark.parametrize("kind", [*heads.HEADS, "residual"])
def test_masks_and_statistics_agree_with_autograd_on_every_head(kind: str, tmp_path: Path) -> None:
    found = prepared(kind, tmp_path)
    ours = OnnxRadar(found.radar, BOTH, session=SessionSettings(threads=1))(INPUTS)
    split = GraphSplit(TorchGraph(found.plain, found.split))
    expected = TorchRadar(split, found.radar.info, BOTH)(INPUTS)
    with torch.no_grad():
        logits = heads.make(kind)(torch.from_numpy(INPUTS)).numpy()
    np.testing.assert_allclose(ours["logits"], logits, atol=1e-4)
    np.testing.assert_array_equal(ours["label"], logits.argmax(1))
    np.testing.assert_allclose(ours["saliency_concentration"], expected["saliency_concentration"], rtol=1e-3)
    for name in ("tight_mask", "paper_mask"):
        assert (ours[name] != expected[name]).mean() < 1e-3, name
    same = (ours["tight_mask"] == expected["tight_mask"]).all(axis=(1, 2))
    assert same.mean() > 0.8
    for name in ("tight_margin", "tight_swing"):
        np.testing.assert_allclose(ours[name][same], expected[name][same], atol=1e-4)
    np.testing.assert_array_equal(ours["tight_rank"][same], expected["tight_rank"][same])
    same = (ours["paper_mask"] == expected["paper_mask"]).all(axis=(1, 2))
    np.testing.assert_array_equal(ours["paper_rank"][same], expected["paper_rank"][same])


def test_the_comparison_is_made_on_masks_that_are_neither_empty_nor_full(tmp_path: Path) -> None:
    outputs = OnnxRadar(
        prepared("global average pooling and linear", tmp_path).radar, BOTH, session=SessionSettings(threads=1)
    )(INPUTS)
    areas = outputs["tight_mask"].mean(axis=(1, 2))
    assert ((areas > 0) & (areas < 0.9)).mean() > 0.9
    assert outputs["paper_mask"].any()
    assert (outputs["tight_rank"] > 0).any()


def test_a_choice_among_labels_that_do_not_rise_is_not_held_against_the_graph() -> None:
    empty, full = np.zeros((2, 4, 4), np.bool_), np.ones((2, 4, 4), np.bool_)
    ours = {"tight_mask": empty, "paper_mask": full}
    for rises, share in (([False, False], 0.0), ([True, False], 1.0)):
        expected = {"tight_mask": empty, "paper_mask": empty, "paper_rises": np.array(rises)}
        assert stray_pixels(ours, expected) == share


def test_a_batch_gives_what_its_rows_give_alone(tmp_path: Path) -> None:
    radar = OnnxRadar(
        prepared("max-pool and three layers (VGG)", tmp_path).radar, BOTH, session=SessionSettings(threads=1)
    )
    together = radar(INPUTS[:6])
    for row in range(6):
        alone = radar(INPUTS[row : row + 1])
        for name in ("tight_rank", "paper_rank", "label"):
            assert alone[name][0] == together[name][row]
        np.testing.assert_allclose(alone["tight_margin"][0], together["tight_margin"][row], atol=1e-4)


def test_the_third_forward_is_left_out_exactly_where_the_intersection_is_empty(tmp_path: Path) -> None:
    radar = prepared("global average pooling and linear", tmp_path).radar
    skipping = OnnxRadar(
        radar, ("paper",), Calibration(paper=PaperCalibration(labels=15)), session=SessionSettings(threads=1)
    )(INPUTS)
    empty = ~skipping["paper_mask"].any(axis=(1, 2))
    assert 0 < empty.sum() < len(INPUTS)
    assert (skipping["paper_rank"][empty] == 0).all()
    whole = onnx.ModelProto()
    whole.CopyFrom(radar.proto)  # the graph's own third forward, for every row
    import onnxruntime as ort

    session = ort.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"input": INPUTS, "paper_labels": np.array([15], np.int64)}
    np.testing.assert_array_equal(session.run(["paper_rank"], feeds)[0], skipping["paper_rank"])


def test_more_labels_never_enlarge_the_intersection(tmp_path: Path) -> None:
    radar = OnnxRadar(prepared("mean and linear", tmp_path).radar, ("paper",), session=SessionSettings(threads=1))
    areas = [radar(INPUTS, paper_labels=np.array([k], np.int64))["paper_mask"].mean() for k in (1, 3, 9, 20)]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[-1]


def test_a_map_that_is_zero_everywhere_gives_an_empty_mask_and_no_suspicion(tmp_path: Path) -> None:
    model = heads.make("global average pooling and linear")
    with torch.no_grad():
        model[3].weight.zero_()  # type: ignore[index]
        model[3].bias.fill_(-1.0)  # type: ignore[index]  # behind the ReLU every map is 0
    radar = prepare(heads.export(model, tmp_path / "dead.onnx"), heads.DESCRIPTION).radar
    outputs = OnnxRadar(radar, BOTH, session=SessionSettings(threads=1))(INPUTS[:4])
    assert not outputs["tight_mask"].any()
    assert not outputs["paper_mask"].any()
    assert (outputs["tight_rank"] == 0).all()
    np.testing.assert_array_equal(outputs["tight_swing"], 0)
    assert np.isfinite(outputs["saliency_concentration"]).all()


def test_a_classifier_that_is_very_sure_still_shows_where_it_looks(tmp_path: Path) -> None:
    model = heads.make("global average pooling and linear")
    with torch.no_grad():
        model[-1].weight.mul_(5000)  # type: ignore[index]  # softmax is exactly one-hot in float32
    radar = prepare(heads.export(model, tmp_path / "sure.onnx"), heads.DESCRIPTION).radar
    outputs = OnnxRadar(radar, ("tight",), session=SessionSettings(threads=1))(INPUTS)
    assert (np.sort(outputs["logits"])[:, -1] - np.sort(outputs["logits"])[:, -2]).max() > 200
    assert outputs["tight_mask"].any(axis=(1, 2)).mean() > 0.9


@pytest.mark.parametrize("fill", ["mean", "average", "noise", "fresh-noise", "blur", "inpaint"])
def test_every_fill_changes_the_region_and_nothing_else(fill: str, tmp_path: Path) -> None:
    radar = prepared("mean and linear", tmp_path).radar
    settings = Calibration(tight=TightCalibration(fill=fill), paper=PaperCalibration(fill=fill, labels=1))
    outputs = OnnxRadar(radar, ("tight",), settings, session=SessionSettings(threads=1))(INPUTS)
    assert outputs["tight_mask"].any()
    assert np.abs(outputs["tight_swing"]).max() > 1e-3
    paper = OnnxRadar(radar, ("paper",), settings, session=SessionSettings(threads=1))
    paper._third = None  # what the third forward would be given is then still there
    found = paper(INPUTS)
    outside = ~np.broadcast_to(found["paper_mask"][:, None], INPUTS.shape)
    np.testing.assert_array_equal(found["paper_filled"][outside], INPUTS[outside])


def test_inpainting_continues_a_smooth_gradient(tmp_path: Path) -> None:
    import onnxruntime as ort
    from onnx import TensorProto, helper

    from taintwatch_models.graph.builder import GraphBuilder
    from taintwatch_models.graph.resampling import inpaint

    b = GraphBuilder(17)
    result = inpaint(b, "image", "hole", (30, 40))
    graph = helper.make_graph(
        b.nodes,
        "inpaint",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 30, 40]),
            helper.make_tensor_value_info("hole", TensorProto.BOOL, [1, 1, 30, 40]),
        ],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        list(b.initializers.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ramp = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32), (1, 3, 30, 40)).copy()
    hole = np.zeros((1, 1, 30, 40), bool)
    hole[..., 10:20, 15:25] = True
    spoilt = np.where(hole, np.float32(9), ramp)
    filled = session.run(None, {"image": spoilt, "hole": hole})[0]
    assert np.abs(filled - ramp)[np.broadcast_to(hole, ramp.shape)].max() < 0.2
    np.testing.assert_allclose(filled[np.broadcast_to(~hole, ramp.shape)], ramp[np.broadcast_to(~hole, ramp.shape)],
                               atol=1e-5)  # fmt: skip


@pytest.mark.parametrize(("target", "source"), [(224, 7), (64, 8), (112, 7), (13, 13), (30, 4)])
def test_the_resizing_matrix_is_bilinear_interpolation(target: int, source: int) -> None:
    picture = torch.rand(1, 1, source, source)
    expected = torch.nn.functional.interpolate(picture, (target, target), mode="bilinear", align_corners=False)
    matrix = torch.from_numpy(bilinear_matrix(target, source).copy())
    torch.testing.assert_close(matrix @ picture @ matrix.T, expected, atol=1e-5, rtol=0)


@pytest.mark.shared
def test_mobilenet_v2_is_prepared_and_agrees_with_its_file(shared_data: Path) -> None:
    from taintwatch_models.graph.logits_parity import logits_difference

    path = shared_data / "models" / "mobilenet_v2_imagenet.onnx"
    found = prepare(path, None)
    assert (found.radar.info.channels, *found.radar.info.cells) == (1280, 7, 7)
    inputs = check_inputs(found.radar.info.preprocessing, 4)
    assert logits_difference(read_source(path), found.plain, found.radar.proto, inputs) < 1e-4
    assert autograd_difference(found, inputs) < 1e-3


@pytest.mark.shared
def test_a_face_embedding_is_prepared_without_pooling_its_gradient(shared_data: Path) -> None:
    found = prepare(shared_data / "models" / "mobilefacenet.onnx", None)
    assert found.radar.info.head.startswith("Conv > Flatten > Gemm")
    assert autograd_difference(found, check_inputs(found.radar.info.preprocessing, 4)) < 1e-3
