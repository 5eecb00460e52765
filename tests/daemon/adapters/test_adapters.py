"""The adapters beside the real libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch.adapters.arrays import pictures_of_batch
from taintwatch.detector import Detector
from taintwatch_models.errors import UsageError
from tests.tiny_model import footage, write_model

SIZE = (32, 32)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return Detector.load(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


def batch() -> NDArray[np.float32]:
    """A benign picture and an attacked one: (2, 3, 32, 32), red-green-blue in [0, 1]."""
    pictures = [picture[:, :, ::-1] for picture in footage(2, [1], SIZE)]
    return (np.stack(pictures).transpose(0, 3, 1, 2) / 255).astype(np.float32)


def test_batches_of_either_layout_and_any_bounds_are_the_same_pictures() -> None:
    first = batch()
    wanted = pictures_of_batch(first, channels_first=True, bounds=(0, 1))
    last = pictures_of_batch(first.transpose(0, 2, 3, 1), channels_first=False, bounds=(0, 1))
    shifted = pictures_of_batch(first * 2 - 1, channels_first=True, bounds=(-1, 1))
    assert wanted[0].shape == (*SIZE, 3)
    assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(wanted, last, shifted, strict=True))
    with pytest.raises(UsageError, match=r"\(batch, 3, height, width\) is needed"):
        pictures_of_batch(first[0], channels_first=True, bounds=(0, 1))


def test_art_takes_it_for_an_evasion_detector(detector: Detector) -> None:
    pytest.importorskip("art")
    from art.defences.detector.evasion import EvasionDetector

    from taintwatch.adapters.art_detector import ArtDetector

    evasion = ArtDetector(detector)
    assert isinstance(evasion, EvasionDetector)
    report, adversarial = evasion.detect(batch())
    assert adversarial.tolist() == [False, True]
    assert report["labels"].tolist() == [0, 1]
    assert (report["scores"] > report["thresholds"]).tolist() == [False, True]
    assert evasion.get_params()["clip_values"] == (0.0, 1.0)


def test_art_fits_it_on_benign_pictures(tmp_path: Path) -> None:
    pytest.importorskip("art")
    from taintwatch.adapters.art_detector import ArtDetector

    evasion = ArtDetector(Detector.load(write_model(tmp_path / "tiny.onnx")))
    rng = np.random.default_rng(0)
    grey = rng.uniform(0.3, 0.7, (110, 1, 1, 1)) + rng.uniform(-0.1, 0.1, (110, 1, *SIZE))
    evasion.fit(grey.repeat(3, axis=1).astype(np.float32))
    assert evasion.detector.calibrated
    report, _ = evasion.detect(batch())
    assert report["verdicts"][0].detector == "combined"


def test_foolbox_asks_it_about_inputs_and_counts_only_what_evades_it(detector: Detector) -> None:
    pytest.importorskip("foolbox")
    torch = pytest.importorskip("torch")
    from foolbox.criteria import Misclassification

    from taintwatch.adapters.foolbox_criterion import Evades, SuspiciousInputs

    inputs = torch.from_numpy(batch())
    suspicious = SuspiciousInputs(detector)
    assert suspicious(inputs).tolist() == [False, True]
    outputs = torch.tensor([[1.0, 3.0, 0.0], [1.0, 3.0, 0.0]])  # both are misclassified
    criterion = Misclassification(torch.tensor([0, 0]))
    assert criterion(inputs, outputs).tolist() == [True, True]
    evaded = Evades(criterion, suspicious)(inputs, outputs)
    assert isinstance(evaded, torch.Tensor)
    assert evaded.tolist() == [True, False]


def test_supervision_draws_a_verdicts_region(detector: Detector) -> None:
    supervision = pytest.importorskip("supervision")
    from taintwatch.adapters.supervision_detections import to_detections

    benign, attacked = footage(2, [1])
    assert len(to_detections(detector.check(benign))) == 0
    verdict = detector.check(attacked)
    detections = to_detections(verdict)
    assert verdict.region is not None
    x, y, width, height = verdict.region.box
    assert detections.xyxy.tolist() == [[x, y, x + width, y + height]]
    assert detections["class_name"].tolist() == ["toaster"]
    assert 0 < float(detections.confidence[0]) < 1
    drawn = supervision.BoxAnnotator().annotate(attacked.copy(), detections)
    assert (drawn != attacked).any()
