"""Regions drawn on the page, by mouse and by keys: the lines that it shows are a configuration's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from taintwatch.config.load import parse_config
from taintwatch.web.live import LiveState
from tests.system.browser import MISSING, chromium, errors_of, until
from tests.web_scene import a_status, a_step, serving, web_config

pytestmark = [
    pytest.mark.skipif(MISSING, reason="Chromium and its driver are not installed (chromium, chromium-driver)"),
    pytest.mark.timeout(600),
]
CAMERA = '[[camera]]\nname = "door"\nsource = "sim:"\n'


def lines(browser: webdriver.Chrome) -> str:
    return str(browser.execute_script("return document.querySelector('.regions textarea').value"))


def test_what_is_drawn_by_mouse_and_by_keys_is_a_configuration(tmp_path: Path) -> None:
    live = LiveState()
    with serving(web_config(), live) as server, chromium(tmp_path) as browser:
        browser.get("http://{}:{}/".format(*server.address))
        live.progress(a_status("door"))
        step = a_step(1, size=(480, 640))
        live.observe(step)
        until(browser, "return document.querySelector('.camera .regions')")
        browser.execute_script("document.querySelector('.regions').open = true")
        drawing, close, _ = browser.find_elements(By.CSS_SELECTOR, ".regions button")
        drawing.click()
        sketch = browser.find_element(By.CSS_SELECTOR, "canvas.sketch")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", sketch)
        width, height = sketch.size["width"], sketch.size["height"]

        def to(x: float, y: float) -> tuple[int, int]:
            return round((x - 0.5) * width), round((y - 0.5) * height)

        chain = ActionChains(browser)
        chain.move_to_element_with_offset(sketch, *to(0.2, 0.25)).click_and_hold()
        chain.move_to_element_with_offset(sketch, *to(0.6, 0.75)).release().perform()
        for corner in ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9)):
            ActionChains(browser).move_to_element_with_offset(sketch, *to(*corner)).click().perform()
        close.click()
        browser.execute_script("const kind = document.querySelector('.regions select'); kind.value = 'mask'; "
                               "kind.dispatchEvent(new Event('change'))")  # fmt: skip
        keys = (Keys.ENTER, Keys.ARROW_RIGHT * 10, Keys.ENTER, Keys.ARROW_UP * 20, Keys.ENTER, "c")
        sketch.send_keys(*keys)
        told = lines(browser)
        assert errors_of(browser) == []
    config = parse_config(CAMERA + told, "drawn.toml")
    box, triangle = config.camera[0].region
    (mask,) = config.camera[0].mask
    assert box.box == pytest.approx((0.2, 0.25, 0.4, 0.5), abs=0.01)
    assert (box.name, triangle.name) == ("region", "region2")
    assert triangle.polygon is not None
    assert [value for corner in triangle.polygon for value in corner] == pytest.approx(
        [0.1, 0.1, 0.9, 0.1, 0.5, 0.9], abs=0.01
    )
    assert mask.polygon is not None
    (x, y), across, up = mask.polygon
    assert across == pytest.approx((x + 0.1, y))
    assert up == pytest.approx((x + 0.1, y - 0.2))
