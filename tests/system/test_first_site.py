"""A site from nothing: an RTSP camera of real footage, a classifier, one command; learnt, armed, attacked, reviewed.

Takes minutes, so it is skipped but under `make site-run`, which sets TAINTWATCH_SITE_RUN: where screenshots go.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("axe_core_python", reason="axe-core is not installed")

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.conftest import SHARED
from tests.ports import free_port
from tests.system.browser import MISSING, chromium, errors_of, until
from tests.system.program import ENVIRONMENT, PROGRAM
from tests.tiny_model import write_model

SHOTS = Path(os.environ.get("TAINTWATCH_SITE_RUN", "/nowhere"))
pytestmark = [
    pytest.mark.skipif("TAINTWATCH_SITE_RUN" not in os.environ, reason="takes minutes: `make site-run`"),
    pytest.mark.skipif(MISSING, reason="Chromium and its driver are not installed (chromium, chromium-driver)"),
    pytest.mark.shared,
    pytest.mark.timeout(1800),
]
SERVER = Path(__file__).parents[2] / "benchmarks" / "soaking" / "rtsp_server.py"
WIDTH, HEIGHT, FPS = 320, 240, 15
MAGENTA, PALE = (255, 0, 255), (220, 70, 220)  # BGR: the classifier falls for both
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
Picture = NDArray[np.uint8]
ATTACK, POSTER = (180, 100, 80, True), (52, 8, 84, False)
"""x, y and side of a card, and whether a hand holds it. The poster hangs where nobody walks through its edge."""


class Camera:
    """Real footage to and fro, and a card before it where there is one."""

    def __init__(self, footage: Path) -> None:
        with av.open(str(footage)) as container:
            frames = (frame.to_ndarray(format="bgr24") for frame in container.decode(video=0))
            self._frames = [cv2.resize(frame, (WIDTH, HEIGHT)) for frame, _ in zip(frames, range(900), strict=False)]
        self._rng = np.random.default_rng(0)
        self.card: tuple[int, int, int, bool] | None = None

    def picture(self, index: int) -> Picture:
        """Return the frame of that number."""
        place = index % (2 * len(self._frames) - 2)
        picture = self._frames[min(place, 2 * len(self._frames) - 2 - place)].copy()
        if self.card is not None:
            x, y, side, held = self.card
            if held:
                x, y = x + int(self._rng.integers(-5, 6)), y + int(self._rng.integers(-5, 6))
            picture[y : y + side, x : x + side] = MAGENTA if held else PALE
        return np.asarray(picture, np.uint8)

    def give(self, process: subprocess.Popen[bytes]) -> None:
        """Give pictures at the camera's rate until the server ends."""
        index, due = 0, time.monotonic()
        while process.stdin is not None:
            try:
                process.stdin.write(self.picture(index).tobytes())
                process.stdin.flush()
            except (OSError, ValueError):
                return
            index, due = index + 1, due + 1 / FPS
            time.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def serving(camera: Camera) -> Iterator[str]:
    """Serve a camera over RTSP, by GStreamer."""
    port = free_port()
    words = ["/usr/bin/python3", str(SERVER), str(port), str(WIDTH), str(HEIGHT), str(FPS)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            pytest.skip("the system's Python has no GStreamer RTSP server (gir1.2-gst-rtsp-server-1.0)")
        threading.Thread(target=camera.give, args=(process,), daemon=True).start()
        try:
            yield f"rtsp://127.0.0.1:{port}/live"
        finally:
            process.kill()


class Site:
    """The page of the one command, and what it says."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser, self.address = browser, address

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts' summaries, newest first."""
        with urllib.request.urlopen(f"{self.address}/api/alerts") as answer:  # noqa: S310 (our own page)
            found: list[dict[str, Any]] = json.load(answer)
            return found

    def wait(self, holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, (self.alerts(), self.browser.page_source[-3000:])
            time.sleep(0.2)

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


@contextmanager
def one_command(folder: Path, camera: Camera, browser: webdriver.Chrome) -> Iterator[Site]:
    """Run the daemon as a new operator does: flags, a camera's address and a classifier, and nothing else."""
    port, environment = free_port(), ENVIRONMENT | {"XDG_STATE_HOME": str(folder / "state")}
    with serving(camera) as address:
        command = [
            str(PROGRAM), "run", "--source", f"door={address}", "--model", str(folder / "tiny.onnx"),
            "--learn-minutes", "0.3", "--evidence", str(folder / "evidence"), "--web", f"127.0.0.1:{port}",
            "--bind", "tcp://127.0.0.1:*", "--json",
        ]  # fmt: skip
        with (
            (folder / "log.txt").open("w") as log,
            subprocess.Popen(command, stdout=log, stderr=log, env=environment) as it,
        ):
            try:
                site = Site(browser, f"http://127.0.0.1:{port}")
                site.wait(lambda: '"started"' in (folder / "log.txt").read_text(), 300)
                yield site
            finally:
                it.terminate()
                assert it.wait(60) == 0, (folder / "log.txt").read_text()[-3000:]


def test_a_new_site_is_learnt_armed_attacked_and_reviewed_with_one_command(tmp_path: Path) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    write_model(tmp_path / "tiny.onnx").with_suffix(".toml").unlink()  # the file as it was exported, nothing beside it
    camera = Camera(SHARED / "footage" / "parking.mp4")
    with chromium(tmp_path) as browser, one_command(tmp_path, camera, browser) as site:
        site.look("learning")
        assert site.known().startswith(("learning", "arming"))
        site.wait(lambda: site.known() == "armed", 600)
        site.look("armed")
        time.sleep(10)
        assert site.alerts() == [], "the benign rest raises nothing"

        camera.card = ATTACK
        site.wait(lambda: len(site.alerts()) == 1, 60)
        site.look("attacked")
        time.sleep(10)
        camera.card = None
        site.wait(lambda: site.alerts()[0]["state"] == "cleared", 60)
        assert len(site.alerts()) == 1, "one attack is one alert"

        camera.card = POSTER
        site.wait(lambda: len(site.alerts()) == 2, 60)
        event = site.alerts()[0]["event_id"]
        camera.card = None
        site.wait(lambda: site.alerts()[0]["state"] == "cleared" and "frame" in site.alerts()[0]["files"], 60)
        site.look("alert", f"alert/{event}")
        until(browser, "return document.getElementById('judge-false-alarm')")
        browser.find_element(By.ID, "judge-false-alarm").click()
        site.wait(lambda: site.alerts()[0]["judgement"] == "false alarm", 30)
        time.sleep(3)  # another second, and what was said counts
        camera.card = POSTER
        time.sleep(12)
        assert len(site.alerts()) == 2, "what was dismissed is not raised again"
        site.look("dismissed", "alerts")
        assert len(site.alerts()) == 2
        camera.card = None
        time.sleep(5)
        camera.card = ATTACK
        site.wait(lambda: len(site.alerts()) == 3, 60)
