"""Around a run: signals, logs, and how much there is to watch."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from taintwatch.cli.output import RunLength, run_length_of
from taintwatch.config.load import parse_config
from taintwatch.config.sections import Config
from taintwatch.logs import set_up_logging
from taintwatch.process import stop_on_signals
from tests.tiny_model import footage, write_video


def watching(source: Path, more: str = "") -> Config:
    return parse_config(f'[[camera]]\nname = "a"\nsource = "{source}"\n{more}', "t.toml")


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_is_as_it_was(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stopping:
        assert not stopping.is_set()
        os.kill(os.getpid(), number)
        assert stopping.wait(5)
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_signals_are_as_they_were_after_a_run_without_any() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.usefixtures("logging_as_before")
def test_json_logs_are_one_object_a_line_even_with_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(as_json=True, level=logging.INFO)
    log = logging.getLogger("taintwatch.test")
    log.debug("too fine")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("camera %s", "door")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert (record["level"], record["logger"], record["message"]) == ("error", "taintwatch.test", "camera door")
    assert "ValueError" in record["traceback"]


@pytest.mark.usefixtures("logging_as_before")
def test_logs_for_people_leave_out_what_other_libraries_chat(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(as_json=False, level=logging.DEBUG)
    logging.getLogger("elsewhere").info("chat")
    logging.getLogger("taintwatch.test").debug("ours")
    assert capsys.readouterr().err.endswith("DEBUG ours\n")


def test_a_video_knows_its_seconds_and_a_folder_its_pictures(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", footage(50))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, picture in enumerate(footage(3)):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    length = run_length_of(watching(video))
    assert length is not None
    assert length.seconds == pytest.approx(2.0, abs=0.05)
    assert run_length_of(watching(folder)) == RunLength(frames=3)
    assert run_length_of(watching(video, "[limits]\nmax_frames = 7")) == RunLength(frames=7)


def test_what_has_no_end_has_no_length(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", footage(5))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert run_length_of(watching(video, "loop = true")) is None
    assert run_length_of(watching(tmp_path / "broken.mp4")) is None
    assert run_length_of(parse_config('[[camera]]\nname = "a"\nsource = "rtsp://host/x"', "t.toml")) is None
