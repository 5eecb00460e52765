"""Webcams, at their seam: no machine that tests this has one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from taintwatch.sources.source import SourceSettings
from taintwatch.sources.webcam import WebcamSource, v4l2_capture
from taintwatch_models.errors import BadFrame, SourceError


class FakeCapture:
    """Gives what it is told; hangs in `read` until `hang` is set, where there is one."""

    def __init__(self, answers: list[tuple[bool, Any]], *, opened: bool = True, hang: threading.Event | None = None):
        self._answers = iter(answers)
        self._opened = opened
        self._hang = hang
        self.released = threading.Event()

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._opened

    def read(self) -> tuple[bool, Any]:
        if self._hang is not None:
            self._hang.wait()
        return next(self._answers)

    def release(self) -> None:
        self.released.set()


PICTURE = np.full((4, 6, 3), 7, np.uint8)


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_webcam_gives_its_pictures_and_is_released() -> None:
    capture = FakeCapture([(True, PICTURE), (True, PICTURE + 1)])
    devices: list[str] = []

    def factory(device: str, settings: SourceSettings) -> FakeCapture:
        devices.append(device)
        return capture

    source = WebcamSource(3, capture_factory=factory)
    source.open()
    grabs = [source.read(), source.read()]
    source.close()
    assert [grab.image[0, 0, 0] for grab in grabs if grab] == [7, 8]
    assert devices == ["/dev/video3"]
    assert capture.released.wait(30.0)


def test_a_device_that_is_in_use_is_an_error_and_released() -> None:
    capture = FakeCapture([], opened=False)
    with pytest.raises(SourceError, match="/dev/video0 cannot be opened"):
        WebcamSource(0, capture_factory=lambda device, settings: capture).open()
    assert capture.released.wait(30.0)


def test_a_device_that_is_missing_is_said_with_what_to_do(tmp_path: Path) -> None:
    missing = str(tmp_path / "video9")
    with pytest.raises(SourceError, match=r"there is no camera .*video9: plug it in"):
        WebcamSource(missing).open()


def test_a_webcam_that_was_pulled_out_is_an_error() -> None:
    source = WebcamSource(0, capture_factory=lambda device, settings: FakeCapture([(False, None)]))
    source.open()
    with pytest.raises(SourceError, match="still plugged in"):
        source.read()
    source.close()


def test_an_empty_picture_is_a_bad_frame() -> None:
    source = WebcamSource(0, capture_factory=lambda device, settings: FakeCapture([(True, None)]))
    source.open()
    with pytest.raises(BadFrame):
        source.read()
    source.close()


def test_a_read_that_hangs_is_given_up_and_the_device_released_when_it_returns(hang: threading.Event) -> None:
    captures = [FakeCapture([(True, PICTURE)], hang=hang), FakeCapture([(True, PICTURE)])]
    waiting = iter(captures)
    source = WebcamSource(
        0, SourceSettings(read_timeout_s=0.05), capture_factory=lambda device, settings: next(waiting)
    )
    source.open()
    with pytest.raises(SourceError, match=r"gave no picture for 0.05 s"):
        source.read()
    source.close()
    assert not captures[0].released.is_set()
    source._settings = SourceSettings(read_timeout_s=30.0)
    source.open()  # a second attempt is not held up by the first
    assert source.read() is not None
    source.close()
    hang.set()
    assert captures[0].released.wait(30.0)


def test_a_device_that_hangs_for_ever_does_not_take_a_thread_for_each_attempt(hang: threading.Event) -> None:
    captures: list[FakeCapture] = []

    def factory(device: str, settings: SourceSettings) -> FakeCapture:
        hang.wait()
        captures.append(FakeCapture([(True, PICTURE)]))
        return captures[-1]

    source = WebcamSource(0, SourceSettings(open_timeout_s=0.01), capture_factory=factory)
    for _ in range(4):
        with pytest.raises(SourceError, match="did not open within"):
            source.open()
    for _ in range(20):
        with pytest.raises(SourceError, match="hangs: 4 earlier calls have not returned; unplug it"):
            source.open()
    assert sum(thread.name == "webcam /dev/video0" for thread in threading.enumerate()) == 4
    hang.set()
    for worker in source._left:
        worker._thread.join(30.0)
    assert all(capture.released.is_set() for capture in captures)
    source._settings = SourceSettings(open_timeout_s=30.0)
    source.open()
    assert source.read() is not None
    source.close()


def test_an_open_that_hangs_is_given_up_and_the_device_released_when_it_returns(hang: threading.Event) -> None:
    capture = FakeCapture([])

    def factory(device: str, settings: SourceSettings) -> FakeCapture:
        hang.wait()
        return capture

    with pytest.raises(SourceError, match="did not open within"):
        WebcamSource(0, SourceSettings(open_timeout_s=0.05), capture_factory=factory).open()
    hang.set()
    assert capture.released.wait(30.0)


class DeviceSettings:
    """Stands for `cv2.VideoCapture`: notes what is asked of the device, in order."""

    def __init__(self, *opened: object) -> None:
        self.opened, self.asked = opened, list[tuple[int, float]]()

    def set(self, setting: int, value: float) -> None:
        self.asked.append((setting, value))


def capture_of(settings: SourceSettings, device: Path, monkeypatch: pytest.MonkeyPatch) -> DeviceSettings:
    device.touch()
    monkeypatch.setattr(cv2, "VideoCapture", DeviceSettings)
    capture = v4l2_capture(str(device), settings)
    assert isinstance(capture, DeviceSettings)
    assert capture.opened == (str(device), cv2.CAP_V4L2)
    return capture


@pytest.mark.parametrize("pixel_format", ["MJPG", "YUYV"])
def test_a_webcam_is_asked_for_its_format_first_and_then_for_size_and_rate(
    pixel_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SourceSettings(pixel_format=pixel_format, width=1280, height=720, capture_fps=15.0)
    assert capture_of(settings, tmp_path / "video0", monkeypatch).asked == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixel_format)),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 15.0),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]


def test_of_a_webcam_nothing_is_asked_that_was_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = capture_of(SourceSettings(), tmp_path / "video0", monkeypatch).asked
    assert asked == [(cv2.CAP_PROP_BUFFERSIZE, 1)]


@pytest.mark.parametrize(("pixel_format", "shape"), [("MJPG", (4, 6, 3)), ("YUYV", (4, 6, 3)), ("GREY", (4, 6))])
def test_a_picture_of_any_format_comes_as_blue_green_red(pixel_format: str, shape: tuple[int, ...]) -> None:
    capture = FakeCapture([(True, np.full(shape, 9, np.uint8))])
    source = WebcamSource(
        0, SourceSettings(pixel_format=pixel_format), capture_factory=lambda device, settings: capture
    )
    source.open()
    grab = source.read()
    source.close()
    assert grab is not None
    assert grab.image.shape == (4, 6, 3)
