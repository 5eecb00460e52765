"""The statistics of the default detector, each against an independent way of working it out."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from scipy import stats

from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.anomaly import largest_sum, share_nodes
from taintwatch_models.detection.appearance import APPEARANCE_FILE, SIDE, appearance_model
from taintwatch_models.detection.closeup import CLOSEUP_FILE, CLOSEUP_SIDE, closeup_boxes, closeup_model, crops
from taintwatch_models.detection.intervention import label_margin, log_odds, margin_after_fill, transplant
from taintwatch_models.detection.novelty import degrade, paste_posters
from taintwatch_models.detection.operating_points import Kind, operating_points
from taintwatch_models.detection.reference import combine
from taintwatch_models.detection.tail import fit_tail, upper_quantile
from taintwatch_models.detection.windows import box_averages, boxes_at, boxes_of
from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.resampling import area_matrix, bilinear_matrix, shrink
from taintwatch_models.preprocessing import Preprocessing

RNG = np.random.default_rng(0)


def test_a_tails_surprise_is_the_log_of_the_benign_share_that_reaches_the_value() -> None:
    values = RNG.exponential(size=20_000)
    tail = fit_tail(values)
    at = np.array([0.5, 1.0, 2.0, 3.0, 6.0])
    assert tail.surprise(at) == pytest.approx(-stats.expon.logsf(at), abs=0.15)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60), st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=9))
def test_a_larger_value_is_never_less_surprising(benign: list[float], values: list[float]) -> None:
    surprises = fit_tail(np.array(benign)).surprise(np.sort(np.array(values)))
    assert np.isfinite(surprises).all()
    assert (np.diff(surprises) >= 0).all()


@given(st.lists(st.floats(-5, 40), min_size=4, max_size=4), st.integers(0, 3), st.floats(0, 10))
def test_the_score_rises_with_each_surprise_and_adds_what_looks_odd_to_what_acts_odd(
    surprises: list[float], which: int, more: float
) -> None:
    names = ("anomaly", "appearance", "necessity", "sufficiency")
    found = dict(zip(names, np.array(surprises)[:, None], strict=True))
    looks = {"appearance": found["appearance"]}
    acts = {name: value for name, value in found.items() if name not in looks}
    assert combine(looks) + combine(acts) == pytest.approx(combine(found))
    assert combine(found) >= max(0.0, max(surprises)) - 1e-9
    assert combine({**found, names[which]: found[names[which]] + more}) >= combine(found) - 1e-9


def test_a_value_that_is_not_a_number_is_the_largest_surprise() -> None:
    tail = fit_tail(RNG.normal(size=200))
    assert tail.surprise(np.array([np.nan]))[0] > tail.surprise(np.array([50.0]))[0]


def test_thresholds_beyond_the_frames_that_are_there_come_from_an_exponential_tail() -> None:
    values = RNG.exponential(size=4_000)
    assert upper_quantile(values, 0.02) == pytest.approx(-np.log(0.02), abs=0.3)
    assert upper_quantile(values, 0.0001) == pytest.approx(-np.log(0.0001), abs=1.5)


def test_box_averages_are_those_of_every_window() -> None:
    maps = RNG.normal(size=(2, 5, 6)).astype(np.float32)
    averages = box_averages(maps, 2, 3)
    assert averages.shape == (2, 4, 4)
    assert averages[1, 2, 1] == pytest.approx(maps[1, 2:4, 1:4].mean(), abs=1e-6)


def test_the_places_boxes_go_from_the_first_corner_to_the_last_row_by_row() -> None:
    boxes = boxes_of((100, 50))
    assert boxes.shape == (196, 4)
    assert boxes[0].tolist() == [0, 0, 40, 20]
    assert boxes[13].tolist() == [0, 30, 40, 20]
    assert boxes[195].tolist() == [60, 30, 40, 20]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 1), st.integers(8, 300), st.integers(8, 300))
def test_boxes_lie_wholly_in_the_picture(row: float, column: float, share: float, height: int, width: int) -> None:
    top, left, tall, wide = boxes_at(np.array([[row, column]]), share, (height, width))[0]
    assert 0 <= top <= top + tall <= height
    assert 0 <= left <= left + wide <= width


def test_log_odds_and_margin_are_those_of_the_softmax() -> None:
    logits, labels = RNG.normal(size=(6, 5)).astype(np.float32), np.arange(6) % 5
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    own = shares[np.arange(6), labels]
    assert log_odds(logits, labels) == pytest.approx(np.log(own / (1 - own)), abs=1e-6)
    margin = label_margin(logits, labels)
    assert ((margin < 0) == (logits.argmax(axis=1) == labels)).all()


def brightest(inputs: np.ndarray) -> np.ndarray:
    """A model whose second label is how bright the brightest pixel is, and whose first is 0.5."""
    return np.stack([np.full(len(inputs), 0.5), inputs.max(axis=(1, 2, 3))], axis=1).astype(np.float32)


def test_filling_what_is_necessary_takes_the_label_away_and_filling_the_rest_does_not() -> None:
    inputs = np.zeros((2, 3, 10, 10), np.float32)
    inputs[:, :, 2:4, 2:4] = 1
    boxes, labels = np.array([[1, 1, 4, 4], [6, 6, 4, 4]]), np.array([1, 1])
    margin, after = margin_after_fill(brightest, inputs, boxes, labels, np.zeros(3, np.float32))
    assert margin.tolist() == [0.5, -0.5]
    assert after.tolist() == [0, 1]
    assert inputs.max() == 1  # the inputs themselves stay


def test_what_suffices_takes_its_label_along_to_other_pictures() -> None:
    inputs = np.zeros((2, 3, 10, 10), np.float32)
    inputs[:, :, 2:4, 2:4] = 3
    hosts = np.full((4, 3, 10, 10), 0.1, np.float32)
    boxes = np.array([[1, 1, 4, 4], [6, 6, 4, 4]])
    odds = transplant(brightest, inputs, boxes, np.array([1, 1]), hosts, brightest(hosts).argmax(axis=1))
    assert odds[0] == pytest.approx(2.5, abs=1e-5)
    assert odds[1] == pytest.approx(-0.4, abs=1e-5)


def test_hosts_of_the_same_label_are_left_out() -> None:
    hosts = np.stack([np.full((3, 4, 4), level, np.float32) for level in (0.0, 9.0)])
    odds = transplant(brightest, hosts[:1], np.array([[0, 0, 1, 1]]), np.array([1]), hosts, np.array([0, 1]))
    assert odds[0] == pytest.approx(-0.5, abs=1e-6)  # not averaged with the bright host, whose label it is anyway


def test_the_map_of_saliency_shares_compares_each_window_with_the_average_one() -> None:
    saliency = np.stack([np.ones((10, 10)), np.zeros((10, 10)), np.zeros((10, 10))]).astype(np.float32)
    saliency[2, 6:10, 6:10] = 1
    averages = box_averages(saliency, 4, 4).astype(np.float32)[:, None]
    b = GraphBuilder(17)
    even, empty, corner = run(b, share_nodes(b, "x", (7, 7)), averages)[:, 0]
    assert even == pytest.approx(np.full(196, np.log(1.05)), abs=1e-5)
    assert empty == pytest.approx(np.zeros(196), abs=1e-6)
    assert corner.argmax() == 195
    assert corner[0] == pytest.approx(np.log(0.05), abs=1e-5)


def test_a_suspect_window_is_both_anomalous_and_salient() -> None:
    anomaly, saliency = np.zeros((1, 14, 14), np.float32), np.zeros((1, 14, 14), np.float32)
    anomaly[0, 2, 2], saliency[0, 2, 2] = 5, -3  # an unusual background
    saliency[0, 9, 9] = 1.5  # a usual object
    anomaly[0, 13, 0], saliency[0, 13, 0] = 2, 1
    value, places = largest_sum(anomaly.reshape(1, 196), saliency.reshape(1, 196))
    assert value.tolist() == [3.0]
    assert places.tolist() == [13 * 14]


@pytest.mark.parametrize(("size", "order"), [((96, 96), "rgb"), ((224, 224), "bgr"), ((64, 48), "rgb")])
def test_appearance_is_the_networks_answer_to_the_picture_whatever_the_models_input(
    size: tuple[int, int], order: Literal["rgb", "bgr"]
) -> None:
    preprocessing = Preprocessing(size, order=order, mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))
    frame = cv2.resize(RNG.integers(0, 256, (6, 6, 3)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    model = appearance_model(preprocessing).SerializeToString()
    value = ort.InferenceSession(model).run(None, {"inputs": preprocessing([frame])})[0]
    area = size[0] > SIDE
    small = cv2.resize(frame[:, :, ::-1], (SIDE, SIDE), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)
    network = ort.InferenceSession(str(bundled_path(APPEARANCE_FILE)))
    cells = network.run(None, {"pixels": (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]})[0]
    assert value[0] == pytest.approx(box_averages(cells[0], 3, 3).max(), abs=0.05)


@pytest.mark.parametrize(("size", "order"), [((64, 64), "rgb"), ((224, 224), "bgr"), ((160, 120), "rgb")])
def test_the_closeup_is_the_networks_answer_to_the_suspect_window_and_its_margin(
    size: tuple[int, int], order: Literal["rgb", "bgr"]
) -> None:
    preprocessing = Preprocessing(size, order=order, mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))
    frame = cv2.resize(RNG.integers(0, 256, (6, 6, 3)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)
    boxes = closeup_boxes(size)[[0, 100, 195]]
    model = closeup_model(preprocessing).SerializeToString()
    inputs = np.repeat(preprocessing([frame]), 3, axis=0)
    values = ort.InferenceSession(model).run(None, {"crops": crops(inputs, boxes)})[0]
    network = ort.InferenceSession(str(bundled_path(CLOSEUP_FILE)))
    for value, (top, left, height, width) in zip(values, boxes, strict=True):
        crop = frame[top : top + height, left : left + width, ::-1]
        area = height > CLOSEUP_SIDE
        seen = cv2.resize(crop, (CLOSEUP_SIDE,) * 2, interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)
        cells = network.run(None, {"pixels": (seen.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]})[0]
        assert value == pytest.approx(box_averages(cells[0], 3, 3).max(), abs=0.1)


def test_a_closeup_holds_its_window_and_a_margin_around_it() -> None:
    windows, around = boxes_of((224, 160)), closeup_boxes((224, 160))
    assert (around[:, :2] <= windows[:, :2]).all()
    assert (around[:, :2] + around[:, 2:] >= windows[:, :2] + windows[:, 2:]).all()
    assert (around[:, 2:] == (134, 96)).all()


def test_both_looks_are_one_question_whose_mean_surprise_counts() -> None:
    one = combine({"appearance": np.array([4.0]), "anomaly": np.array([2.0])})
    both = combine({"appearance": np.array([4.0]), "closeup": np.array([4.0]), "anomaly": np.array([2.0])})
    disagreeing = combine({"appearance": np.array([4.0]), "closeup": np.array([-1.0]), "anomaly": np.array([2.0])})
    assert one == pytest.approx(both)
    assert disagreeing == pytest.approx([np.sqrt(3) * 2 + 2])


def test_posters_cover_a_part_of_each_picture_and_leave_the_rest() -> None:
    pictures, posters = np.zeros((20, 50, 60, 3), np.uint8), np.full((3, 40, 40, 3), 200, np.uint8)
    changed = (paste_posters(pictures, posters, np.random.default_rng(1)) > 0).any(axis=3).mean(axis=(1, 2))
    assert changed.min() > 0.02
    assert changed.max() < 0.45


def test_degradations_keep_shape_and_change_every_picture() -> None:
    pictures = RNG.integers(0, 256, (40, 32, 40, 3)).astype(np.uint8)
    made = degrade(pictures, np.random.default_rng(1))
    assert made.shape == pictures.shape
    assert made.dtype == np.uint8
    assert all((new != old).any() for new, old in zip(made, pictures, strict=True))


def test_a_threshold_lies_above_what_is_new_and_only_the_lower_ones_above_busy_prints() -> None:
    rng = np.random.default_rng(4)
    drawn = (rng.normal(0, 1, 600), rng.normal(1, 1, 600), np.full(12, 9.0))
    kinds = np.repeat([Kind.BENIGN, Kind.NOVEL, Kind.BUSY], [len(part) for part in drawn]).astype(np.int8)
    folds = np.arange(len(kinds)) % 5
    high, low = operating_points(np.concatenate(drawn), kinds, folds, None, rng)
    assert high.threshold == pytest.approx(np.quantile(drawn[1], 0.98), abs=0.1)
    assert 5 < low.threshold < 12
    assert (low.frames, high.novel_frames, low.novel_frames) == (600, 600, 612)
    assert high.low < high.threshold < high.high


@pytest.mark.parametrize("size", [(224, 224), (300, 224), (64, 48)])
def test_a_picture_is_made_smaller_by_its_areas_and_larger_bilinearly(size: tuple[int, int]) -> None:
    b = GraphBuilder(17)
    made = shrink(b, "x", size, (SIDE, SIDE))
    values = RNG.normal(size=(2, 3, *size)).astype(np.float32)
    factor = min(size) // SIDE or 1
    pooled = values.reshape(2, 3, size[0] // factor, factor, size[1] // factor, factor).mean(axis=(3, 5))
    rows, columns = (area_matrix(SIDE, n) if n > SIDE else bilinear_matrix(SIDE, n) for n in pooled.shape[2:])
    assert run(b, made, values) == pytest.approx(rows @ pooled @ columns.T, abs=1e-5)


def run(b: GraphBuilder, made: str, values: np.ndarray) -> np.ndarray:
    """Run the nodes from `x` to the value `made`."""
    inputs = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", *values.shape[1:]])
    output = helper.make_tensor_value_info(made, onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(b.nodes, "nodes", [inputs], [output], list(b.initializers.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", b.opset)], ir_version=8)
    found: np.ndarray = ort.InferenceSession(model.SerializeToString()).run(None, {"x": values})[0]
    return found
