"""A folder into which a recorder still writes: each file is watched once, when it is complete; what is not is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from taintwatch.sources.factory import open_source
from taintwatch.sources.follow import FollowedFolder
from taintwatch.sources.source import NotYet, SourceSettings
from taintwatch_models.errors import BadFrame, SourceError
from tests.tiny_model import footage, write_video


class Watched:
    """A followed folder, whose clock goes on with each wait."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 0.0
        self.source = FollowedFolder(folder, complete_s=5.0, clock=lambda: self.now_s, sleep=self._sleep)
        self.source.open()

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def watch(self, seconds: float) -> list[str | float | None]:
        """Return what comes in so many seconds: the time of a video's picture, None for an image, else the reason."""
        found: list[str | float | None] = []
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            try:
                grab = self.source.read()
            except NotYet:
                continue
            except BadFrame as error:
                found.append(str(error))
                continue
            assert grab is not None
            found.append(None if grab.media_s is None else round(grab.media_s, 3))
        return found


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "made.mp4", footage(3), fps=10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nvr").mkdir()
    return tmp_path / "nvr"


def test_a_file_is_watched_once_it_has_not_grown_for_a_while_and_only_once(folder: Path, video: Path) -> None:
    whole = video.read_bytes()
    watched = Watched(folder)
    assert watched.watch(20.0) == []
    (folder / "10-00.mp4").write_bytes(whole[: len(whole) // 2])
    assert watched.watch(4.0) == []
    (folder / "10-00.mp4").write_bytes(whole)  # it was still being written
    assert watched.watch(4.0) == []
    assert watched.watch(4.0) == [0.0, 0.1, 0.2]
    assert watched.watch(30.0) == []


def test_further_files_follow_in_the_order_of_their_names_and_time_goes_on(folder: Path, video: Path) -> None:
    watched = Watched(folder)
    for name in ("10-01.mp4", "10-00.mp4"):
        shutil.copy(video, folder / name)
    (folder / "day").mkdir()
    assert cv2.imwrite(str(folder / "day" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    assert watched.watch(8.0) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, None]


def test_a_name_that_was_removed_may_come_again(folder: Path, video: Path) -> None:
    watched = Watched(folder)
    shutil.copy(video, folder / "now.mp4")
    assert len(watched.watch(8.0)) == 3
    (folder / "now.mp4").unlink()
    assert watched.watch(2.0) == []
    shutil.copy(video, folder / "now.mp4")
    assert len(watched.watch(8.0)) == 3


def test_a_file_that_cannot_be_used_is_counted_and_the_next_one_is_watched(folder: Path, video: Path) -> None:
    watched = Watched(folder)
    (folder / "a.mp4").write_text("no video")
    (folder / "b.png").write_text("no image")
    shutil.copy(video, folder / "c.mp4")
    bad, also_bad, *times = watched.watch(8.0)
    assert "a.mp4 cannot be opened" in str(bad)
    assert "b.png is not an image" in str(also_bad)
    assert times == [0.0, 0.1, 0.2]


def test_what_a_file_gets_after_it_was_watched_is_said_to_be_missing(folder: Path, video: Path) -> None:
    watched = Watched(folder)
    shutil.copy(video, folder / "a.mp4")
    assert len(watched.watch(8.0)) == 3
    with (folder / "a.mp4").open("ab") as file:
        file.write(b"more")
    assert watched.watch(20.0) == [
        f"{folder / 'a.mp4'} was changed after it had been taken to be complete: what came later is not watched"
    ]


def test_what_is_left_out_is_said_once(folder: Path, video: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(folder)
    for name in ("index.xml", "a.part"):
        (folder / name).touch()
    with caplog.at_level("WARNING"):
        watched.watch(10.0)
    assert caplog.text.count(f"{folder}: 2 files (.part, .xml; a.part the first) left out") == 1


def test_only_a_folder_can_be_followed(folder: Path, video: Path) -> None:
    assert isinstance(open_source(str(folder), SourceSettings(follow=True)), FollowedFolder)
    with pytest.raises(SourceError, match=r"made\.mp4 is not a folder: only a folder can be followed"):
        open_source(str(video), SourceSettings(follow=True))
    source = FollowedFolder(folder)
    folder.rmdir()
    with pytest.raises(SourceError, match="is not a folder: check the path"):
        source.open()
