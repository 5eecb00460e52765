"""Training of the reconstructors: what it learns, when it stops, how it goes on, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_calibration.cmag.contact_sheet import contact_sheet, write_sheet
from taintwatch_calibration.cmag.export import export_graph
from taintwatch_calibration.cmag.frames import structured
from taintwatch_calibration.cmag.networks import Reconstructors, Shape
from taintwatch_calibration.cmag.pipeline import split_for_stopping, train_cmag
from taintwatch_calibration.cmag.statistics import fit_graph
from taintwatch_calibration.cmag.training import STAGES, TrainingSettings, train_reconstructors
from taintwatch_models.cmag.runner import PICTURES, CmagRunner
from taintwatch_models.errors import UsageError
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import describe
from tests.cmag_scene import benign_pictures, frames_of
from tests.tiny_model import write_model

SHAPE = Shape(4, (4, 4), 3, 16, 3, width=8, bottleneck=4)
SETTINGS = TrainingSettings(epochs=3, batch=32, rate=5e-3)


def slopes(count: int, seed: int) -> BenignData:
    """Pictures whose maps are what is in them: their colours on a grid of 4 x 4."""
    pictures = np.moveaxis(benign_pictures(count, seed), -1, 1).astype(np.float32) / 255
    small = np.stack([np.moveaxis(cv2.resize(np.moveaxis(p, 0, -1), (16, 16)), -1, 0) for p in pictures])
    maps = pictures.reshape(count, 3, 4, 8, 4, 8).mean(axis=(3, 5))
    features = np.concatenate([maps, maps.mean(axis=1, keepdims=True)], axis=1)
    return BenignData(features.astype(np.float32), pictures.mean(axis=(2, 3)) * 5, small)


def losses(settings: TrainingSettings, checkpoint: Path | None = None) -> tuple[Reconstructors, list[tuple[str, int]]]:
    told: list[tuple[str, int]] = []
    model = train_reconstructors(
        slopes(64, 0), slopes(32, 1), SHAPE, settings, checkpoint=checkpoint,
        progress=lambda stage, epoch, loss, held: told.append((stage, epoch)),
    )  # fmt: skip
    return model, told


def test_each_reconstructor_learns_in_its_turn() -> None:
    held: dict[str, list[float]] = {stage: [] for stage in STAGES}
    order: list[str] = []

    def told(stage: str, epoch: int, loss: float, value: float) -> None:
        held[stage].append(value)
        order.append(stage)

    train_reconstructors(slopes(128, 0), slopes(32, 1), SHAPE, replace(SETTINGS, epochs=6), progress=told)
    assert order == sorted(order, key=STAGES.index)
    assert held["fmr"][-1] < 0.5 * held["fmr"][0]
    assert held["fmr"][-1] < min(held["lr"])  # the maps say more than three logits do
    assert min(held["gr"]) < held["gr"][0]


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    first, second = losses(SETTINGS)[0], losses(SETTINGS)[0]
    other = losses(replace(SETTINGS, seed=1))[0]
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert any(not torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    class Stopped(Exception):  # noqa: N818
        pass

    def stop(stage: str, epoch: int, loss: float, held: float) -> None:
        if (stage, epoch) == ("lr", 2):
            raise Stopped

    checkpoint = tmp_path / "c.pt"
    with pytest.raises(Stopped):
        train_reconstructors(slopes(64, 0), slopes(32, 1), SHAPE, SETTINGS, checkpoint=checkpoint, progress=stop)
    resumed, told = losses(SETTINGS, checkpoint)
    assert told[0] == ("lr", 3)
    whole, _ = losses(SETTINGS)
    for one, two in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_a_stage_stops_where_the_held_out_loss_no_longer_falls() -> None:
    _, told = losses(replace(SETTINGS, epochs=40, patience=1, rate=0.05))
    assert len([1 for stage, _ in told if stage == "lr"]) < 40


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"junk", "not a readable checkpoint"), (None, "belongs to a training with other")]
)
def test_a_checkpoint_of_another_run_is_refused(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.pt"
    if content is None:
        losses(replace(SETTINGS, epochs=1, seed=5), checkpoint)
    else:
        checkpoint.write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        losses(SETTINGS, checkpoint)


def test_data_that_does_not_match_the_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="do not match the reconstructors'"):
        train_reconstructors(slopes(64, 0), slopes(8, 1), replace(SHAPE, size=32), SETTINGS)
    with pytest.raises(UsageError, match="too few"):
        train_reconstructors(slopes(8, 0), slopes(8, 1), SHAPE, SETTINGS)
    data = slopes(8, 0)
    with pytest.raises(UsageError, match="do not match"):
        BenignData(data.features[:3], data.logits, data.pictures)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": 8}, "16 to 128"),
        ({"size": 30}, "divisible by 4"),
        ({"temperature": 0.0}, "temperature"),
        ({"width": 0}, "width"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(change: dict[str, int], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(SHAPE, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(("cells", "size"), [((7, 7), 28), ((8, 8), 32), ((13, 13), 32), ((4, 6), 28), ((40, 40), 32)])
def test_decoders_are_sized_to_the_maps_and_the_picture(cells: tuple[int, int], size: int) -> None:
    shape = Shape(6, cells, 5, size, width=8)
    pictures = Reconstructors(shape).eval()(torch.rand(2, 6, *cells), torch.randn(2, 5))
    assert [tuple(picture.shape) for picture in pictures] == [(2, 3, size, size)] * 3
    assert all(float(picture.detach().min()) >= 0 and float(picture.detach().max()) <= 1 for picture in pictures)


def test_a_small_temperature_sharpens_what_lr_sees() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    sharp = Reconstructors(replace(SHAPE, temperature=0.1)).probabilities(logits)
    soft = Reconstructors(replace(SHAPE, temperature=10.0)).probabilities(logits)
    assert sharp[0, 0] > 0.99
    assert float(soft.max() - soft.min()) < 0.1


def test_the_exported_graph_gives_what_torch_gives(tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny.onnx")
    info = prepare(model, describe(model)).radar.info
    data = slopes(64, 2)
    graph = fit_graph(Reconstructors(SHAPE).eval(), data, data)
    file = export_graph(graph, replace(info, channels=4, cells=(4, 4), classes=3))
    assert {o.version for o in file.proto.opset_import if o.domain == ""} == {17}
    found = CmagRunner(file)(data.features[:7], data.logits[:7], data.pictures[:7])
    with torch.no_grad():
        parts = (data.features, data.logits, data.pictures)
        expected = graph(*(torch.from_numpy(values[:7].astype(np.float32)) for values in parts))
    for name, values in zip((*PICTURES, *file.info.statistics), expected, strict=True):
        assert found[name] == pytest.approx(values.numpy(), rel=1e-3, abs=1e-4), name


def test_footage_is_stopped_by_its_last_part_and_photographs_by_a_random_tenth() -> None:
    pictures = benign_pictures(100)
    train, stop = split_for_stopping(frames_of(pictures, footage=True))
    assert stop.tolist() == list(range(90, 100))
    train, stop = split_for_stopping(frames_of(pictures))
    assert len(train) == 90
    assert not set(train) & set(stop)
    assert stop.tolist() != list(range(90, 100))


def test_pictures_of_a_single_colour_are_left_out_and_nothing_else_is_refused() -> None:
    flat = np.full((5, 32, 32, 3), 77, np.uint8)
    mixed = structured(frames_of(np.concatenate([benign_pictures(4), flat])))
    assert len(mixed.pixels) == 4
    assert mixed.bad == 5
    with pytest.raises(UsageError, match="all 5 pictures are of a single colour"):
        structured(frames_of(flat))


def test_too_few_benign_frames_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny.onnx")
    radar = prepare(model, describe(model)).radar
    with pytest.raises(UsageError, match=r"12 benign frames are too few .* at least 100"):
        train_cmag(radar, frames_of(benign_pictures(12)))


def test_the_contact_sheet_shows_a_row_for_each(tmp_path: Path) -> None:
    pictures = slopes(3, 0).pictures
    made = {name: np.full_like(pictures, level) for name, level in (("fmr", 0.2), ("lr", 0.5), ("reconstruction", 0.8))}
    write_sheet(contact_sheet(pictures, made), tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (4 * 96, 44 + 3 * 96, 3)
    middles = [int(sheet[row * 96 + 40, 44 + 40].mean()) for row in (1, 2, 3)]
    assert middles == [pytest.approx(level * 255, abs=1) for level in (0.2, 0.5, 0.8)]
