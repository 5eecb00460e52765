"""The sign finder's training: rendered batches with their boxes, cells that answer, and the file that comes of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.street.material import StreetBatches
from benchmarks.street.network import CELL, INPUT, FinderNet, centres, write_finder
from benchmarks.street.random_street import random_street
from benchmarks.street.training import FinderPlan, assigned, finder_loss, found_share, generalised_overlap, train
from taintwatch.demo.street_scene import StreetScene
from taintwatch.sources.scene import SceneSettings
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder


def test_a_batch_is_a_function_of_seed_and_number() -> None:
    pictures, boxes = next(StreetBatches([], 3, 0).epoch(5, 1))
    again, same = next(StreetBatches([], 3, 0).epoch(5, 1))
    other, _ = next(StreetBatches([], 3, 0).epoch(6, 1))
    assert pictures.shape == (3, 3, *INPUT)
    assert torch.equal(pictures, again)
    assert torch.equal(boxes.nan_to_num(), same.nan_to_num())
    assert not torch.equal(pictures, other)
    known = boxes[~boxes.isnan().any(-1)]
    assert len(known) >= 3
    assert (known[:, 2:] > known[:, :2]).all()
    assert 0 <= float(known.min()) < float(known.max()) <= INPUT[1]


def test_cells_in_a_signs_core_answer_for_it_and_the_smaller_of_two_wins() -> None:
    boxes = torch.full((1, 4, 4), torch.nan)
    boxes[0, 0] = torch.tensor([40.0, 40, 120, 120])
    boxes[0, 1] = torch.tensor([76.0, 76, 84, 84])  # within the first, too small for more than one cell's core
    wanted, answering = assigned(boxes)
    middles = centres().T[answering[0]]
    assert len(middles)
    assert bool(((middles > 60 - CELL / 2) & (middles < 100 + CELL / 2)).all())
    widths = (wanted[0, :, 2] - wanted[0, :, 0])[answering[0]]
    assert set(widths.tolist()) == {8.0, 80.0}


def test_the_generalised_overlap_is_1_of_equal_boxes_and_below_0_of_distant_ones() -> None:
    box = torch.tensor([[0.0, 0, 10, 10]])
    assert float(generalised_overlap(box, box)) == pytest.approx(1.0)
    assert float(generalised_overlap(box, box + 100)) < -0.5


def test_training_goes_on_from_its_checkpoint_and_its_file_finds_what_the_network_finds(tmp_path: Path) -> None:
    plan = FinderPlan(epochs=2, steps=2, batch=2)
    said: list[str] = []
    assert train([], plan, tmp_path / "checkpoint.pt", said.append, most=1) is None
    network = train([], plan, tmp_path / "checkpoint.pt", said.append)
    assert network is not None
    assert [line.partition(":")[0] for line in said] == ["epoch 1/2", "epoch 2/2"]
    write_finder(network, tmp_path / "finder.onnx")
    finder = ObjectFinder(FinderSettings(str(tmp_path / "finder.onnx"), device="cpu", threads=1))
    assert (finder.decoder, finder.labels, finder.preprocessing.size) == ("yolov8", ("traffic sign",), INPUT)
    picture = np.random.default_rng(0).integers(0, 256, (*INPUT, 3), dtype=np.uint8)
    (found,) = finder.run(finder.preprocessing([picture])).values()
    with torch.inference_mode():
        wanted = network.eval()(torch.from_numpy(finder.preprocessing([picture])))
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)
    assert found_share(network, StreetBatches([], 2, 0), 100, 1)["signs"] >= 2


def test_its_loss_falls_on_a_batch_that_it_learns_by_heart() -> None:
    torch.manual_seed(0)
    network, batch = FinderNet(), next(StreetBatches([], 2, 0).epoch(0, 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = finder_loss(network, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_random_streets_have_different_signs_that_do_not_touch() -> None:
    for seed in range(20):
        plan = random_street(np.random.default_rng(seed), 4)
        assert len({each.sign for each in plan.signs}) == len(plan.signs) >= 1
        scene = StreetScene(plan, None, SceneSettings(width=320, height=240, motion=0.05, duration=2.0))
        boxes = [box for box in scene.sign_boxes(7) if box is not None]
        assert len(boxes) == len(plan.signs)  # in view
        spans = sorted((box[0], box[0] + box[2]) for box in boxes)
        assert all(before[1] < after[0] for before, after in pairwise(spans))
