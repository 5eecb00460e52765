"""A real headless Chromium, driven over its own driver; everything of it lies in a folder that goes away."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["CHROMIUM", "DRIVER", "MISSING", "PATIENCE_S", "chromium", "errors_of", "until"]

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
MISSING = CHROMIUM is None or DRIVER is None
PATIENCE_S = 60.0  # only so that a page that never comes fails a test instead of the whole run
FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)


@contextmanager
def chromium(folder: Path, *flags: str) -> Iterator[webdriver.Chrome]:
    """Start a browser whose profile lies below `folder`."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_script_timeout(PATIENCE_S)
    try:
        yield driver
    finally:
        driver.quit()


def until(driver: webdriver.Chrome, script: str, *arguments: Any) -> Any:
    """Wait until a script returns something true, and return it."""
    looks: Callable[[webdriver.Chrome], Any] = lambda each: each.execute_script(script, *arguments)  # noqa: E731
    return WebDriverWait(driver, PATIENCE_S, poll_frequency=0.1).until(looks, f"never true: {script}")


def errors_of(driver: webdriver.Chrome) -> list[str]:
    """Return what the browser's console says of errors (also refusals of the content security policy)."""
    entries = driver.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
