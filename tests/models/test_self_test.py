"""No detector is trusted that cannot raise: thresholds and references that blind it are refused at the start."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taintwatch.assembly import make_detection
from taintwatch.config.load import parse_config
from taintwatch.deadlines import Deadlines
from taintwatch_models.bundled import bundled_calibration_path, bundled_path
from taintwatch_models.detection.operating_points import OperatingPoint
from taintwatch_models.detection.reference import Reference, read_reference, write_reference
from taintwatch_models.detection.tail import Tail
from taintwatch_models.errors import CalibrationError
from taintwatch_models.loading import load_model
from taintwatch_models.model_files import ModelSettings
from tests.tiny_model import write_model


def calibration(folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Write the bundled calibration, changed."""
    document = json.loads(bundled_calibration_path().read_text())
    change(document)
    path = folder / "changed.calibration.json"
    path.write_text(json.dumps(document))
    return str(path)


def reference(folder: Path, change: Callable[[Reference], Reference]) -> str:
    """Write the bundled reference, changed."""
    path = folder / "changed.npz"
    write_reference(change(read_reference(bundled_path("signs.reference.npz"))), path)
    return str(path)


def with_threshold(found: Reference, threshold: float) -> Reference:
    def moved(point: OperatingPoint) -> OperatingPoint:
        return replace(point, threshold=threshold)

    return replace(found, points=tuple(moved(point) for point in found.points))


def with_tail(found: Reference, name: str, tail: Tail) -> Reference:
    return replace(found, tails={**found.tails, name: tail})


def without_whitening(found: Reference) -> Reference:
    layers = tuple(replace(layer, whitening=np.zeros_like(layer.whitening)) for layer in found.layers)
    return replace(found, layers=layers)


@pytest.mark.parametrize(
    ("detector", "section", "key", "value"),
    [
        ("tight", "tight", "threshold", 9e5),
        ("paper", "paper", "rank_change", 43),
        ("joint", "combination", "threshold", 9e5),
    ],
)
def test_a_threshold_that_nothing_reaches_is_refused(
    tmp_path: Path, detector: str, section: str, key: str, value: float
) -> None:
    file = calibration(tmp_path, lambda document: document[section].update({key: value}))
    with pytest.raises(CalibrationError, match=f"'{detector}' is blind"):
        load_model(ModelSettings(calibration=file, detectors=(detector,)))


def test_without_a_calibration_one_blind_detector_of_two_is_a_warning_and_the_only_one_is_refused(
    tmp_path: Path,
) -> None:
    """`paper`'s default asks for more than 2 ranks, and a model of 3 labels has no more."""
    path = str(write_model(tmp_path / "m.onnx"))
    loaded = load_model(ModelSettings(path=path, detectors=("tight", "paper")))
    assert any("'paper' is blind" in warning for warning in loaded.warnings)
    with pytest.raises(CalibrationError, match="'paper' is blind"):
        load_model(ModelSettings(path=path, detectors=("paper",)))


def test_limits_of_reconstructions_that_nothing_exceeds_are_refused(tmp_path: Path) -> None:
    def widen(document: dict[str, Any]) -> None:
        for limit in document["cmag"]["limits"]:
            limit["threshold"] = -2.0 if limit["statistic"] == "ssim" else 9e5
            limit["by_class"] = {}

    with pytest.raises(CalibrationError, match="'cmag' is blind"):
        load_model(ModelSettings(calibration=calibration(tmp_path, widen), detectors=("cmag",)))


def test_a_threshold_that_everything_exceeds_is_refused(tmp_path: Path) -> None:
    file = calibration(tmp_path, lambda document: document["tight"].update(threshold=-9e5))
    with pytest.raises(CalibrationError, match="calls everything an attack"):
        load_model(ModelSettings(calibration=file, detectors=("tight",)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: with_threshold(found, 500.0), "no evidence scores above"),
        (lambda found: with_threshold(found, -1.0), "none below 0"),
        (without_whitening, "does not know its own benign pictures"),
        (lambda found: with_tail(found, "feature_anomaly", Tail(np.full(64, 1e6), 1.0)), "its own benign pictures"),
    ],
)
def test_a_reference_that_blinds_the_default_detector_is_refused(
    tmp_path: Path, change: Callable[[Reference], Reference], said: str
) -> None:
    with pytest.raises(CalibrationError, match=said):
        load_model(ModelSettings(reference=reference(tmp_path, change), detectors=("combined",)))


def test_the_bundled_model_must_see_the_bundled_attack_at_the_start(tmp_path: Path) -> None:
    """Plausible numbers that blind it all the same: the evidence that an attack gives counts a tenth."""

    def dull(found: Reference) -> Reference:
        tails = {name: Tail(tail.levels, tail.scale * 100) for name, tail in found.tails.items()}
        return replace(found, tails=tails, gate=1e3)

    config = parse_config(f'[model]\nreference = "{reference(tmp_path, dull)}"\n', "t.toml")
    with pytest.raises(CalibrationError, match="does not see the attack that comes with the bundled model"):
        make_detection(config, Deadlines())


@pytest.mark.parametrize("text", ["", '[detect]\ndetectors = ["combined", "tight", "paper"]\ntarget_fpr = 0.001\n'])
def test_the_bundled_calibrations_pass(text: str) -> None:
    _, detection = make_detection(parse_config(text, "t.toml"), Deadlines())
    detection.release()
