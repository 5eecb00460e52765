"""The page as people use it: the whole program, a simulated attack, and a real headless Chromium."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from taintwatch.detection_stack import DetectionStack
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.pipeline import Step
from taintwatch.subjects.expander import WholeFrame
from taintwatch.web.live import LiveState
from taintwatch.web.server import WebServer
from taintwatch_models.calibration_file import Calibration
from taintwatch_models.loading import LoadedModel
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Frame, SecondLook, WindowStatistics, read_only
from tests.fakes import FakeClassifier, FakeDetector, a_prediction, a_verdict
from tests.fleet_scene import fill_history
from tests.ports import free_port
from tests.system.browser import MISSING, PATIENCE_S, chromium, errors_of, until
from tests.system.program import start
from tests.tiny_model import footage, write_model
from tests.web_scene import TOKEN, a_status, a_step, detection, serving, web_config

pytestmark = [
    pytest.mark.skipif(MISSING, reason="Chromium and its driver are not installed (chromium, chromium-driver)"),
    pytest.mark.timeout(600),
]

CONFIG = """\
site = "gate"
[learn]
enabled = false
[model]
path = "{folder}/tiny.onnx"
[[camera]]
name = "door"
source = "sim:{folder}/wall.png?{scene}"
[publish]
bind = "tcp://127.0.0.1:*"
[evidence]
folder = "{folder}/evidence"
clip_before_s = 0.5
clip_after_s = 1.0
min_free_mb = 0.0
[vote]
gap_s = 60.0
[web]
bind = "127.0.0.1:{port}"
"""
REBUILT = """\
[[camera]]
name = "gate"
source = "sim:?loop=1&fps=5"
[detect]
detectors = ["{detector}"]
[publish]
bind = "tcp://127.0.0.1:*"
[web]
bind = "127.0.0.1:{port}"
"""
TRIALS = {
    "title": "Patch at 2 m",
    "attacks": [{"kind": "patch", "target": "toaster", "size": "35% of the picture"}],
    "figures": {
        "detected": {"tight": {"count": 19, "total": 20, "share": 0.95, "low": 0.76, "high": 0.99}},
        "false_positives": {"tight": {"count": 1, "total": 100, "share": 0.01, "low": 0.001, "high": 0.05}},
    },
}
SCENE = "start=3&end=9&duration=14&size=0.6&fps=8&width=160&height=120&loop=1"
OPEN_ROW = (
    "return [...document.querySelectorAll('#alert-rows tr')]"
    ".find((row) => row.innerText.includes('open'))?.dataset.event"
)
# Notes when this browser first showed each alert in the list.
NOTE_ROWS = """
window.firstSeen = {};
const note = () => {
  for (const row of document.querySelectorAll('#alert-rows tr')) window.firstSeen[row.dataset.event] ??= Date.now();
};
note();
window.known = Object.keys(window.firstSeen);
new MutationObserver(note).observe(document.getElementById('alert-rows'), { childList: true });
"""
NEW_ROWS = (
    "return Object.entries(window.firstSeen).filter(([event]) => !window.known.includes(event)).length > 0"
    " && Object.fromEntries(Object.entries(window.firstSeen).filter(([event]) => !window.known.includes(event)))"
)
VIEWS = ("live", "cameras", "alerts", "settings")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon that watches a scene in which a patch comes and goes."""
    folder, port = tmp_path_factory.mktemp("page"), free_port()
    write_model(folder / "tiny.onnx")
    cv2.imwrite(str(folder / "wall.png"), cv2.GaussianBlur(footage(1, size=(120, 160))[0], (0, 0), 3))
    cv2.imwrite(str(folder / "patch.png"), np.full((64, 64, 3), (255, 0, 255), np.uint8))
    (folder / "page.toml").write_text(
        CONFIG.format(folder=folder, port=port, scene=f"patch={folder}/patch.png&{SCENE}")
    )
    with start("run", "--config", folder / "page.toml", "--json") as process:
        assert process.stdout is not None
        assert '"started"' in process.stdout.readline(), process.communicate()[1]
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as it:
        yield it


def look(browser: webdriver.Chrome, address: str, view: str = "live") -> None:
    """Open a view and wait until it shows something."""
    browser.get("about:blank")
    browser.get(f"{address}#{view}")
    until(browser, "return document.documentElement.dataset.ready")
    until(browser, "return !document.getElementById(arguments[0]).hidden", view)
    if view == "live":
        until(browser, "return document.querySelector('.camera')?.dataset.frame")


def test_the_page_shows_a_moving_picture(browser: webdriver.Chrome, address: str) -> None:
    look(browser, address)
    picture = "return document.querySelector('.picture canvas').toDataURL()"
    first, frame = (
        browser.execute_script(picture),
        browser.execute_script("return document.querySelector('.camera').dataset.frame"),
    )
    until(browser, "return Number(document.querySelector('.camera').dataset.frame) > Number(arguments[0])", frame)
    until(browser, f"{picture} !== arguments[0]", first)
    assert errors_of(browser) == []


def test_an_attack_appears_as_an_alert_opens_with_its_evidence_and_clears(
    browser: webdriver.Chrome, address: str
) -> None:
    look(browser, address, "alerts")
    event = until(browser, OPEN_ROW)  # without a reload
    browser.find_element(By.CSS_SELECTOR, f"a[href='#alert/{event}']").click()
    until(browser, "return document.querySelector('#alert-title').innerText.includes('toaster')")
    loaded = (
        "return [...document.querySelectorAll('.evidence img')].filter((each) => each.naturalWidth > 0).length === 2"
    )
    until(browser, loaded)
    until(browser, "return document.querySelector('.evidence video')?.duration > 0")
    until(browser, "return document.querySelector('dl.facts .pill').innerText === 'cleared'")
    published = browser.find_element(By.CSS_SELECTOR, "#alert-body pre").get_attribute("textContent")
    assert "toaster" in str(published)
    assert errors_of(browser) == []


def test_an_alert_appears_by_itself_once_it_is_published(browser: webdriver.Chrome, address: str) -> None:
    """By the time stamps of the message and of the row. How soon depends on the machine: nothing polls the list."""
    look(browser, address, "alerts")
    browser.execute_script(NOTE_ROWS)
    for event, seen_ms in until(browser, NEW_ROWS).items():
        assert seen_ms > published_ms(address, event)
    assert errors_of(browser) == []


def published_ms(address: str, event: str) -> float:
    """When the first record of an alert was published, by its envelope."""
    with urllib.request.urlopen(f"{address}api/alerts/{event}", timeout=PATIENCE_S) as answer:  # noqa: S310 - our own
        first = json.load(answer)["records"][0]
    assert first["body"]["state"] == "raised"
    return float(first["wall_ns"]) / 1e6


def test_an_alert_is_acknowledged_and_given_a_note(browser: webdriver.Chrome, address: str) -> None:
    look(browser, address, "alerts")
    event = until(browser, "return document.querySelector('#alert-rows tr')?.dataset.event")
    browser.get(f"{address}#alert/{event}")
    until(browser, "return document.getElementById('acknowledge')")
    browser.find_element(By.ID, "acknowledge").click()
    until(browser, "return document.getElementById('said').innerText.startsWith('Acknowledged')")
    browser.find_element(By.ID, "note").send_keys("a poster of a toaster")
    browser.find_element(By.ID, "save-note").click()
    until(browser, "return document.getElementById('said').innerText === 'Note saved'")
    look(browser, address, "alerts")
    row = until(browser, "return document.querySelector(`tr[data-event='${arguments[0]}']`)?.innerText", event)
    assert "a poster of a toaster" in row
    assert errors_of(browser) == []


def test_alerts_are_acknowledged_together_and_leafed_through_by_keys(browser: webdriver.Chrome, address: str) -> None:
    look(browser, address, "alerts")
    until(browser, "return document.querySelectorAll('#alert-rows tr').length >= 2")
    browser.find_element(By.CSS_SELECTOR, "[data-since='day']").click()
    until(browser, "return document.querySelectorAll('#timeline .tick').length > 0")
    until(browser, "return document.querySelector('#alert-rows img.thumbnail')?.naturalWidth > 0")
    browser.find_element(By.ID, "choose-all").click()
    browser.find_element(By.ID, "acknowledge-chosen").click()
    unseen = "[...document.querySelectorAll('#alert-rows td:last-child')].some((cell) => cell.innerText === 'no')"
    until(browser, f"return !{unseen}")
    first = browser.execute_script("return document.querySelector('#alert-rows tr').dataset.event")
    browser.get(f"{address}#alert/{first}")
    until(browser, "return !document.getElementById('older').hidden")
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.ARROW_RIGHT)
    until(browser, "return location.hash.startsWith('#alert/') && location.hash !== `#alert/${arguments[0]}`", first)
    until(browser, "return document.getElementById('newer').hash === `#alert/${arguments[0]}`", first)
    body.send_keys("f")
    until(browser, "return document.getElementById('said').innerText.includes('A false alarm')")
    body.send_keys(Keys.ESCAPE)
    until(browser, "return !document.getElementById('alerts').hidden")
    until(browser, "return document.querySelector('#dismissal-list button')")
    browser.execute_script("document.getElementById('dismissed').open = true")
    browser.execute_script("document.querySelector('#dismissal-list button').click()")  # the list is drawn anew
    assert errors_of(browser) == []


def test_overlays_are_switched_off_and_on(browser: webdriver.Chrome, address: str) -> None:
    drawn = (
        "const over = document.querySelector('canvas.over');"
        "return over.getContext('2d').getImageData(0, 0, over.width, over.height).data.some((value) => value > 0)"
    )
    look(browser, address)
    until(browser, drawn)
    browser.find_element(By.ID, "switch-critical").click()
    until(browser, drawn.replace("return", "return !"))
    for name, shown in (("chart", ".chart"), ("vote", ".vote"), ("labels", ".labels")):
        browser.find_element(By.ID, f"switch-{name}").click()
        until(browser, "return document.querySelector(arguments[0]).hidden", shown)
    for name in ("critical", "chart", "vote", "labels"):
        browser.find_element(By.ID, f"switch-{name}").click()
    until(browser, drawn)
    assert errors_of(browser) == []


def test_what_the_classifier_believes_it_sees_is_shown_where_cmag_has_a_say(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    port = free_port()
    # With the bundled model and its reconstructors, and with whichever detector it was calibrated for.
    bundled = json.loads(resources.files("taintwatch_models.bundled").joinpath("signs.calibration.json").read_text())
    detector = "joint" if bundled.get("combination") else "cmag"
    (tmp_path / "rebuilt.toml").write_text(REBUILT.format(port=port, detector=detector))
    with start("run", "--config", tmp_path / "rebuilt.toml", "--json") as process:
        assert process.stdout is not None
        assert '"started"' in process.stdout.readline(), process.communicate()[1]
        look(browser, f"http://127.0.0.1:{port}/")
        shown = "return (({hidden, naturalWidth}) => [hidden, naturalWidth])(document.querySelector('img.rebuilt'))"
        assert browser.execute_script(shown) == [True, 0]
        browser.find_element(By.ID, "switch-reconstruction").click()
        until(browser, f"{shown.replace('return', 'const [hidden, width] =')}; return !hidden && width > 0")
        browser.find_element(By.ID, "switch-reconstruction").click()
        until(browser, "return document.querySelector('img.rebuilt').hidden")
        assert errors_of(browser) == []
        browser.get("about:blank")


def test_a_phone_shows_every_view_without_scrolling_sideways(browser: webdriver.Chrome, address: str) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for view in VIEWS:
            look(browser, address, view)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, view
        look(browser, address)
        assert browser.execute_script("return document.querySelector('.picture').getBoundingClientRect().width") > 340
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert errors_of(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_hindrance(browser: webdriver.Chrome, address: str, scheme: str) -> None:
    pytest.importorskip("axe_core_python")
    axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text()
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    for view in VIEWS:
        look(browser, address, view)
        browser.execute_script(axe)
        found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
        serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
        assert serious == [], (view, [node["html"] for each in found for node in each["nodes"]])


def test_400_cameras_are_searched_grouped_by_site_and_lead_to_their_alerts(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    folder = EvidenceFolder(tmp_path / "kept")
    folder.prepare()
    fill_history(folder.history, time.time_ns())
    rows = "return document.querySelectorAll('#camera-sites tbody tr').length === arguments[0]"
    with serving(web_config(f'site = "shop0"\n[evidence]\nfolder = "{folder.root}"\n')) as server:
        look(browser, "http://{}:{}/".format(*server.address), "cameras")
        until(browser, rows, 400)
        names = "return [...document.querySelectorAll('#camera-sites h2')].map((each) => each.firstChild.textContent)"
        assert browser.execute_script(names)[:2] == ["shop3", "shop5"]  # whose alerts are open
        browser.find_element(By.NAME, "text").send_keys("SHOP3/till0")
        until(browser, rows, 10)
        assert browser.find_element(By.ID, "camera-count").text == "10 of 400 cameras"
        browser.find_element(By.CSS_SELECTOR, "#camera-sites tbody a").click()
        until(browser, "return document.querySelector('#alert-rows tr')?.dataset.event === '3-7'")
        assert errors_of(browser) == []
        browser.get("about:blank")


def test_trials_say_what_was_attacked_and_seen_and_settings_are_words_first(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    (tmp_path / "trials").mkdir()
    rows = "return [...document.querySelectorAll('#trial-list tr')].map((each) => each.innerText)"
    with serving(web_config(trials=str(tmp_path / "trials"))) as server:
        address = "http://{}:{}/".format(*server.address)
        look(browser, address, "trials")
        until(browser, "return document.getElementById('no-trials').checkVisibility()")
        assert "taintwatch trial score" in browser.find_element(By.ID, "no-trials").text
        (tmp_path / "trials" / "one").mkdir()
        (tmp_path / "trials" / "one" / "report.html").write_text("<p>")
        (tmp_path / "trials" / "one" / "report.json").write_text(json.dumps(TRIALS))
        look(browser, address, "trials")
        (told,) = until(browser, f"{rows}.length && {rows.removeprefix('return ')}")
        for words in ("Patch at 2 m", "patch for toaster", "95.0 % (76.0 % to 99.0 %) of 20 frames, tight", "1.00 %"):
            assert words in told
        look(browser, address, "settings")
        until(browser, "return document.querySelectorAll('#settings-body section').length === 4")
        shown = browser.find_element(By.ID, "settings-body").text
        assert "3 suspicious frames of the last 5" in shown
        assert "null" not in shown
        assert not re.search("[0-9a-f]{32}", shown)
        assert errors_of(browser) == []
        browser.get("about:blank")


def test_a_stranger_is_asked_for_the_token_and_then_let_in(browser: webdriver.Chrome, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    live = LiveState()
    live.observe(a_step())
    live.progress(a_status())
    with serving(web_config(token_file=str(token)), live) as server:
        browser.get("http://{}:{}/".format(*server.address))
        assert "toaster" not in browser.page_source
        assert browser.find_elements(By.TAG_NAME, "script") == []
        browser.find_element(By.ID, "token").send_keys(TOKEN)
        browser.find_element(By.TAG_NAME, "button").click()
        until(browser, "return document.querySelector('.camera')?.dataset.frame")
        browser.get("about:blank")
    refusals = [error for error in errors_of(browser) if "401" not in error]
    assert refusals == []


# The middle of the magenta patch as drawn in the picture, and of what the overlay draws over it, on the screen.
CENTRES = """
const [image, over] = document.querySelectorAll('.picture canvas');
const middle = (canvas, wanted) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let x = 0, y = 0, count = 0;
  for (let index = 0; index < data.length; index += 4) {
    if (wanted(data[index], data[index + 1], data[index + 2], data[index + 3])) {
      x += (index / 4) % canvas.width; y += Math.floor(index / 4 / canvas.width); count += 1;
    }
  }
  const place = canvas.getBoundingClientRect();
  const across = place.width / canvas.width, down = place.height / canvas.height;
  return count && [place.left + (x / count) * across, place.top + (y / count) * down];
};
return [
  middle(image, (r, g, b) => r > 180 && b > 180 && g < 80),
  middle(over, (r, g, b, a) => a > 20 && r > 180 && g > 150 && b < 120),
];
"""
LAYOUTS = [(1280, 1000), (1900, 700), (820, 1100), (390, 844)]
NOTICE = "refits.json was damaged, kept as refits.json.damaged; ask again"


SIZES = [(48, 64), (54, 96), (96, 54), (40, 120)]
INPUT = 32


def a_patched_step(size: tuple[int, int], suspicious: bool = True) -> Step:
    """A frame with a magenta patch, and a verdict of `combined` whose window lies on it."""
    height, width = size
    image = np.full((height, width, 3), 90, np.uint8)
    image[height // 2 : height * 7 // 8, width // 8 : width // 2] = (255, 0, 255)
    frame = Frame("door", 0, read_only(image), 1, 1)
    window = WindowStatistics(
        (INPUT // 2, INPUT // 8, INPUT * 3 // 8, INPUT * 3 // 8), 9.0, SecondLook.TAKEN, None, {}, {}
    )
    prediction = replace(a_prediction(frame, 1), window=window)
    (subject,) = WholeFrame()(frame).subjects
    return Step(frame, prediction, (a_verdict(prediction, suspicious),), subject_frame=subject)


def a_detection() -> DetectionStack:
    model = LoadedModel(FakeClassifier(), (FakeDetector(),), Calibration(), Preprocessing((INPUT, INPUT), "stretch"))
    return replace(detection(), model=model)


@contextmanager
def shown(browser: webdriver.Chrome, step: Step, *, layout: tuple[int, int]) -> Iterator[None]:
    """Show one step on a page of this size."""
    live, config = LiveState(), web_config(width=960)
    browser.set_window_size(*layout)
    try:
        with WebServer(lambda: config, a_detection, live) as server:
            live.observe(step)
            live.progress(replace(a_status(), notice=NOTICE))
            look(browser, "http://{}:{}/".format(*server.address))
            yield
    finally:
        browser.set_window_size(1280, 1000)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
def test_the_overlay_lies_where_the_patch_is_in_every_layout_and_aspect_ratio(
    browser: webdriver.Chrome, size: tuple[int, int]
) -> None:
    with shown(browser, a_patched_step(size), layout=LAYOUTS[0]):
        for layout in LAYOUTS:
            browser.set_window_size(*layout)
            picture, drawn = browser.execute_script(CENTRES)
            pixel = browser.execute_script("return document.querySelector('.picture canvas').clientWidth") / size[1]
            assert drawn == pytest.approx(picture, abs=2 * pixel), layout


def test_the_region_of_a_benign_frame_is_a_line_and_not_filled_like_an_alarm(browser: webdriver.Chrome) -> None:
    covered = """
    const over = document.querySelector('.picture canvas.over');
    const data = over.getContext('2d').getImageData(0, 0, over.width, over.height).data;
    let count = 0;
    for (let index = 0; index < data.length; index += 4) count += data[index + 3] > 20 && data[index + 2] < 120;
    return count / (data.length / 4);
    """
    shares = []
    for suspicious in (True, False):
        with shown(browser, a_patched_step((96, 128), suspicious), layout=(1280, 1000)):
            shares.append(browser.execute_script(covered))
            until(browser, "return document.getElementById('notice').innerText === arguments[0]", NOTICE)
    assert shares[0] > 0.13  # the window: three eighths of either side
    assert 0 < shares[1] < 0.6 * shares[0]
