"""A folder into which files are still being written, such as a recorder's: each is taken when it is complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from taintwatch.sources.images import IMAGE_SUFFIXES, FolderContent, list_folder
from taintwatch.sources.source import Grab, NotYet
from taintwatch.sources.video import VIDEO_SUFFIXES, Timeline, VideoSource
from taintwatch_models.errors import BadFrame, SourceError
from taintwatch_models.image_file import read_image

__all__ = ["FollowedFolder"]

_log = logging.getLogger(__name__)

LOOK_S = 1.0  # between two looks at the folder
COMPLETE_S = 5.0  # a file that has not grown for so long is complete

State = tuple[int, int]
"""A file's size and time of change."""


class FollowedFolder:
    """Gives every picture of every file below a folder, in the order of their paths, and waits for further files.

    A file is complete when neither its size nor its time of change has changed for `complete_s`. What is there at the
    start is watched first. One that cannot be used, or is changed after it was taken, is counted as a bad frame and
    passed over. Never ends.
    """

    live = False

    def __init__(
        self,
        folder: Path,
        *,
        deinterlace: bool = False,
        complete_s: float = COMPLETE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder, self._deinterlace, self._complete_s = folder, deinterlace, complete_s
        self._clock, self._sleep = clock, sleep
        self._taken: dict[Path, State] = {}
        self._changed: list[Path] = []
        """Files that were changed after they were taken."""
        self._seen: dict[Path, tuple[State, float]] = {}
        """Each file that waits, and since when it is as it is, by the clock."""
        self._ready: list[Path] = []
        self._said: set[str] = set()
        """Suffixes of files, and folders, that were said to be left out."""
        self._video: VideoSource | None = None
        self._timeline = Timeline()

    @property
    def description(self) -> str:
        """The folder's path."""
        return str(self._folder)

    def open(self) -> None:
        """Begin to look. Raises `SourceError` where the folder is gone."""
        if not self._folder.is_dir():
            raise SourceError(f"{self._folder} is not a folder: check the path")
        self.close()
        self._timeline = Timeline()

    def read(self) -> Grab | None:
        """Return the next picture. Raises `NotYet` where no file is complete, `BadFrame` for an unusable one."""
        if self._video is None and not self._ready:
            self._look()
            if self._changed:
                path = self._changed.pop()
                raise BadFrame(
                    f"{path} was changed after it had been taken to be complete: what came later is not watched"
                )
            if not self._ready:
                self._sleep(LOOK_S)
                raise NotYet
        return self._read_video(self._video) if self._video is not None else self._begin(self._ready.pop(0))

    def close(self) -> None:
        """Close the file at hand."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def _look(self) -> None:
        """Find the files that have become complete."""
        content = list_folder(self._folder, VIDEO_SUFFIXES)
        self._say_left_out(content)
        states = {path: state for path in sorted((*content.images, *content.videos)) if (state := _state(path))}
        # A name that was removed may be used again.
        self._taken = {path: state for path, state in self._taken.items() if path in states}
        self._seen = {path: seen for path, seen in self._seen.items() if path in states}
        for path, state in states.items():
            if path in self._taken:
                if self._taken[path] != state:
                    self._taken[path] = state
                    self._changed.append(path)
            elif self._is_complete(path, state):
                self._seen.pop(path)
                self._taken[path] = state
                self._ready.append(path)

    def _is_complete(self, path: Path, state: State) -> bool:
        before, since = self._seen.get(path, (None, 0.0))
        if before != state:
            self._seen[path] = (state, self._clock())
            return False
        return self._clock() - since >= self._complete_s and state[0] > 0

    def _say_left_out(self, content: FolderContent) -> None:
        """Say what cannot be watched, where a kind of it is new."""
        kinds = {path.suffix.lower() for path in content.others} | set(content.unreadable)
        if kinds - self._said:
            self._said |= kinds
            for said in content.unusable():
                _log.warning("%s: %s", self._folder, said)

    def _begin(self, path: Path) -> Grab:
        _log.info("%s: watching %s", self._folder, path.name)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return Grab(read_image(path))
        video = VideoSource(path, timeline=self._timeline, deinterlace=self._deinterlace)
        try:
            video.open()
        except SourceError as error:
            raise BadFrame(str(error)) from None
        self._video = video
        raise NotYet

    def _read_video(self, video: VideoSource) -> Grab:
        try:
            grab = video.read()
        except SourceError as error:
            self.close()
            raise BadFrame(str(error)) from None
        if grab is None:
            self.close()
            raise NotYet
        return grab


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except OSError:  # it has just been removed
        return None
    return status.st_size, status.st_mtime_ns
