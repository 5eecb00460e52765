"""A photo of the printed chart gives the profile of printer and camera."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from taintwatch.sources.colour_profile import GENERIC_PROFILE, chart_colours, linear, read_profile
from taintwatch_calibration.camera_model.pinhole_camera import PinholeCamera
from taintwatch_calibration.camera_model.raster import Raster, page_raster
from taintwatch_calibration.camera_model.sheet_scene import Shot
from taintwatch_calibration.cli_colour import colour
from taintwatch_calibration.colour.fit import differences, fit_profile, palette_of
from taintwatch_calibration.colour.photo import read_chart
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_models.errors import UsageError
from tests.sheets import needs_pdftoppm
from tests.trial_scene import print_sheet, scene_at

SENT = np.array(chart_colours())
CAMERA = PinholeCamera(1280, 960, 55.0)


@pytest.fixture(scope="module")
def printed_chart(tmp_path_factory: pytest.TempPathFactory) -> Raster:
    pdf = print_sheet(tmp_path_factory.mktemp("chart") / "chart.pdf", "chart")
    return page_raster(pdf, read_sheet(pdf), GENERIC_PROFILE)


def photographed(
    chart: Raster, camera_model: str, distance_m: float = 0.42, angle_deg: float = 12.0
) -> NDArray[np.uint8]:
    return scene_at(chart, Shot(distance_m, angle_deg), camera_model, CAMERA).render(3)


@needs_pdftoppm
def test_the_colours_of_a_slanting_chart_are_those_that_were_printed(printed_chart: Raster) -> None:
    seen = read_chart(photographed(printed_chart, "plain"), "photo")
    assert differences(seen, GENERIC_PROFILE.seen(SENT)).max() < 2.5


@needs_pdftoppm
def test_a_profile_from_a_noisy_photo_tells_colours_that_it_was_not_fitted_to(printed_chart: Raster) -> None:
    seen = read_chart(photographed(printed_chart, "office"), "photo")
    profile = fit_profile(SENT, seen, "office")
    assert profile.residual is not None
    assert profile.residual < 1.0
    others = np.random.default_rng(0).random((200, 3))
    # The office's light differs from the profile's by its drift alone: one gain for all.
    gain = float(np.median(seen / GENERIC_PROFILE.seen(SENT)))
    assert differences(profile.seen(others), GENERIC_PROFILE.seen(others) * gain).mean() < 1.0


def test_curves_never_fall_and_a_printer_that_mixes_its_inks_is_undone() -> None:
    mix = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.02, 0.2, 0.78]])
    from taintwatch.sources.colour_profile import encoded

    seen = encoded(linear(0.12 + 0.8 * SENT**1.3) @ mix.T)
    profile = fit_profile(SENT, seen, "inks")
    assert differences(profile.seen(SENT), seen).max() < 1.0
    assert all(b >= a for curve in profile.curves for a, b in pairwise(curve))


def test_differences_are_ciede2000s() -> None:
    # Grey levels apart in lightness alone: a pair worked out by hand from L* 53.585 and 54.0.
    assert differences(np.array([[0.5, 0.5, 0.5]]), np.array([[0.5, 0.5, 0.5]]))[0] == 0
    red, green = np.array([[1.0, 0, 0]]), np.array([[0.0, 1, 0]])
    assert differences(red, green)[0] == pytest.approx(86.6, abs=0.2)  # the textbook's red against green


def test_the_palettes_colours_lie_apart() -> None:
    palette = np.array(palette_of(GENERIC_PROFILE.seen(SENT)))
    away = np.linalg.norm(palette[:, None] - palette[None], axis=2) + np.eye(len(palette))
    assert len(palette) == 48
    assert away.min() > 0.05


@needs_pdftoppm
def test_the_command_writes_a_profile_that_the_simulator_reads(tmp_path: Path, printed_chart: Raster) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), photographed(printed_chart, "office"))
    result = CliRunner().invoke(colour, [str(photo), "--name", "inkjet"], catch_exceptions=False)
    assert "CIEDE2000 of 144 colours" in result.output
    profile = read_profile(tmp_path / "photo.colour.json")
    assert (profile.name, profile.chart, len(profile.palette)) == ("inkjet", "photo.png", 48)
    told = CliRunner().invoke(colour, [str(photo), "--json"], catch_exceptions=False).output
    assert json.loads(told)["ciede2000"]["mean"] == profile.residual


@needs_pdftoppm
@pytest.mark.parametrize(
    ("camera_model", "distance", "words"),
    [("office", 3.0, "not in this photo"), ("bright", 0.42, "burnt out"), ("fog", 0.42, "look nearly alike")],
)
def test_a_useless_photo_is_refused_in_one_sentence(
    tmp_path: Path, printed_chart: Raster, camera_model: str, distance: float, words: str
) -> None:
    image = photographed(printed_chart, "office" if camera_model == "office" else "plain", distance).astype(float)
    if camera_model == "bright":
        image = image * 1.6
    if camera_model == "fog":
        image = 140 + 0.12 * image
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.clip(image, 0, 255).astype(np.uint8))
    with pytest.raises(UsageError, match=words):
        CliRunner().invoke(colour, [str(photo)], catch_exceptions=False, standalone_mode=False)
    assert list(tmp_path.iterdir()) == [photo]


def test_a_photo_without_a_chart_and_one_that_is_none_are_refused(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.full((480, 640, 3), 90, np.uint8))
    with pytest.raises(UsageError, match=r"0 of its 4 corner markers are seen\); photograph the whole sheet"):
        CliRunner().invoke(colour, [str(photo)], catch_exceptions=False, standalone_mode=False)
    with pytest.raises(UsageError, match=r"gone\.png cannot be read"):
        CliRunner().invoke(colour, [str(tmp_path / "gone.png")], catch_exceptions=False, standalone_mode=False)
