"""The oracle of the head is given the last maps that the radar graph had, whatever they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from taintwatch_models.graph.passes import passes_of, picture_key
from taintwatch_models.graph.prepare import Prepared, prepare
from taintwatch_models.graph.verification import stray_pixels, with_autograd
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.torch_graph import TorchGraph
from taintwatch_models.torch_radar import SessionSplit, TorchRadar
from tests.models import heads

BOTH = ("tight", "paper")


def prepared(folder: Path) -> tuple[Prepared, np.ndarray]:
    found = prepare(heads.export(heads.make("global average pooling and linear"), folder / "m.onnx"), heads.DESCRIPTION)
    return found, np.random.default_rng(0).uniform(-1, 1, (32, 3, heads.SIZE, heads.SIZE)).astype(np.float32)


def test_every_forward_of_the_graph_gives_the_oracle_its_maps(tmp_path: Path) -> None:
    found, inputs = prepared(tmp_path)
    passes = passes_of(found, inputs, BOTH)
    head = TorchGraph(found.plain, found.split, head_only=True, dtype=torch.float64)
    split = SessionSplit(found.plain, found.split, head, passes.maps)
    expected = TorchRadar(split, found.radar.info, BOTH)(inputs)
    assert passes.outputs["paper_mask"].any()
    assert split.ran <= len(inputs) // 4  # of four forwards each: where rounding decides on a pixel of a mask
    assert stray_pixels(passes.outputs, expected) < 1e-3
    same = (passes.outputs["tight_mask"] == expected["tight_mask"]).all(axis=(1, 2))
    np.testing.assert_allclose(passes.outputs["tight_swing"][same], expected["tight_swing"][same], atol=1e-4)


def test_the_graph_that_is_watched_says_what_the_one_that_runs_says(tmp_path: Path) -> None:
    found, inputs = prepared(tmp_path)
    watched, _ = with_autograd(found, inputs)
    runs = OnnxRadar(found.radar, BOTH, session=SessionSettings(device="cpu", threads=1))(inputs)
    np.testing.assert_array_equal(watched["label"], runs["label"])
    for name in ("tight_mask", "paper_mask"):
        assert (watched[name] != runs[name]).mean() < 1e-3, name


def test_known_maps_count_and_others_come_from_the_body(tmp_path: Path) -> None:
    """A body that rounds otherwise in another session is stood for by maps that are not its own."""
    found, inputs = prepared(tmp_path)
    info, picture = found.radar.info, inputs[:1]
    other = np.random.default_rng(0).random((1, info.channels, *info.cells)).astype(np.float32)
    head = TorchGraph(found.plain, found.split, head_only=True, dtype=torch.float64)
    split = SessionSplit(found.plain, found.split, head, {picture_key(picture): (other,)})
    _, maps = split(torch.from_numpy(picture))
    np.testing.assert_array_equal(maps.detach().numpy(), other.astype(np.float64))
    assert split.ran == 0
    _, maps = split(torch.from_numpy(inputs[1:2]))
    own = OnnxRadar(found.radar, ("features",), session=SessionSettings(device="cpu", threads=1))(inputs[1:2])
    np.testing.assert_allclose(maps.detach().numpy(), own["features"], atol=1e-5)
    assert split.ran == 1
