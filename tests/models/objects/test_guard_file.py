"""The file of an object guard's reference is read as strictly as that of a classifier's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taintwatch_models.detection.reference import version
from taintwatch_models.detection.tail import fit_tail
from taintwatch_models.errors import CalibrationError
from taintwatch_models.objects.guard import GuardReference, read_guard, write_guard
from taintwatch_models.objects.place_anomaly import PlaceScales


@pytest.fixture
def reference() -> GuardReference:
    tail = fit_tail(np.arange(50.0))
    scales = PlaceScales(np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32))
    return GuardReference("ab" * 32, (), scales, tail, tail, tail, gate=1.0, second=1.5, threshold=2.0, target_fpr=0.01)


def test_it_comes_back_as_it_was_written(tmp_path: Path, reference: GuardReference) -> None:
    write_guard(reference, tmp_path / "guard.npz")
    found = read_guard(tmp_path / "guard.npz")
    assert (found.threshold, found.gate, found.second, found.target_fpr) == (2.0, 1.0, 1.5, 0.01)
    assert (found.anomaly.levels == reference.anomaly.levels).all()


@pytest.mark.parametrize("key", ["threshold", "gate", "second", "target_fpr"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_would_blind_it_is_refused(
    tmp_path: Path, reference: GuardReference, key: str, value: float
) -> None:
    write_guard(replace(reference, **{key: value}), tmp_path / "guard.npz")  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match="is no finite number"):
        read_guard(tmp_path / "guard.npz")


def test_a_missing_one_names_the_command_that_learns_it(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="taintwatch calibrate objects"):
        read_guard(tmp_path / "none.npz")


def test_it_is_of_the_appearance_network_that_it_was_learnt_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: GuardReference
) -> None:
    write_guard(reference, tmp_path / "guard.npz")
    other = tmp_path / "appearance.onnx"
    other.write_bytes(b"trained anew")
    monkeypatch.setattr("taintwatch_models.detection.reference.bundled_path", lambda name: other)
    version.cache_clear()
    try:
        with pytest.raises(CalibrationError, match=r"another version of Taintwatch .* `taintwatch calibrate objects`"):
            read_guard(tmp_path / "guard.npz")
    finally:
        version.cache_clear()
