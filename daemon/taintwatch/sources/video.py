"""Video files: every picture, with its time."""

from __future__ import annotations

from pathlib import Path

from taintwatch.sources.libav import Pictures, open_pictures
from taintwatch.sources.source import Grab
from taintwatch_models.errors import BadFrame, SourceError

__all__ = ["VIDEO_SUFFIXES", "PlaylistSource", "VideoSource"]

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"})


class VideoSource:
    """A video file. `media_s` starts at 0 and grows for ever, also from one round of a loop to the next."""

    live = False

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        self._path = path
        self._loop = loop
        self._pictures: Pictures | None = None
        self._given = 0
        """Pictures given in this round."""
        self._offset_s = 0.0
        self._last_s = 0.0
        self._step_s = 0.0

    @property
    def description(self) -> str:
        """The file's path."""
        return str(self._path)

    def open(self) -> None:
        """Open the file at its start. Raises `SourceError`."""
        self.close()
        self._offset_s = self._last_s = self._step_s = 0.0
        self._open_round()

    def read(self) -> Grab | None:
        """Return the next picture; None at the end.

        A file that breaks off gives what can be decoded, then raises one `SourceError`, then None.
        """
        while self._pictures is not None:
            grab = self._pictures.next()
            if grab is not None:
                return self._placed(grab, self._pictures)
            if self._pictures.at_end:
                self._end_round(self._pictures)
        return None

    def close(self) -> None:
        """Close the file."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None

    def _open_round(self) -> None:
        if not self._path.is_file():
            raise SourceError(f"{self._path} is not a file: check the path")
        if self._path.stat().st_size == 0:
            raise SourceError(f"{self._path} is empty (0 bytes): record or copy it again")
        self._pictures = open_pictures(self._path, str(self._path), options={}, timeouts_s=None)
        self._given = 0

    def _placed(self, grab: Grab, pictures: Pictures) -> Grab:
        """Move the picture's time so that the file starts at 0 and rounds follow one another."""
        self._given += 1
        if grab.media_s is None:
            return grab
        start = pictures.stream.start_time
        base = pictures.stream.time_base
        start_s = float(start * base) if start is not None and base is not None else 0.0
        media_s = self._offset_s + max(0.0, grab.media_s - start_s)
        self._step_s = max(0.0, media_s - self._last_s)
        self._last_s = media_s
        return Grab(grab.image, media_s)

    def _end_round(self, pictures: Pictures) -> None:
        """Close the file, complain where it gave less than it announced, and open it again in a loop."""
        announced, got = pictures.stream.frames, pictures.packets_read
        self.close()
        if self._given == 0:
            raise SourceError(f"{self._path} holds no picture that can be decoded: record or copy it again")
        if got < announced:
            raise SourceError(f"{self._path} is cut short: it announces {announced} pictures and holds {got}")
        if self._loop:
            self._offset_s = self._last_s + self._step_s
            self._open_round()


class PlaylistSource:
    """Video files one after the other; one that cannot be used is counted as a bad frame and passed over."""

    live = False

    def __init__(self, paths: tuple[Path, ...], description: str, *, loop: bool = False) -> None:
        self._paths = paths
        self._description = description
        self._loop = loop
        self._next = 0
        self._video: VideoSource | None = None
        self._offset_s = 0.0
        self._last_s = 0.0
        self._step_s = 0.0
        self._given_in_round = 0

    @property
    def description(self) -> str:
        """The folder's path."""
        return self._description

    def open(self) -> None:
        """Start with the first file. A file that cannot be opened is found when its turn comes."""
        self.close()
        self._next = 0
        self._offset_s = self._last_s = self._step_s = 0.0
        self._given_in_round = 0

    def read(self) -> Grab | None:
        """Return the next picture; None after the last file. Raises `BadFrame` for a file that cannot be used.

        Raises `SourceError` where no file of a whole round gave a picture.
        """
        while self._video is not None or self._advance():
            grab = self._read_video()
            if grab is not None:
                return grab
        return None

    def close(self) -> None:
        """Close the file at hand."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def _advance(self) -> bool:
        """Open the next file; False after the last."""
        if self._next == len(self._paths) and not self._start_again():
            return False
        video = VideoSource(self._paths[self._next])
        self._next += 1
        self._offset_s = self._last_s + self._step_s
        try:
            video.open()
        except SourceError as error:
            raise BadFrame(str(error)) from None
        self._video = video
        return True

    def _start_again(self) -> bool:
        if self._given_in_round == 0:
            raise SourceError(f"{self._description}: none of its {len(self._paths)} videos can be decoded")
        self._next = self._given_in_round = 0
        return self._loop

    def _read_video(self) -> Grab | None:
        """Return the next picture of the file at hand; None (and no file at hand) at its end."""
        if self._video is None:
            return None
        try:
            grab = self._video.read()
        except SourceError as error:
            self.close()
            raise BadFrame(str(error)) from None
        if grab is None:
            self.close()
            return None
        self._given_in_round += 1
        if grab.media_s is None:
            return grab
        media_s = self._offset_s + grab.media_s
        self._step_s = max(0.0, media_s - self._last_s)
        self._last_s = media_s
        return Grab(grab.image, media_s)
