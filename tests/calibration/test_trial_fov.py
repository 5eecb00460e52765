"""The field of view is found from a sheet that is seen at a slant, and not from one that is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from taintwatch_calibration.camera_model.pinhole_camera import PinholeCamera
from taintwatch_calibration.camera_model.raster import Raster, page_raster
from taintwatch_calibration.camera_model.sheet_scene import Shot
from taintwatch_calibration.camera_model.video_recorder import recording
from taintwatch_calibration.cli_trial import trial_group
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.trial.fov import fit_fov
from taintwatch_models.errors import UsageError
from tests.sheets import needs_pdftoppm
from tests.trial_scene import markers_of, print_sheet, scene_at

pytestmark = needs_pdftoppm
WALK = ((0.4, 0.0), (0.45, 25.0), (0.4, -30.0), (0.5, 40.0), (0.35, -15.0), (0.5, -40.0))


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return print_sheet(tmp_path_factory.mktemp("sheet") / "board.pdf", "board")


@pytest.fixture(scope="module")
def raster(sheet: Path) -> Raster:
    return page_raster(sheet, read_sheet(sheet))


@pytest.mark.parametrize("fov", [45.0, 70.0])
def test_it_is_found_to_a_degree(sheet: Path, raster: Raster, fov: float) -> None:
    camera = PinholeCamera(800, 600, fov)
    images = [scene_at(raster, Shot(*place, seed=i), "office", camera).render(i) for i, place in enumerate(WALK)]
    found = fit_fov(images, markers_of(sheet))
    assert found.fov_deg == pytest.approx(fov, abs=1.0)
    assert found.error_px < 1.0
    assert found.views == len(WALK)
    assert found.slant_deg == pytest.approx(40, abs=5)


def test_straight_views_do_not_tell_it(sheet: Path, raster: Raster) -> None:
    images = [scene_at(raster, Shot(0.4, 0.0, shake=0.001, seed=i)).render(i) for i in range(5)]
    with pytest.raises(UsageError, match=r"slant|does not tell a field of view"):
        fit_fov(images, markers_of(sheet))


def test_pictures_without_the_sheet_are_refused(sheet: Path) -> None:
    with pytest.raises(UsageError, match="only 0 pictures show 4 markers"):
        fit_fov([np.full((480, 640, 3), 90, np.uint8)] * 5, markers_of(sheet))


def test_the_command_measures_a_video(sheet: Path, raster: Raster, tmp_path: Path) -> None:
    camera = PinholeCamera(800, 600, 60.0)
    with recording(tmp_path / "walk.mp4") as recorder:
        for index, place in enumerate(WALK):
            recorder.add(scene_at(raster, Shot(*place, seed=index), "office", camera).render(0), index / 5)
    words = ["fov", str(tmp_path / "walk.mp4"), "--sheet", str(sheet)]
    said = CliRunner().invoke(trial_group, words, catch_exceptions=False).output
    assert said.startswith("--fov ")
    told = json.loads(CliRunner().invoke(trial_group, [*words, "--json"], catch_exceptions=False).output)
    assert told["fov_deg"] == pytest.approx(60.0, abs=1.5)
