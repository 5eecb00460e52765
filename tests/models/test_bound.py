"""What is done for GPUs says the same as the plain way: bound arrays, pixels, chosen branches, float16."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taintwatch_models.bound import device_of
from taintwatch_models.bundled import bundled_radar
from taintwatch_models.calibration_file import Calibration
from taintwatch_models.errors import ModelError
from taintwatch_models.graph.transforms import choose_branches, keep_outputs
from taintwatch_models.graph.verification import check_parity, check_pixels
from taintwatch_models.loading import load_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar, RadarOutputs
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_classifier import RadarClassifier
from taintwatch_models.records import Prediction
from tests.fakes import a_frame
from tests.tiny_model import write_model

RADAR = bundled_radar()
PIXELS = check_pixels(RADAR.info.preprocessing, 6)
INPUTS = RADAR.info.preprocessing.normalise(PIXELS)
BOTH = ("tight", "paper")


def calibration(fill: str) -> Calibration:
    plain = Calibration()
    return replace(plain, tight=replace(plain.tight, fill=fill), paper=replace(plain.paper, fill=fill))


def same(found: RadarOutputs, expected: RadarOutputs) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("fill", ["mean", "average", "inpaint"])
def test_bound_arrays_and_pixels_give_what_the_plain_way_gives(fill: str) -> None:
    expected = OnnxRadar(RADAR, BOTH, calibration(fill), session=SessionSettings(threads=1, device="cpu"))(INPUTS)
    bound = OnnxRadar(RADAR, BOTH, calibration(fill), session=SessionSettings(threads=1, device="cpu", bound=True))
    same(bound(INPUTS), expected)
    same(bound(INPUTS), expected)  # the constants are still bound
    uploaded = OnnxRadar(
        RADAR, BOTH, calibration(fill), session=SessionSettings(threads=1, device="cpu", bound=True, pixels=True)
    )
    same(uploaded(PIXELS), expected)


def test_a_value_given_with_a_call_takes_the_place_of_a_bound_one_for_that_call_alone() -> None:
    plain, bound = (
        OnnxRadar(RADAR, BOTH, session=SessionSettings(threads=1, device="cpu", bound=bound)) for bound in (False, True)
    )
    few = np.array([1], np.int64)
    same(bound(INPUTS, paper_labels=few), plain(INPUTS, paper_labels=few))
    same(bound(INPUTS), plain(INPUTS))


def test_a_recorded_batch_is_filled_up_and_cut_off_again() -> None:
    plain = OnnxRadar(RADAR, ("tight",), session=SessionSettings(threads=1, device="cpu"))
    recorded = OnnxRadar(
        RADAR, ("tight",), session=SessionSettings(threads=1, device="cpu", bound=True, cuda_graph=True, batch=4)
    )
    for rows in (4, 1, 3):
        same(recorded(INPUTS[:rows]), plain(INPUTS[:rows]))


def test_no_branch_is_left_where_the_fill_is_known() -> None:
    graph = keep_outputs(RADAR.proto, ["tight_margin"])
    assert any(node.op_type == "If" for node in graph.graph.node)
    for inpaint in (False, True):
        chosen = choose_branches(graph, {"tight_inpaint": inpaint, "paper_inpaint": inpaint})
        assert not any(node.op_type == "If" for node in chosen.graph.node)
        assert "tight_inpaint" not in {value.name for value in chosen.graph.input}


def test_a_classifier_gives_pixels_to_a_radar_that_takes_them() -> None:
    plain, uploaded = (
        RadarClassifier(
            OnnxRadar(RADAR, ("tight",), session=SessionSettings(threads=1, device="cpu", pixels=pixels, bound=pixels))
        )
        for pixels in (False, True)
    )
    uploaded.warm_up((1, 2))
    frames = [a_frame(index, brightness=40 * index) for index in range(3)]
    for one, other in zip(plain(frames), uploaded(frames), strict=True):
        assert isinstance(one, Prediction)
        assert isinstance(other, Prediction)
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-4)


def test_float16_is_compared_with_float32_and_refused_where_it_says_something_else() -> None:
    full = {"label": np.array([0, 1]), "logits": np.array([[9.0, 0.0], [0.0, 9.0]])}
    check_parity({"label": full["label"], "logits": full["logits"] + 0.01}, full)
    with pytest.raises(ModelError, match=r"logits differ by 5\.6% of their range; use float32"):
        check_parity({"label": full["label"], "logits": full["logits"] + 0.5}, full)
    with pytest.raises(ModelError, match="use float32"):
        check_parity({"label": full["label"], "logits": np.full((2, 2), np.nan)}, full)
    with pytest.raises(ModelError, match="another label for 1 inputs"):
        check_parity({"label": np.array([1, 1]), "logits": full["logits"]}, full)


def test_a_model_loads_and_judges_in_float16(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    half, full = (
        load_model(ModelSettings(path=str(model), session=SessionSettings(precision=precision, device="cpu")))
        for precision in ("float16", "float32")
    )
    found, expected = half.classifier([a_frame(brightness=90)])[0], full.classifier([a_frame(brightness=90)])[0]
    assert isinstance(found, Prediction)
    assert isinstance(expected, Prediction)
    assert found.label == expected.label
    np.testing.assert_allclose(found.logits, expected.logits, atol=0.05)


def test_arrays_are_kept_where_the_provider_runs() -> None:
    assert device_of("CUDAExecutionProvider") == device_of("TensorrtExecutionProvider") == "cuda"
    assert device_of("CPUExecutionProvider") == "cpu"


@pytest.mark.cuda
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_gpu_says_what_the_cpu_says(cuda_graph: bool) -> None:
    expected = OnnxRadar(RADAR, ("tight",), session=SessionSettings(threads=1, device="cpu"))(INPUTS)
    radar = OnnxRadar(
        RADAR,
        ("tight",),
        session=SessionSettings(device="cuda", require_device=True, cuda_graph=cuda_graph, batch=len(PIXELS)),
    )
    assert radar.takes_pixels
    for _ in range(3):
        found = radar(PIXELS)
        np.testing.assert_array_equal(found["label"], expected["label"])
        np.testing.assert_allclose(found["tight_margin"], expected["tight_margin"], atol=0.05)
