"""Sheets before the simulated camera: poses, pieces that are stuck on, and the videos that are written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taintwatch.sources.colour_profile import GENERIC_PROFILE
from taintwatch.sources.video import VideoSource
from taintwatch_calibration.camera_model.pinhole_camera import (
    PinholeCamera,
    camera_pose_of,
    estimate_pose,
    homography,
    pose_at,
)
from taintwatch_calibration.camera_model.raster import PIXELS_PER_MM, Cutout, Raster, cut_out, page_raster, paste_cutout
from taintwatch_calibration.camera_model.sheet_scene import SheetScene, Shot
from taintwatch_calibration.camera_model.video_recorder import Recorder, recording
from taintwatch_calibration.printing.pages import Box
from taintwatch_calibration.printing.sheet_metadata import SheetMetadata, read_sheet
from taintwatch_calibration.trial.markers import MarkerFinder
from taintwatch_models.errors import TaintwatchError, UsageError
from tests.sheets import needs_pdftoppm
from tests.trial_scene import LENS, markers_of, print_sheet, scene_at


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return print_sheet(tmp_path_factory.mktemp("sheet") / "sign.pdf", "board", "--sign", 14)


@pytest.fixture(scope="module")
def raster(sheet: Path) -> Raster:
    return page_raster(sheet, read_sheet(sheet))


def blue_square(side_mm: float) -> Raster:
    image = np.zeros((round(side_mm * PIXELS_PER_MM),) * 2 + (4,), np.uint8)
    image[...] = (255, 0, 0, 255)
    return Raster(image, -side_mm / 2, -side_mm / 2)


@given(
    distance=st.floats(100, 5000), yaw=st.floats(-70, 70), roll=st.floats(-20, 20), pitch=st.floats(-15, 15),
    aside=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)),
)  # fmt: skip
def test_a_pose_is_found_again_from_where_points_are_seen(
    distance: float, yaw: float, roll: float, pitch: float, aside: tuple[float, float]
) -> None:
    R, t = pose_at(distance, yaw, pitch_deg=pitch, roll_deg=roll, aside=aside)
    points = np.array([[x, y] for x in (-80.0, 0, 80) for y in (-90.0, 10, 95)])
    seen = cv2.perspectiveTransform(points[None], homography(LENS, R, t))[0]
    found = estimate_pose(LENS, points, seen)
    assert found is not None
    pose, wanted = camera_pose_of(*found), camera_pose_of(R, t)
    assert pose.distance_m == pytest.approx(wanted.distance_m, rel=1e-3)
    assert abs(pose.angle_deg) == pytest.approx(abs(wanted.angle_deg), abs=0.5)
    assert abs(yaw) < 3 or pose.angle_deg * wanted.angle_deg > 0


def test_the_camera_stands_where_it_was_put() -> None:
    assert camera_pose_of(*pose_at(500, 0)).distance_m == pytest.approx(0.5)
    assert camera_pose_of(*pose_at(500, 30)).angle_deg == pytest.approx(30)
    assert camera_pose_of(*pose_at(500, -30)).angle_deg == pytest.approx(-30)


def test_a_square_is_as_large_in_the_picture_as_a_pinhole_shows_it() -> None:
    scene = scene_at(blue_square(100), Shot(0.5, 0.0, shake=0.0), camera_model="plain")
    image = scene.render(0).astype(int)
    blue = (image[..., 0] > 200) & (image[..., 2] < 60)
    wanted = 100 * LENS.focal_px / 500
    assert blue.any(axis=0).sum() == pytest.approx(wanted, abs=1.5)
    assert blue.any(axis=1).sum() == pytest.approx(wanted, abs=1.5)
    assert np.argwhere(blue).mean(axis=0) == pytest.approx((239.5, 319.5), abs=0.6)


@pytest.mark.parametrize("angle", [-20.0, 0.0, 30.0])
def test_an_object_beside_the_middle_is_seen_from_where_the_camera_stands(angle: float) -> None:
    scene = scene_at(blue_square(40), Shot(0.4, angle, shake=0.0, aim=(0.3, 0.6)), camera_model="plain")
    assert scene.pose(0).distance_m == pytest.approx(0.4, rel=0.01)
    assert abs(scene.pose(0).angle_deg - angle) < 6  # it is also seen from a little above
    image = scene.render(0).astype(int)
    blue = (image[..., 0] > 200) & (image[..., 2] < 60)
    assert np.argwhere(blue).mean(axis=0)[::-1] == pytest.approx((0.3 * 640, 0.6 * 480), abs=4)


def test_from_the_right_the_right_edge_is_nearer_and_all_is_narrower() -> None:
    image = scene_at(blue_square(100), Shot(0.3, 40.0, shake=0.0), camera_model="plain").render(0).astype(int)
    blue = (image[..., 0] > 200) & (image[..., 2] < 60)
    heights = blue.sum(axis=0)[blue.any(axis=0)]
    assert heights[-3] > 1.2 * heights[2]
    assert blue.any(axis=0).sum() < 0.85 * heights.max()


@needs_pdftoppm
@pytest.mark.parametrize(
    ("distance", "angle", "camera_model"),
    [(0.25, 0.0, "office"), (0.3, 30.0, "corridor"), (0.5, -40.0, "street"), (0.4, 15.0, "dim")],
)
def test_the_markers_tell_the_pose_of_a_simulated_sheet(
    sheet: Path, raster: Raster, distance: float, angle: float, camera_model: str
) -> None:
    scene, finder = scene_at(raster, Shot(distance, angle), camera_model), MarkerFinder(markers_of(sheet), LENS.fov_deg)
    for index in (0, 11, 25):
        found, wanted = finder.pose(scene.render(index)), scene.pose(index)
        assert found is not None
        assert found.distance_m == pytest.approx(wanted.distance_m, rel=0.03)
        assert found.angle_deg == pytest.approx(wanted.angle_deg, abs=3.5)


@needs_pdftoppm
def test_where_no_markers_are_there_is_no_pose(sheet: Path) -> None:
    finder = MarkerFinder(markers_of(sheet), 55.0)
    assert finder.pose(np.full((480, 640, 3), 128, np.uint8)) is None
    with pytest.raises(UsageError, match="markers are damaged"):
        MarkerFinder({"x": [[0.0, 0.0]]}, 55.0)


@needs_pdftoppm
def test_a_scene_is_the_same_for_the_same_shot_and_shakes_with_the_seed(raster: Raster) -> None:
    one, same = scene_at(raster, Shot(0.3, 10.0, seed=1)), scene_at(raster, Shot(0.3, 10.0, seed=1))
    assert np.array_equal(one.render(5), same.render(5))
    assert one.pose(5) != scene_at(raster, Shot(0.3, 10.0, seed=2)).pose(5)
    assert one.pose(5) != one.pose(20)


@needs_pdftoppm
def test_the_attack_comes_and_goes_at_its_time(raster: Raster) -> None:
    attacked = Raster(255 - raster.image | np.array([0, 0, 0, 255], np.uint8), raster.left_mm, raster.top_mm)
    shot = Shot(0.3, 0.0, fps=10, duration_s=3, start_s=1, end_s=2, shake=0.0)
    scene = SheetScene(raster, attacked, np.zeros((480, 640, 3), np.uint8), LENS, shot)
    dark = [float(scene.render(index)[60:80, 300:340].mean()) for index in (0, 9, 10, 19, 20)]
    truth = [scene.ground_truth(index).attacked for index in (0, 9, 10, 19, 20)]
    assert truth == [False, False, True, True, False]
    assert len({round(level) for level in dark}) == 2
    assert dark[2] != dark[0]
    assert scene.frame_count == 30


@needs_pdftoppm
def test_a_piece_is_cut_along_its_lines_and_stuck_where_it_is_wanted(tmp_path: Path, sheet: Path) -> None:
    picture = np.full((50, 50, 3), (255, 0, 255), np.uint8)
    cv2.imwrite(str(tmp_path / "m.png"), picture)
    piece_pdf = print_sheet(tmp_path / "piece.pdf", "patch", tmp_path / "m.png", "--size-mm", 40)
    piece = cut_out(piece_pdf, read_sheet(piece_pdf))
    assert piece.shape[:2] == pytest.approx((40 * PIXELS_PER_MM,) * 2, abs=6)
    assert np.abs(piece.astype(int) - (255, 0, 255)).max() <= 3
    info = read_sheet(sheet)
    whole = paste_cutout(page_raster(sheet, info), info, Cutout(piece, 0.5, 0.75))
    magenta = (whole.image[..., 0] > 200) & (whole.image[..., 1] < 60) & (whole.image[..., 2] > 200)
    middle = (whole.to_mm @ np.array([*np.argwhere(magenta).mean(axis=0)[::-1], 1.0]))[:2]
    assert middle == pytest.approx((0.0, 0.25 * 120), abs=0.3)
    printed = cut_out(piece_pdf, read_sheet(piece_pdf), GENERIC_PROFILE)
    assert printed[..., 1].min() > 15  # no ink is so pure


def test_a_piece_beside_the_sheet_makes_the_raster_grow_and_leaves_the_middle_where_it_was() -> None:
    info = SheetMetadata("sign", "0" * 8, "A4", 210, 297, printable=Box(0, 0, 100, 100))
    piece = np.full((80, 80, 3), 200, np.uint8)
    grown = paste_cutout(blue_square(100), info, Cutout(piece, 1.5, 0.5))
    assert grown.image.shape[1] > blue_square(100).image.shape[1]
    assert grown.left_mm == pytest.approx(-50)
    assert grown.image[2, -2].tolist() == [0, 0, 0, 0]
    left = paste_cutout(blue_square(100), info, Cutout(piece, -0.5, 0.5))
    assert left.left_mm == pytest.approx(-105, abs=0.2)


def test_pictures_are_recorded_with_their_times_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with recording(path) as recorder:
        for index in range(12):
            recorder.add(np.full((65, 97, 3), 20 * index, np.uint8), index / 8)
            assert not path.exists()
    source = VideoSource(path)
    source.open()
    grabs = list(iter(source.read, None))
    source.close()
    assert [grab.media_s for grab in grabs] == pytest.approx([index / 8 for index in range(12)], abs=1e-3)
    assert [round(float(grab.image.mean())) for grab in grabs] == pytest.approx([20 * i for i in range(12)], abs=6)
    assert list(tmp_path.iterdir()) == [path]


def stop_after_one_picture(recorder: Recorder) -> None:
    recorder.add(np.zeros((64, 64, 3), np.uint8), 0.0)
    raise KeyError


def test_a_recording_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TaintwatchError, match="no picture came"), recording(tmp_path / "clip.mp4"):
        pass
    with pytest.raises(UsageError, match="cannot be written"), recording(tmp_path / "gone" / "clip.mp4"):
        pass
    with pytest.raises(KeyError), recording(tmp_path / "clip.mp4") as recorder:
        stop_after_one_picture(recorder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fov", "size"), [(0.0, (640, 480)), (200.0, (640, 480)), (60.0, (8, 8))])
def test_what_is_no_camera_is_refused(fov: float, size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="is no camera's"):
        PinholeCamera(*size, fov)


def test_a_sheet_that_is_not_there_is_said(tmp_path: Path) -> None:
    info = SheetMetadata("sign", "0" * 8, "A4", 210, 297)
    with pytest.raises(UsageError, match="no such sheet"):
        page_raster(tmp_path / "gone.pdf", info)
    (tmp_path / "bad.pdf").write_bytes(b"not a pdf")
    with pytest.raises(UsageError, match="nothing on this sheet to cut out"):
        cut_out(tmp_path / "bad.pdf", info)


@needs_pdftoppm
def test_a_damaged_sheet_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad.pdf").write_bytes(b"not a pdf")
    with pytest.raises(UsageError, match="cannot be rasterised"):
        page_raster(tmp_path / "bad.pdf", SheetMetadata("sign", "0" * 8, "A4", 210, 297))
