"""The Python API for single pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import taintwatch
from taintwatch.detector import Detector
from taintwatch.picture_input import benign_pixels
from taintwatch_models.errors import BadFrame, CalibrationError, ConfigError, ModelError, SourceError, UsageError
from taintwatch_models.preprocessing import Preprocessing
from tests.tiny_model import footage, write_model, write_video

BENIGN, ATTACKED = footage(2, [1])  # blue-green-red


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return Detector.load(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


def test_five_lines_check_a_picture(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx")
    cv2.imwrite(str(tmp_path / "photo.png"), ATTACKED)
    detector = taintwatch.Detector.load(tmp_path / "model.onnx")
    verdict = detector.check(tmp_path / "photo.png")
    assert verdict.suspicious
    assert (verdict.label_name, verdict.recovered_name) == ("toaster", "scene")
    assert verdict.score > verdict.threshold


def test_a_benign_picture_is_not_suspicious_and_has_no_region(detector: Detector) -> None:
    verdict = detector.check(BENIGN)
    assert not verdict.suspicious
    assert (verdict.label_name, verdict.region, verdict.recovered_name) == ("scene", None, None)
    assert 0 < verdict.confidence < 1


def test_the_region_is_where_the_patch_is_in_pixels_of_the_picture(detector: Detector) -> None:
    large = cv2.resize(ATTACKED, (640, 480), interpolation=cv2.INTER_NEAREST)  # the patch: 160 to 400, 120 to 360
    region = detector.check(large).region
    assert region is not None
    x, y, width, height = region.box
    assert 160 < x + width / 2 < 400
    assert 120 < y + height / 2 < 360


def test_pictures_of_any_sizes_from_files_and_arrays_are_checked_in_order(detector: Detector, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), ATTACKED)
    small = np.ascontiguousarray(BENIGN[:20, :30])
    found = detector.check([small, tmp_path / "a.png", BENIGN, str(tmp_path / "a.png")])
    assert [verdict.suspicious for verdict in found] == [False, True, False, True]
    assert [verdict.file for verdict in found] == [None, tmp_path / "a.png", None, tmp_path / "a.png"]


def test_more_pictures_than_a_batch_give_what_each_gives_alone(detector: Detector) -> None:
    pictures = footage(20, range(0, 20, 3))
    together = [verdict.score for verdict in detector.check(pictures)]
    assert together == pytest.approx([detector.check(picture).score for picture in pictures], abs=1e-4)


def test_channels_are_red_green_blue_unless_said_otherwise(detector: Detector, tmp_path: Path) -> None:
    picture = np.full((40, 40, 3), (200, 120, 40), np.uint8)  # red first
    picture[10:30, 10:30] = (40, 200, 60)
    cv2.imwrite(str(tmp_path / "p.png"), picture[:, :, ::-1])
    from_file = detector.check(tmp_path / "p.png")
    assert detector.check(picture).score == from_file.score
    assert detector.check(np.ascontiguousarray(picture[:, :, ::-1]), colours="bgr").score == from_file.score


def test_the_overlay_outlines_the_region_in_a_copy_in_the_pictures_own_channel_order(detector: Detector) -> None:
    rgb = np.ascontiguousarray(ATTACKED[:, :, ::-1])
    before = rgb.copy()
    verdict = detector.check(rgb)
    drawn = verdict.overlay()
    assert np.array_equal(rgb, before)
    changed = (drawn != rgb).any(axis=2)
    assert changed.any()
    assert not changed[0].any()
    reddest = drawn[changed].astype(int)
    assert (reddest[:, 0] >= reddest[:, 2]).all()  # red, or the white around it
    in_bgr = detector.check(ATTACKED, colours="bgr").overlay()
    assert np.array_equal(in_bgr[:, :, ::-1], drawn)


def test_what_cannot_be_checked_is_refused_with_a_sentence(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("text")
    with pytest.raises(BadFrame, match=r"no\.png is not an image"):
        detector.check(tmp_path / "no.png")
    with pytest.raises(BadFrame, match="float32 values where uint8 is needed"):
        detector.check(BENIGN.astype(np.float32))
    with pytest.raises(UsageError, match=r"give list\(array\)"):
        detector.check(np.stack([BENIGN, BENIGN]))


def test_a_model_that_is_missing_and_a_detector_that_is_unknown_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx"):
        Detector.load(tmp_path / "none.onnx")
    with pytest.raises(ConfigError, match="there is no detector 'loose'"):
        Detector.load(write_model(tmp_path / "tiny.onnx"), detector="loose")


def test_it_says_whether_it_was_calibrated(detector: Detector) -> None:
    assert not detector.calibrated
    assert "not calibrated" in detector.warnings[0]
    assert detector.card.labels == ("scene", "toaster", "nothing")


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "cv2", "onnxruntime", "onnx", "numpy", "pydantic", "av", "zmq", "click")
    code = f"import sys, taintwatch; sys.exit(','.join(sorted(set(sys.modules) & set({heavy!r}))) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_the_package_offers_is_there() -> None:
    assert all(getattr(taintwatch, name) is not None for name in taintwatch.__all__)
    assert set(taintwatch.__all__) <= set(dir(taintwatch))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        taintwatch.nothing  # noqa: B018


def varied_benign(count: int) -> list[NDArray[np.uint8]]:
    """Benign pictures that differ from one another: grey noise of various brightness."""
    rng = np.random.default_rng(1)
    return [
        np.asarray(rng.integers(60, 200) + rng.integers(-30, 30, (48, 64, 1)).repeat(3, axis=2), np.uint8)
        for _ in range(count)
    ]


def test_what_is_learnt_judges_and_is_found_again_once_it_is_saved(tmp_path: Path) -> None:
    detector = Detector.load(write_model(tmp_path / "tiny.onnx"))
    steps: list[tuple[int, int]] = []
    detector.learn(varied_benign(120), progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1]
    assert detector.calibrated
    assert detector.save() == tmp_path / "tiny.reference.npz"
    again = Detector.load(tmp_path / "tiny.onnx")
    for picture in (BENIGN, ATTACKED):
        first, second = detector.check(picture, colours="bgr"), again.check(picture, colours="bgr")
        assert (first.detector, second.detector) == ("combined", "combined")
        assert first.score == pytest.approx(second.score, abs=1e-4)
        assert first.threshold == second.threshold
    assert again.check(ATTACKED, colours="bgr").score > again.check(BENIGN, colours="bgr").score
    assert "benign frames" in again.check(ATTACKED, colours="bgr").reason


def test_a_folder_and_a_video_can_be_learnt_from(tmp_path: Path) -> None:
    folder = tmp_path / "benign"
    folder.mkdir()
    pictures = varied_benign(110)
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index:03}.png"), picture)
    write_video(tmp_path / "v.mp4", pictures)
    detector = Detector.load(write_model(tmp_path / "tiny.onnx"))
    for source in (folder, tmp_path / "v.mp4"):
        detector.learn(source)
        assert detector.check(pictures[0]).detector == "combined"


def test_too_few_pictures_and_what_was_never_learnt_are_refused(tmp_path: Path) -> None:
    detector = Detector.load(write_model(tmp_path / "tiny.onnx"))
    with pytest.raises(UsageError, match="nothing was learnt yet"):
        detector.save()
    with pytest.raises(CalibrationError, match="12 benign frames are too few"):
        detector.learn(varied_benign(12))
    with pytest.raises(UsageError, match="never ends"):
        detector.learn("sim:")
    with pytest.raises(SourceError, match="does not exist"):
        detector.learn(tmp_path / "nowhere")


def test_more_pictures_than_asked_for_are_thinned_evenly() -> None:
    preprocessing = Preprocessing(size=(8, 8), resize="stretch")
    pictures = [np.full((8, 8, 3), index, np.uint8) for index in range(100)]
    taken = benign_pixels(pictures, preprocessing, "rgb", 30).pixels[:, 0, 0, 0].tolist()
    assert taken == list(range(0, 100, 4))
