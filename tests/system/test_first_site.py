"""A site from nothing: an RTSP camera of real footage, an own classifier, one command; learnt, attacked, reviewed.

The attack is a patch that `taintwatch craft patch` makes against that classifier, the poster a busy print that the
detector takes for one. Takes about ten minutes, so it is skipped but under `make site-run`, which sets
TAINTWATCH_SITE_RUN: where screenshots, the patch (crafted once) and the measured times go.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("axe_core_python", reason="axe-core is not installed")
pytest.importorskip("torch", reason="torch is not installed: the patch is crafted with it")

from selenium import webdriver
from selenium.webdriver.common.by import By

from benchmarks.detection.prints import busy_prints
from benchmarks.held_print import HeldPrint
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.image_file import read_image
from tests.conftest import SHARED
from tests.ports import free_port
from tests.system.browser import MISSING, chromium, errors_of, until
from tests.system.footage_camera import FootageCamera, serving
from tests.system.program import ENVIRONMENT, PROGRAM

SHOTS = Path(os.environ.get("TAINTWATCH_SITE_RUN", "/nowhere"))
pytestmark = [
    pytest.mark.skipif("TAINTWATCH_SITE_RUN" not in os.environ, reason="takes ten minutes: `make site-run`"),
    pytest.mark.skipif(MISSING, reason="Chromium and its driver are not installed (chromium, chromium-driver)"),
    pytest.mark.shared,
    pytest.mark.timeout(3600),
]
MODEL, NAMES = SHARED / "models" / "mobilenet_v2_imagenet.onnx", SHARED / "models" / "imagenet_labels.json"
TARGET = "toaster"
LEARN_MINUTES = 1.0
MIDDLE, PLACE = (0.5, 0.55), (0.62, 0.42)
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


class Site:
    """The page of the one command, and what it says."""

    def __init__(self, browser: webdriver.Chrome, address: str, log: Path) -> None:
        self.browser, self.address, self.log = browser, address, log

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}") as answer:  # noqa: S310 (our own page)
            return json.load(answer)

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts' summaries, newest first."""
        found: list[dict[str, Any]] = self.ask("/api/alerts")
        return found

    def wait(self, holds: Callable[[], bool], seconds: float) -> float:
        """Wait until something holds; return after how many seconds."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() < began + seconds, (self.alerts(), self.browser.page_source[-3000:])
            time.sleep(0.1)
        return round(time.monotonic() - began, 1)

    def frames(self) -> int:
        """Return how many frames were judged so far, as the log said last."""
        told = re.findall(r'^\{"kind": "status", "frames": (\d+)', self.log.read_text(), re.MULTILINE)
        return int(told[-1]) if told else 0

    def judge(self, count: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until so many more frames were judged, however slow that is here, or something holds; say whether."""
        first = self.frames()
        self.wait(lambda: until() or self.frames() >= first + count, 600)
        return until()

    def cleared(self) -> bool:
        """Whether the newest alert is over, with its pictures kept."""
        newest = self.alerts()[0]
        return newest["state"] == "cleared" and "frame" in newest["files"]

    def open(self, view: str) -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.address}/#{view}")
        until(self.browser, "return document.documentElement.dataset.ready")

    def look(self, name: str, view: str = "live") -> None:
        """Take a screenshot of a view at each size, and let axe look at it."""
        axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text()
        for size, (width, height) in SIZES.items():
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
            self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            self.open(view)
            if view == "live":
                until(self.browser, "return document.querySelector('.camera')?.dataset.frame")
            time.sleep(1)
            shot = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
            (SHOTS / f"{name}-{size}.png").write_bytes(base64.b64decode(shot))
            assert self.browser.execute_script("return document.documentElement.scrollWidth") <= width
            self.browser.execute_script(axe)
            found = self.browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
            assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == [], (name, size)
        assert errors_of(self.browser) == []

    def known(self) -> str:
        """Return what the camera's card says it is judged by."""
        text: str | None = self.browser.execute_script("return document.querySelector('.reference')?.textContent")
        return text or ""

    def dismiss(self) -> None:
        """Say on the page that an alert was a false alarm."""
        until(self.browser, "return document.getElementById('judge-false-alarm')")
        self.browser.find_element(By.ID, "judge-false-alarm").click()
        self.wait(lambda: self.alerts()[0]["judgement"] == "false alarm", 30)
        time.sleep(3)  # another second, and what was said counts


def crafted_patch() -> NDArray[np.uint8]:
    """Return a patch against the classifier, (64, 64, 3) BGR, crafted once and kept beside the screenshots."""
    folder = SHOTS / "patch"
    if not (folder / "recipe.toml").is_file():
        command = [
            str(PROGRAM), "craft", "patch", "--model", str(MODEL), "--class-names", str(NAMES),
            "--images", str(SHARED / "imagenet"), "--max-images", "300", "--target", TARGET, "--size", "0.35",
            "--size", "0.45", "--profile", "generic", "--camera", "office", "--rule", "adam", "--stop-at", "0.97",
            "--seed", "0", "--out", str(folder),
        ]  # fmt: skip
        subprocess.run(command, check=True, env=ENVIRONMENT)
    return np.asarray(read_image(folder / "pattern.png"), np.uint8)


@contextmanager
def one_command(folder: Path, camera: FootageCamera, browser: webdriver.Chrome) -> Iterator[Site]:
    """Run the daemon as a new operator does: flags, a camera's address and a classifier, and nothing else."""
    port, environment = free_port(), ENVIRONMENT | {"XDG_STATE_HOME": str(folder / "state")}
    (folder / "classifier.onnx").symlink_to(MODEL)  # the file as it was exported, nothing beside it
    with serving(camera) as address:
        command = [
            str(PROGRAM), "run", "--source", f"door={address}", "--model", str(folder / "classifier.onnx"),
            "--labels", str(NAMES), "--learn-minutes", str(LEARN_MINUTES), "--evidence", str(folder / "evidence"),
            "--web", f"127.0.0.1:{port}", "--bind", "tcp://127.0.0.1:*", "--json",
        ]  # fmt: skip
        with (
            (folder / "log.txt").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log, env=environment) as it,
        ):
            try:
                site = Site(browser, f"http://127.0.0.1:{port}", folder / "log.txt")
                site.wait(lambda: '"started"' in (folder / "log.txt").read_text(), 600)
                yield site
            finally:
                it.terminate()
                assert it.wait(60) == 0, (folder / "log.txt").read_text()[-3000:]


def learn_and_watch(site: Site, camera: FootageCamera) -> dict[str, Any]:
    """Let the camera be learnt on the first half of its footage; all of the second raises nothing."""
    site.look("learning")
    assert site.known().startswith(("learning", "arming"))
    armed = site.wait(lambda: site.known() == "armed", 900)
    camera.later()
    first = site.frames()
    site.look("armed")
    time.sleep(camera.seconds)
    site.judge(100)
    assert site.alerts() == [], "the benign rest raises nothing"
    return {"armed_after_s": armed, "benign_s": round(camera.seconds, 1), "benign_frames": site.frames() - first}


def attack(site: Site, camera: FootageCamera, patch: NDArray[np.uint8]) -> dict[str, Any]:
    """Hold the patch before the camera for half a minute: one alert, of its label, where it is."""
    camera.shown = HeldPrint(patch, MIDDLE, 0.4, held=True)
    after = site.wait(lambda: len(site.alerts()) == 1, 600)
    site.look("attacked")
    time.sleep(20)
    site.judge(40)
    (alert,) = site.alerts()
    region = site.ask(f"/api/alerts/{alert['event_id']}")["records"][-1]["body"]["region"]["box"]
    share = overlap(region, camera.shown.box(camera.width, camera.height))
    camera.shown = None
    cleared = site.wait(site.cleared, 600)
    (alert,) = site.alerts()
    assert alert["label"] == TARGET
    assert share > 0.5, "the region lies on the patch"
    site.look("attack", f"alert/{alert['event_id']}")
    return {"alert_after_s": after, "cleared_after_s": cleared, "region_on_patch": round(share, 2)}


def overlap(box: list[int], other: tuple[float, float, float, float]) -> float:
    """Return the share of `box` that lies in `other`; both (x, y, width, height)."""
    width, height = (
        max(0.0, min(box[axis] + box[axis + 2], other[axis] + other[axis + 2]) - max(box[axis], other[axis]))
        for axis in (0, 1)
    )
    return width * height / (box[2] * box[3])


def raise_a_poster(site: Site, camera: FootageCamera) -> tuple[HeldPrint, int]:
    """Hang busy prints before the camera until one is taken for an attack; return it, and which it was."""
    prints = busy_prints(12, np.full((1, 128, 128, 3), 128, np.uint8), np.random.default_rng(0))
    for number, picture in enumerate(prints):
        camera.shown = HeldPrint(picture, PLACE, 0.4, held=False)
        if site.judge(25, lambda: len(site.alerts()) == 2):
            return camera.shown, number
        camera.shown = None
        site.judge(8)
    pytest.fail("none of the busy prints is taken for an attack: the run needs another false alarm")


def test_a_new_site_is_learnt_armed_attacked_and_reviewed_with_one_command(tmp_path: Path) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    patch, camera = crafted_patch(), FootageCamera(SHARED / "footage" / "parking.mp4")
    with chromium(tmp_path) as browser, one_command(tmp_path, camera, browser) as site:
        measured = learn_and_watch(site, camera)
        measured |= attack(site, camera, patch)
        poster, number = raise_a_poster(site, camera)
        event = site.alerts()[0]["event_id"]
        camera.shown = None
        site.wait(site.cleared, 600)
        site.look("alert", f"alert/{event}")
        site.dismiss()
        camera.shown = poster
        site.judge(60)
        assert len(site.alerts()) == 2, "what was dismissed is not raised again"
        site.look("dismissed", "alerts")
        camera.shown = None
        site.judge(15)
        camera.shown = HeldPrint(patch, PLACE, 0.4, held=True)
        again = site.wait(lambda: len(site.alerts()) == 3, 600)
        assert site.alerts()[0]["label"] == TARGET, "an attack in the poster's place is raised"
        measured |= {"poster": number, "attack_on_the_poster_after_s": again, "alerts": len(site.alerts())}
    (told,) = (
        json.loads(line)
        for line in (tmp_path / "log.txt").read_text().splitlines()
        if line.startswith('{"kind": "summary"')
    )
    measured |= {"frames": told["frames"], "dropped": told["drops"], "rejected": told["rejected"]}
    write_json(SHOTS / "first_site.json", machine() | measured)
