"""The built documentation as readers use it: `make docs-check` builds it and runs these; they are skipped elsewhere."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.system.browser import MISSING, chromium, errors_of, until

SITE = Path(os.environ.get("TAINTWATCH_SITE", "/nowhere"))
pytestmark = [
    pytest.mark.skipif(not SITE.is_dir(), reason="`make docs-check` builds the site and sets TAINTWATCH_SITE"),
    pytest.mark.skipif(MISSING, reason="Chromium and its driver are not installed (chromium, chromium-driver)"),
    pytest.mark.timeout(900),
]
PAGES = sorted(path.name for path in SITE.glob("*.html") if path.name != "404.html")  # it names the host's own paths
DESKTOP, PHONE = (1400, 1000), (390, 844)
LOADED = {("script", "src"), ("img", "src"), ("link", "href")}  # what a page fetches by itself
CUT_OFF = """
const scrolls = element => {
  for (let one = element; one && one !== document.body; one = one.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(one).overflowX)) return true;
  return false;
};
return [...document.querySelectorAll('.md-content table, .md-content pre, .md-content img')]
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !scrolls(one))
  .map(one => one.outerHTML.slice(0, 100));
"""
BROKEN = "return [...document.images].filter(one => one.complete && !one.naturalWidth).map(one => one.src)"


class Links(HTMLParser):
    """What a page names: (tag, attribute, address), and its own anchors."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None and dict(attrs).get("rel") != "canonical":
                self.found.append((tag, name, value))
            elif name in ("id", "name") and value:
                self.anchors.add(value)


@cache
def links_of(page: Path) -> Links:
    return Links(page)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with chromium(tmp_path_factory.mktemp("chromium"), offline) as driver:
        yield driver


def look(driver: webdriver.Chrome, size: tuple[int, int], scheme: str = "light") -> None:
    """Take the size of a screen, and the reader's preference of light or dark."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preference = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preference})


def broken_links(page: Path) -> list[str]:
    """Return the links of a page within the site whose file or anchor is not there."""
    found = []
    for _, _, address in links_of(page).found:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            found.append(f"{address}: no such file")
        elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in links_of(target).anchors:
            found.append(f"{address}: no such place in {target.name}")
    return found


def test_no_link_within_the_site_is_broken() -> None:
    assert len(PAGES) > 40
    found = {page: broken for page in PAGES if (broken := broken_links(SITE / page))}
    assert found == {}


def test_nothing_is_fetched_from_elsewhere() -> None:
    loaded = {
        (page, link) for page in PAGES for tag, name, link in links_of(SITE / page).found if (tag, name) in LOADED
    }
    assert [found for found in sorted(loaded) if urlsplit(found[1]).netloc] == []


def test_the_search_finds_a_page_without_a_network_and_leads_there(browser: webdriver.Chrome, address: str) -> None:
    look(browser, DESKTOP)
    browser.get(f"{address}/index.html")
    browser.find_element(By.CSS_SELECTOR, "input[data-md-component=search-query]").send_keys("Mahalanobis")
    until(browser, "return document.querySelectorAll('.md-search-result__link').length > 0")
    browser.execute_script("document.querySelector('.md-search-result__link').click()")
    until(browser, "return !location.pathname.endsWith('/index.html')")
    assert "Mahalanobis" in browser.find_element(By.CSS_SELECTOR, "article").text
    assert errors_of(browser) == []


def test_tabs_and_the_list_beside_the_page_lead_on(browser: webdriver.Chrome, address: str) -> None:
    look(browser, DESKTOP)
    browser.get(f"{address}/index.html")
    until(browser, "return getComputedStyle(document.querySelector('.md-tabs__list')).opacity === '1'")
    tabs = [tab.text for tab in browser.find_elements(By.CSS_SELECTOR, ".md-tabs__link")]
    assert tabs == ["Start", "How to", "Reference", "Explanation", "Results"]
    browser.find_element(By.LINK_TEXT, "Tutorial").click()
    until(browser, "return document.querySelector('h1').innerText.startsWith('Tutorial')")


def test_on_a_phone_the_menu_opens(browser: webdriver.Chrome, address: str) -> None:
    look(browser, PHONE)
    browser.get(f"{address}/index.html")
    browser.find_element(By.CSS_SELECTOR, "label.md-header__button[for=__drawer]").click()
    until(browser, "return document.querySelector('.md-sidebar--primary').getBoundingClientRect().left >= 0")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_no_table_line_or_figure_is_cut_off(browser: webdriver.Chrome, address: str, size: tuple[int, int]) -> None:
    look(browser, size)
    found = {}
    for page in PAGES:
        browser.get(f"{address}/{page}")
        found[page] = [*browser.execute_script(CUT_OFF), *browser.execute_script(BROKEN), *errors_of(browser)]
    assert {page: wrong for page, wrong in found.items() if wrong} == {}


def test_who_prefers_the_dark_gets_it(browser: webdriver.Chrome, address: str) -> None:
    look(browser, DESKTOP, "dark")
    browser.get(f"{address}/index.html")
    browser.execute_script("localStorage.clear()")  # what was shown at the first visit is kept
    browser.refresh()
    until(browser, "return document.body.getAttribute('data-md-color-scheme') === 'slate'")
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in colour.strip("rgb()").split(",")[:3]) < 80
