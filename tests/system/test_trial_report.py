"""A trial's report as people see it: in a real browser, from the disk, on a desk and on a phone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from selenium import webdriver

from taintwatch_calibration.trial.matrix import Cell
from taintwatch_calibration.trial.report import write_report
from taintwatch_calibration.trial.scored import ScoredClip, Trial
from tests.system.browser import MISSING, chromium, errors_of
from tests.trial_scene import scored_clip

pytestmark = pytest.mark.skipif(MISSING, reason="chromium or its driver is missing")


def clip_with_picture(number: int, light: str, distance_m: float, angle_deg: float) -> ScoredClip:
    condition = ("attack", "control", "clean")[number % 3]
    _, jpeg = cv2.imencode(".jpg", np.full((60, 80, 3), 30 * (number % 8), np.uint8))
    picture = "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
    scores = [float(value) for value in np.random.default_rng(number).normal(number % 3, 1, 20)]
    clip = scored_clip(
        condition,  # type: ignore[arg-type]
        [score < 1 for score in scores],
        scores,
        cell=Cell(light, distance_m, angle_deg),
        name=f"a-video-with-quite-a-long-name-that-has-no-space-{number}.mp4",
    )
    return replace(clip, examples=[(0.3, picture)])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    places = [(light, d, a) for light in ("office", "dim") for d in (0.2, 0.3, 0.4, 0.6) for a in (-30.0, 0.0, 30.0)]
    clips = tuple(clip_with_picture(3 * i + kind, *place) for i, place in enumerate(places) for kind in range(3))
    settings = {"model": "toy", "model_sha256": "ab" * 32, "calibrated": True}
    trial = Trial(clips, {"tight": 1.0}, settings)
    return write_report(trial, "Lobby", tmp_path_factory.mktemp("report")).as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_every_picture_is_shown(browser: webdriver.Chrome, page: str, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return [...document.images].every(each => each.naturalWidth > 0)")
    assert browser.execute_script("return document.images.length") == 18
    assert browser.execute_script("return document.querySelectorAll('table.heat-map').length") == 8
    assert errors_of(browser) == []


def test_nothing_but_the_file_itself_is_fetched(browser: webdriver.Chrome, page: str) -> None:
    browser.get(page)
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert [address for address in fetched if not address.startswith("data:")] == []


def test_axe_finds_no_serious_hindrance(browser: webdriver.Chrome, page: str) -> None:
    pytest.importorskip("axe_core_python")
    browser.get(page)
    browser.execute_script(resources.files("axe_core_python").joinpath("axe.min.js").read_text())
    found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
    serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], [node["html"] for each in found for node in each["nodes"]][:5]


def test_the_page_is_one_file(page: str) -> None:
    folder = Path(page.removeprefix("file://")).parent
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
