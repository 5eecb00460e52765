"""Patches against an object detector, crafted on one small enough for tests."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from taintwatch_calibration.craft.camouflage import painted
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.craft.object_attacks import (
    ObjectAttack,
    ObjectScenes,
    craft_object_patch,
    object_success,
    place_on,
)
from taintwatch_models.errors import UsageError
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.torch_detector import TorchDetector
from tests.object_scene import bright_squares, write_detector


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> ObjectFinder:
    path = write_detector(tmp_path_factory.mktemp("craft") / "lamps.onnx")
    return ObjectFinder(
        FinderSettings(str(path), labels=str(path.with_suffix(".txt")), decoder="yolox", device="cpu", threads=1)
    )


def test_the_torch_detector_gives_what_the_runtime_gives_and_takes_batches(finder: ObjectFinder) -> None:
    inputs = finder.preprocessing([bright_squares((16, 32))])
    expected = finder.run(inputs)["output"]
    given = TorchDetector(finder.proto)(torch.from_numpy(np.repeat(inputs, 3, axis=0)))["output"]
    assert given.shape[0] == 3
    assert given[2:].numpy() == pytest.approx(expected, abs=1e-5)


def test_an_op_that_is_not_known_is_named(finder: ObjectFinder) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(finder.proto)
    proto.graph.node[0].op_type = "Det"
    with pytest.raises(Exception, match="the op Det"):
        TorchDetector(proto)


def scenes() -> ObjectScenes:
    pictures = [bright_squares((x, 16), size=(64, 64)) for x in (8, 16)]
    stacked = np.moveaxis(np.stack(pictures), -1, 1).astype(np.float32) / 255
    return ObjectScenes(torch.from_numpy(stacked), torch.tensor([[8.0, 16, 32, 32], [16.0, 16, 32, 32]]))


def test_a_hiding_patch_lowers_the_objects_score(finder: ObjectFinder) -> None:
    seen: list[float] = []
    attack = ObjectAttack("hide", 0, size=1.2, side=8, smooth=0.0, printable=0.0, batch=2)
    patch = craft_object_patch(
        TorchDetector(finder.proto), finder.decoder, finder.preprocessing, scenes(), attack,
        Schedule(iterations=40, step=0.1, rule="adam"), report=lambda step: seen.append(step.loss),
    )  # fmt: skip
    assert seen[-1] < 0.6 * seen[0]
    assert float(patch.mean()) < 0.3  # a lamp is hidden by what is dark


def test_a_patch_in_a_corner_makes_the_detector_see_what_is_wanted(finder: ObjectFinder) -> None:
    dark = ObjectScenes(torch.zeros(2, 3, 64, 64), torch.zeros(2, 4))
    attack = ObjectAttack("dpatch", 0, size=0.5, side=8, smooth=0.0, printable=0.0, batch=2)
    patch = craft_object_patch(
        TorchDetector(finder.proto), finder.decoder, finder.preprocessing, dark, attack,
        Schedule(iterations=40, step=0.1, rule="adam"),
    )  # fmt: skip
    assert float(patch.mean()) > 0.7  # a lamp is what is bright


@pytest.mark.parametrize("label", [0, None])
def test_what_is_found_anyhow_is_no_success_of_a_patch_in_a_corner(finder: ObjectFinder, label: int | None) -> None:
    attack = ObjectAttack("dpatch", label, size=0.25, side=8)
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[..., :8, :8] = 1.0  # a lamp, which is there anyhow
    shown, detector = ObjectScenes(pictures, torch.zeros(2, 4)), TorchDetector(finder.proto)
    for colour, wins in ((0.0, 0), (1.0, 2)):
        patch = torch.full((3, 8, 8), colour)
        assert object_success(detector, finder.decoder, finder.preprocessing, shown, attack, patch) == (wins, 2)


def test_a_patch_on_an_object_needs_its_class() -> None:
    with pytest.raises(UsageError, match="needs the object's class"):
        ObjectAttack("hide", None)


def test_camouflage_for_a_lamp_is_dark(finder: ObjectFinder) -> None:
    attack = ObjectAttack("camouflage", 0, side=8, smooth=0.0, printable=0.0, batch=2)
    texture = craft_object_patch(
        TorchDetector(finder.proto), finder.decoder, finder.preprocessing, scenes(), attack,
        Schedule(iterations=40, step=0.1, rule="adam"),
    )  # fmt: skip
    assert float(texture.mean()) < 0.3


@pytest.mark.parametrize(("colour", "wins"), [(0.0, 2), (1.0, 0)])
def test_the_success_of_a_patch_is_that_the_object_is_not_seen(finder: ObjectFinder, colour: float, wins: int) -> None:
    attack = ObjectAttack("hide", 0, size=1.9, side=8)
    patch = torch.full((3, 8, 8), colour)
    counted = object_success(TorchDetector(finder.proto), finder.decoder, finder.preprocessing, scenes(), attack, patch)
    assert counted == (wins, 2)


def test_paint_covers_the_object_alone_and_keeps_its_shade() -> None:
    pictures = torch.full((1, 3, 64, 64), 0.5)
    pictures[..., 32:, :] = 0.25  # the lower half lies in the shade
    shown, coverage = painted(pictures, torch.full((3, 8, 8), 0.6), torch.tensor([[16.0, 16, 32, 32]]))
    assert torch.equal(shown[..., :16], pictures[..., :16])
    assert float(coverage[0, 0, 32, 32]) == 1.0
    assert float(shown[0, 0, 24, 32] / shown[0, 0, 40, 32]) == pytest.approx(2.0, rel=0.05)


def test_the_texture_repeats_without_a_seam() -> None:
    ramp = torch.linspace(0, 1, 16).expand(3, 16, 16)  # its left and right edges differ most
    shown, _ = painted(torch.full((1, 3, 64, 64), 0.5), ramp, torch.tensor([[0.0, 0, 64, 64]]), repeats=4.0)
    assert float((shown[0, 0, 32, 8:56].diff()).abs().max()) < 0.12


def test_patches_lie_on_the_middle_of_their_objects() -> None:
    places = place_on(torch.tensor([[10.0, 20.0, 40.0, 40.0]]), 0.5, (100, 100), None)
    assert float(places.x[0]) == pytest.approx(2 * 30 / 100 - 1)
    assert float(places.size[0]) == pytest.approx(0.2)


def test_a_change_of_class_needs_the_class_that_is_wanted() -> None:
    with pytest.raises(UsageError, match="needs the class that is wanted"):
        ObjectAttack("change", 0)
