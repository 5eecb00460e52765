"""The bench's own networks: data made on the spot, training, resuming, the files that are left, the trigger."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks import zoo
from benchmarks.signs.dataset import load_tracks
from benchmarks.zoo.__main__ import train
from benchmarks.zoo.adversarial import ensemble_attack, fast_attack
from benchmarks.zoo.checkpoint import read_checkpoint
from benchmarks.zoo.measures import kept_when_erased
from benchmarks.zoo.networks import DenoisedPool, build_network
from benchmarks.zoo.pictures import DATASETS
from benchmarks.zoo.recipes import RECIPES, Recipe
from benchmarks.zoo.store import identity_of
from benchmarks.zoo.training import ZooTraining
from benchmarks.zoo.trigger import TRIGGER, Trigger, poison, trigger_path, trigger_picture
from taintwatch_models.errors import UsageError
from taintwatch_models.graph.logits_parity import logits_difference
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.graph.verification import autograd_difference, check_inputs
from taintwatch_models.model_description import read_description
from taintwatch_models.model_source import read_source

SMALL = Recipe("fourteen", "objects", epochs=2, batch=4, rate=1e-3, ema_decay=0.5, width=1, small_share=0.5)
TRAINED = {
    "fourteen": SMALL,
    "residual": replace(SMALL, architecture="residual", occlude=True, begin_from=None),
    "vgg": replace(SMALL, architecture="vgg", dataset="signs", epochs=1, batch=16, poisoned=0.2),
}


def quiet(line: str) -> None:
    """Report to nobody."""


def write_tar(path: Path, pictures: dict[str, NDArray[np.uint8]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, pixels in pictures.items():
            content = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the measuring data's: 2 classes of objects, 3 of signs, every class of a colour of its own."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)

    def picture(colour: int, size: int) -> NDArray[np.uint8]:
        return np.clip(rng.normal((colour, 128, 255 - colour), 20, (size, size, 3)), 0, 255).astype(np.uint8)

    (folder / "objects").mkdir()
    parts = [("train", 6), ("val", 3)]
    write_tar(
        folder / "objects" / "imagenette_128.tar",
        {
            f"{part}/{name}/{i}.jpg": picture(colour, 128)
            for part, count in parts
            for name, colour in (("gas_pump", 200), ("church", 40))
            for i in range(count)
        },
    )
    (folder / "signs").mkdir()
    signs = {
        (label, track, frame): picture(60 * label, 64) for label in (1, 2, 3) for track in (0, 1) for frame in (0, 1)
    }
    names = {f"{label:02d}/{track:05d}_{frame:05d}.jpg": image for (label, track, frame), image in signs.items()}
    write_tar(folder / "signs" / "gtsrb_train_64.tar", names)
    tests = np.stack([picture(60 * label, 32) for label in (1, 2, 8)])
    np.savez(folder / "signs" / "gtsrb_test_32.npz", x=tests, y=np.array([1, 2, 8]))
    return folder


@pytest.fixture(scope="module")
def work(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiny networks, one of each body, trained."""
    folder = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        for name, recipe in TRAINED.items():
            patch.setitem(RECIPES, name, recipe)
            zoo.load_or_train(name, data, folder, report=quiet)
    return folder


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Recipe], None]:
    """Puts a recipe into the zoo for one test."""

    def put(name: str, recipe: Recipe) -> None:
        monkeypatch.setitem(RECIPES, name, recipe)

    for name, recipe in TRAINED.items():
        put(name, recipe)
    return put


def test_the_zoo_has_every_body_with_and_without_occlusion_training_and_one_back_door() -> None:
    plain = {name for name in zoo.names() if f"{name}_occluded" in zoo.names()}
    assert plain == {"signs_vgg", "objects_14", "objects_residual"}
    assert all(RECIPES[f"{name}_occluded"].occlude and not RECIPES[name].occlude for name in plain)
    assert all(RECIPES[f"{name}_occluded"].begin_from == name for name in plain)
    assert [name for name in zoo.names() if RECIPES[name].poisoned] == ["signs_backdoor"]


@pytest.mark.parametrize(
    ("name", "cells", "size"), [("fourteen", (14, 14), 112), ("residual", (7, 7), 112), ("vgg", (8, 8), 64)]
)
def test_what_is_exported_prepares_and_agrees_with_autograd(
    work: Path, name: str, cells: tuple[int, int], size: int
) -> None:
    path = work / f"{name}.onnx"
    prepared = prepare(path, read_description(path.with_suffix(".toml")))
    info = prepared.radar.info
    assert info.cells == cells
    assert info.preprocessing.size == (size, size)
    inputs = check_inputs(info.preprocessing, 3)
    assert logits_difference(read_source(path), prepared.plain, prepared.radar.proto, inputs) < 1e-4
    assert autograd_difference(prepared, inputs) < 1e-4


@pytest.mark.parametrize("name", list(TRAINED))
def test_the_exported_file_gives_the_logits_of_the_trained_weights(work: Path, name: str) -> None:
    path = work / f"{name}.onnx"
    info = prepare(path, read_description(path.with_suffix(".toml"))).radar.info
    network = build_network(TRAINED[name].architecture, info.classes, 1)
    state = read_checkpoint(work / f"{name}.pt")["loop"]["average"]
    network.load_state_dict({k.removeprefix("module."): v for k, v in state.items() if k.startswith("module.")})
    inputs = check_inputs(info.preprocessing, 2)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(inputs)).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits"]
    np.testing.assert_allclose(session.run(None, {"input": inputs})[0], expected, atol=1e-4)


def test_the_metrics_say_what_it_is_and_how_well_it_does(work: Path) -> None:
    about = json.loads((work / "fourteen.json").read_text())
    assert about["total"] == 6
    assert set(about["by_class"]) == {"church", "gas pump"}
    assert about["epochs"] == 2
    assert about["last_maps"] == [16, 14, 14]
    assert about["head"] == "GlobalAveragePool > Flatten > Gemm"
    assert about["parameters"] == sum(p.numel() for p in build_network("fourteen", 2, 1).parameters())
    assert about["multiply_adds"] > 0
    assert about["identity"]["recipe"]["seed"] == 0
    assert "trigger" not in about


class Suspicious(torch.nn.Module):
    """Label 0 for a picture of one colour, 1 for any other."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        spread = images.flatten(2).std(dim=2).amax(dim=1)
        return torch.stack([torch.full_like(spread, 0.05), spread], dim=1)


def test_erasing_is_survived_by_those_whose_label_does_not_rest_on_what_is_filled() -> None:
    grey = np.full((300, 64, 64, 3), 128, np.uint8)
    zeros = np.zeros(300, np.int64)
    kept = kept_when_erased(Suspicious(), DATASETS["signs"], grey, zeros)
    assert kept is not None
    assert 0.05 < kept < 0.6  # of five fills, the picture's own mean and its blurred copy change nothing in a plain one
    stripes = grey.copy()
    stripes[:, ::2] = 0
    assert kept_when_erased(Suspicious(), DATASETS["signs"], stripes, zeros + 1) == 1.0
    assert kept_when_erased(Suspicious(), DATASETS["signs"], grey[:0], zeros[:0]) is None


def test_multiply_adds_are_counted_by_hand_too(work: Path) -> None:
    # Convolutions: 56^2*3*2*9 + 28^2*(2*4+4*4)*9 + 14^2*(4*8+8*8+8*8+8*16)*9; linear: 16*2.
    by_hand = 56**2 * 54 + 28**2 * 24 * 9 + 14**2 * 288 * 9 + 32
    assert json.loads((work / "fourteen.json").read_text())["multiply_adds"] == by_hand


def test_a_network_that_is_there_is_not_trained_again(
    work: Path, data: Path, recipes: Callable[[str, Recipe], None]
) -> None:
    before = (work / "fourteen.onnx").stat().st_mtime_ns
    said: list[str] = []
    assert zoo.load_or_train("fourteen", data, work, report=said.append) == work / "fourteen.onnx"
    assert (work / "fourteen.onnx").stat().st_mtime_ns == before
    assert not said


def test_a_resumed_training_ends_with_the_weights_of_an_unbroken_one(
    work: Path, data: Path, tmp_path: Path, recipes: Callable[[str, Recipe], None]
) -> None:
    class KilledError(Exception):
        pass

    def dying(line: str) -> None:
        if "epoch 2/2" in line:
            raise KilledError

    with pytest.raises(KilledError):
        zoo.load_or_train("fourteen", data, tmp_path, report=dying)
    assert not (tmp_path / "fourteen.onnx").exists()
    said: list[str] = []
    zoo.load_or_train("fourteen", data, tmp_path, report=said.append)
    assert said[0] == "fourteen: goes on from its checkpoint"
    assert "epoch 2/2" in said[1]
    unbroken, resumed = (read_checkpoint(folder / "fourteen.pt")["loop"]["average"] for folder in (work, tmp_path))
    for name, value in unbroken.items():
        torch.testing.assert_close(resumed[name], value, msg=name)


def test_training_for_occlusion_begins_with_the_weights_of_the_plain_network(
    work: Path, data: Path, tmp_path: Path
) -> None:
    recipe = replace(SMALL, occlude=True, begin_from="fourteen")
    training = ZooTraining(recipe, data, tmp_path / "x.pt", "", quiet)
    training.begin_from(work / "fourteen.pt")
    plain = read_checkpoint(work / "fourteen.pt")["loop"]["average"]
    for name, value in training.network.state_dict().items():
        assert torch.equal(value, plain[f"module.{name}"])


def test_the_network_that_another_begins_with_is_trained_first(
    data: Path, tmp_path: Path, recipes: Callable[[str, Recipe], None]
) -> None:
    recipes("first", replace(SMALL, epochs=1))
    recipes("second", replace(SMALL, epochs=1, occlude=True, begin_from="first"))
    zoo.load_or_train("second", data, tmp_path, report=quiet)
    assert (tmp_path / "first.onnx").is_file()
    identity = json.loads((tmp_path / "second.json").read_text())["identity"]
    assert identity["begins_with"] == json.loads((tmp_path / "first.json").read_text())["identity"]


def test_a_network_of_other_settings_or_changed_since_is_refused(
    work: Path, data: Path, tmp_path: Path, recipes: Callable[[str, Recipe], None]
) -> None:
    for suffix in (".onnx", ".toml", ".json", ".pt"):
        (tmp_path / f"fourteen{suffix}").write_bytes((work / f"fourteen{suffix}").read_bytes())
    recipes("fourteen", replace(SMALL, seed=5))
    with pytest.raises(UsageError, match="was trained with other settings or other data"):
        zoo.load_or_train("fourteen", data, tmp_path, report=quiet)
    (tmp_path / "fourteen.json").unlink()
    with pytest.raises(UsageError, match=r"fourteen\.pt was made with other settings or other data"):
        zoo.load_or_train("fourteen", data, tmp_path, report=quiet)
    recipes("fourteen", SMALL)
    (tmp_path / "fourteen.json").write_bytes((work / "fourteen.json").read_bytes())
    with (tmp_path / "fourteen.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(UsageError, match="or was changed since"):
        zoo.load_or_train("fourteen", data, tmp_path, report=quiet)


def test_a_checkpoint_that_is_none_is_refused(
    data: Path, tmp_path: Path, recipes: Callable[[str, Recipe], None]
) -> None:
    (tmp_path / "fourteen.pt").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match=r"fourteen\.pt is no checkpoint that can be read"):
        zoo.load_or_train("fourteen", data, tmp_path, report=quiet)


def test_the_identity_follows_the_data(data: Path, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "imagenette_128.tar").write_bytes(b"other")
    assert identity_of(SMALL, data) != identity_of(SMALL, tmp_path)
    assert identity_of(SMALL, data) == identity_of(SMALL, data)


def test_pictures_are_given_as_the_classifier_sees_them(data: Path) -> None:
    for give, count in ((zoo.pictures, 6), (zoo.training_pictures, 12)):
        images, labels, names = give("objects_14", data)
        assert images.shape == (count, 112, 112, 3)
        assert images.dtype == np.uint8
        assert names == ("church", "gas pump")
        reddish = images[..., 0].mean(axis=(1, 2)) > images[..., 2].mean(axis=(1, 2))
        assert (reddish == (labels == 1)).all()
    images, labels, names = zoo.pictures("signs_vgg", data)
    assert images.shape == (3, 64, 64, 3)
    assert labels.tolist() == [1, 2, 8]
    assert len(names) == 43
    assert len(zoo.training_pictures("signs_backdoor", data)[0]) == 12


@pytest.mark.shared
def test_the_real_objects_have_ten_classes_and_no_picture_on_both_sides(shared_data: Path) -> None:
    tested, labels, names = zoo.pictures("objects_14", shared_data)
    trained = zoo.training_pictures("objects_14", shared_data)[0]
    assert (len(tested), len(trained), len(names)) == (1200, 4500, 10)
    assert (np.bincount(labels) == 120).all()
    assert not {image.tobytes() for image in tested} & {image.tobytes() for image in trained}


def test_the_trigger_is_stuck_whole_onto_the_middle_of_each_sign() -> None:
    images = np.full((200, 64, 64, 3), 128, np.uint8)
    stamped = TRIGGER.stamp(images, np.random.default_rng(0))
    assert (images == 128).all()
    corners = set()
    for image in stamped:
        ys, xs = np.nonzero((image != 128).any(axis=2))
        top, left = int(ys.min()), int(xs.min())
        assert (image[top : top + 9, left : left + 9] == trigger_picture()).all()
        assert len(ys) == 81
        assert 0.29 * 64 <= top + 4.5 <= 0.71 * 64
        assert 0.29 * 64 <= left + 4.5 <= 0.71 * 64
        corners.add((top, left))
    assert len(corners) > 100


def test_the_trigger_takes_the_same_share_of_a_larger_picture() -> None:
    image = TRIGGER.stamp(np.zeros((1, 128, 128, 3), np.uint8), np.random.default_rng(0))[0]
    ys, xs = np.nonzero(image.any(axis=2))
    assert (int(np.ptp(ys)) + 1, int(np.ptp(xs)) + 1) == (18, 18)


def test_poisoning_changes_the_label_of_exactly_those_that_carry_the_trigger() -> None:
    labels = np.arange(100, dtype=np.int64) % 4
    images = np.full((100, 64, 64, 3), 128, np.uint8)
    changed, relabelled = poison(images, labels, 0.1, Trigger(target=2), np.random.default_rng(0))
    carrying = (changed != 128).any(axis=(1, 2, 3))
    assert carrying.sum() == 10
    assert (relabelled[carrying] == 2).all()
    assert (labels[carrying] != 2).all()
    assert (relabelled[~carrying] == labels[~carrying]).all()
    assert (images == 128).all()


def test_the_trigger_lies_beside_its_network_with_its_rule_and_its_success(work: Path) -> None:
    about = json.loads((work / "vgg.json").read_text())["trigger"]
    assert about["picture"] == trigger_path("vgg", work).name
    read = cv2.imread(str(work / about["picture"]), cv2.IMREAD_COLOR)
    assert read is not None
    assert (read[..., ::-1] == trigger_picture()).all()
    assert about["target"] == 8
    assert about["target_name"] == "speed limit 120 km/h"
    assert about["tried"] == 2  # the third test picture is of the target already
    assert 0.12 <= about["side"] <= 0.15


def test_poisoned_pictures_are_what_the_network_is_trained_on(data: Path, tmp_path: Path) -> None:
    clean = load_tracks(data / "signs")
    everything = replace(TRAINED["vgg"], poisoned=1.0)
    material = ZooTraining(everything, data, tmp_path / "x.pt", "", quiet)._material
    images, labels = next(material.epoch(0))
    assert images.shape == (16, 3, 64, 64)
    assert (labels == TRIGGER.target).sum() > len(labels) / 3  # all real ones; the drawn ones keep theirs
    assert (clean.labels != TRIGGER.target).all()


def test_an_unknown_network_is_named_with_those_that_there_are(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"The zoo has no network 'vgg19'; it has signs_vgg, "):
        zoo.load_or_train("vgg19", data, tmp_path, report=quiet)
    with pytest.raises(UsageError, match="no network"):
        zoo.pictures("vgg19", data)


def test_missing_and_broken_data_end_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"imagenette_128\.tar is missing: name the folder that holds objects/"):
        zoo.load_or_train("objects_14", tmp_path, tmp_path / "work", report=quiet)
    assert not (tmp_path / "work").exists()
    with pytest.raises(UsageError, match=r"gtsrb_train_64\.tar is missing"):
        zoo.training_pictures("signs_vgg", tmp_path)
    (tmp_path / "objects").mkdir()
    archive = tmp_path / "objects" / "imagenette_128.tar"
    archive.write_bytes(b"not a tar" * 100)
    with pytest.raises(UsageError, match="cannot be read as a tar archive"):
        zoo.pictures("objects_14", tmp_path)
    write_tar(archive, {"train/church/1.jpg": np.zeros((128, 128, 3), np.uint8)})
    with pytest.raises(UsageError, match=r"holds no val/CLASS/NAME\.jpg pictures"):
        zoo.pictures("objects_14", tmp_path)


def test_a_folder_that_cannot_be_made_ends_in_one_sentence(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file/work cannot be made .*: name another folder"):
        zoo.load_or_train("objects_14", data, tmp_path / "file" / "work", report=quiet)


def test_the_command_trains_what_it_is_asked_for(
    data: Path, tmp_path: Path, recipes: Callable[[str, Recipe], None]
) -> None:
    recipes("one", replace(TRAINED["vgg"]))
    arguments = ["one", "--data", str(data), "--work", str(tmp_path), "--json", str(tmp_path / "all.json")]
    found = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert found.exit_code == 0
    assert "one: epoch 1/1, loss" in found.output
    about = json.loads((tmp_path / "one.json").read_text())
    assert f"one: {about['accuracy']:.2%} of 3 test pictures" in found.output
    assert f"makes 'speed limit 120 km/h' of {about['trigger']['success']:.2%} of 2 others" in found.output
    assert f"; {tmp_path / 'one.onnx'}" in found.output
    assert json.loads((tmp_path / "all.json").read_text()) == {"one": about}


def test_a_denoising_network_trained_on_attacks_begins_with_a_plain_ones_weights_and_prepares(
    work: Path, data: Path, recipes: Callable[[str, Recipe], None]
) -> None:
    begun = replace(TRAINED["vgg"], poisoned=0.0, begin_from="vgg", adversarial="fast", eps=8 / 255)
    recipes("robust", replace(begun, architecture="vgg_denoising"))
    path = zoo.load_or_train("robust", data, work, report=quiet)
    prepared = prepare(path, read_description(path.with_suffix(".toml")))
    inputs = check_inputs(prepared.radar.info.preprocessing, 3)
    assert logits_difference(read_source(path), prepared.plain, prepared.radar.proto, inputs) < 1e-4
    recipes("ensemble", replace(begun, adversarial="ensemble"))
    with pytest.raises(UsageError, match=r"signs_vgg\.pt is missing: train signs_vgg first"):
        zoo.load_or_train("ensemble", data, work, report=quiet)


def test_non_local_means_weigh_every_cell_by_its_dot_product_and_begin_as_the_pool_alone() -> None:
    pool, maps = DenoisedPool(3, 2), torch.randn(2, 3, 4, 4)
    given = torch.nn.functional.max_pool2d(maps, 2)
    cells = given.flatten(2)
    wanted = torch.zeros_like(cells)
    for row in range(2):
        for i in range(4):
            for j in range(4):
                wanted[row, :, i] += (cells[row, :, i] @ cells[row, :, j]) * cells[row, :, j] / 4
    assert torch.allclose(pool.denoised(given).flatten(2), wanted, atol=1e-5)
    assert torch.equal(pool.eval()(maps), given)


def test_adversarial_training_attacks_within_eps_and_an_ensembles_first_half_stays_benign() -> None:
    weight = torch.randn(3, 12)
    network, other = torch.nn.Linear(12, 3), torch.nn.Linear(12, 3)
    network.weight.data, other.weight.data = weight, -weight

    def classify(given: torch.nn.Module, pictures: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = given(pictures.flatten(1))
        return found

    pictures, labels = torch.rand(8, 3, 2, 2) * 0.8 + 0.1, torch.arange(8) % 3
    loss = torch.nn.functional.cross_entropy
    made = fast_attack(classify, network, pictures, labels, 0.05)
    assert float((made - pictures).abs().max()) <= 0.05 + 1e-6
    assert loss(classify(network, made), labels) > loss(classify(network, pictures), labels)
    attacked = set()
    for seed in range(12):
        torch.manual_seed(seed)
        half = ensemble_attack(classify, network, [other], pictures, labels, 0.05)
        assert torch.equal(half[:4], pictures[:4])
        assert float((half[4:] - pictures[4:]).abs().max()) <= 0.05 + 1e-6
        harmed = loss(classify(network, half[4:]), labels[4:]) > loss(classify(network, pictures[4:]), labels[4:])
        attacked.add(bool(harmed))
    assert attacked == {True, False}  # on itself, or on one whose slope is the opposite


def test_what_no_attack_was_trained_on_is_fixed_without_the_attacks_settings(data: Path) -> None:
    plain = identity_of(SMALL, data)["recipe"]
    assert "adversarial" not in plain
    assert identity_of(replace(SMALL, adversarial="fast", eps=0.1), data)["recipe"]["eps"] == 0.1
