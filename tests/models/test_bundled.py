"""The bundled model is whole, small, calibrated for itself, and recognises the project's own drawn signs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from taintwatch_models.bundled import BUNDLED_FINDER, bundled_calibration_path, bundled_path, bundled_radar
from taintwatch_models.calibration_file import read_calibration
from taintwatch_models.errors import CalibrationError, ModelError
from taintwatch_models.loading import LoadedModel, load_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.records import Frame, Prediction
from taintwatch_models.signs import SIGN_NAMES, render_sign

MEGABYTES = 4_000_000


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(
        ModelSettings(path=None, detectors=("tight", "paper"), session=SessionSettings(threads=1, device="cpu"))
    )


def card(label: int, side: int = 240) -> NDArray[np.uint8]:
    """A sign on a grey wall, blue-green-red."""
    sign = render_sign(label, side - 24)
    picture = np.full((side, side, 3), 150, np.uint8)
    alpha = sign[..., 3:].astype(np.float32) / 255
    spot = picture[12:-12, 12:-12]
    spot[:] = (alpha * sign[..., 2::-1] + (1 - alpha) * spot).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.0), np.uint8)


def seen(model: LoadedModel, *images: NDArray[np.uint8]) -> list[Prediction]:
    outcomes = model.classifier([Frame("desk", index, image, 0, 0) for index, image in enumerate(images)])
    return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]


def test_the_prepared_model_is_at_most_four_megabytes() -> None:
    assert bundled_path("signs.radar.onnx").stat().st_size <= MEGABYTES


def test_recogniser_and_finder_together_fit_four_mebibytes() -> None:
    finder = bundled_path(BUNDLED_FINDER)
    assert finder.with_suffix(".toml").is_file()
    assert bundled_path("signs.radar.onnx").stat().st_size + finder.stat().st_size <= 4 * 1024 * 1024


def test_no_weight_is_stored_twice() -> None:
    tensors = bundled_radar().proto.graph.initializer
    large = [onnx.numpy_helper.to_array(t).tobytes() for t in tensors if np.prod(t.dims) > 1000]
    assert len(set(large)) == len(large)


def test_it_names_every_sign_and_the_background() -> None:
    info = bundled_radar().info
    assert info.labels == (*SIGN_NAMES, "background")
    assert info.background == "background"
    assert info.preprocessing.size == (64, 64)
    assert info.declared


def test_its_calibration_is_its_own_and_holds_what_was_accepted() -> None:
    calibration = read_calibration(bundled_calibration_path(), model_hash=bundled_radar().info.source_sha256)
    assert calibration.target_fpr == 0.02
    for found in (calibration.tight.held_out, calibration.paper.held_out):
        assert found is not None
        assert found.frames >= 500
        assert found.low <= 0.02  # the held-out rate is compatible with the accepted one


def test_another_models_calibration_is_refused(tmp_path: Path) -> None:
    document = json.loads(bundled_calibration_path().read_text())
    document["model_hash"] = "0" * 64
    stray = tmp_path / "stray.calibration.json"
    stray.write_text(json.dumps(document))
    with pytest.raises(CalibrationError, match="belongs to another model"):
        load_model(ModelSettings(path=None, calibration=str(stray)))


def test_it_loads_without_a_warning_and_recognises_every_drawn_sign(model: LoadedModel) -> None:
    assert model.warnings == ()
    found = seen(model, *(card(label) for label in range(len(SIGN_NAMES))))
    assert [p.label for p in found] == list(range(len(SIGN_NAMES)))


def test_drawn_signs_raise_few_alarms(model: LoadedModel) -> None:
    found = seen(model, *(card(label) for label in range(len(SIGN_NAMES))))
    for detector in model.detectors:
        assert sum(detector(p).suspicious for p in found) <= 3


def test_an_empty_wall_is_background(model: LoadedModel) -> None:
    wall = np.full((480, 640, 3), (120, 140, 150), np.uint8)
    wall[:, 400:] //= 2
    (found,) = seen(model, wall)
    assert found.label_name == "background"
    assert not any(detector(found).suspicious for detector in model.detectors)


def test_a_file_that_the_installation_lacks_is_told_by_name() -> None:
    with pytest.raises(ModelError, match=r"nothing\.onnx is missing from this installation"):
        bundled_path("nothing.onnx")


def test_a_wheel_would_carry_the_bundled_files(tmp_path: Path, repository: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    (wheel,) = builder.WheelBuilder(str(repository)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("signs.radar.onnx", "signs.calibration.json", BUNDLED_FINDER, "signs.finder.toml"):
        assert f"taintwatch_models/bundled/{name}" in names
