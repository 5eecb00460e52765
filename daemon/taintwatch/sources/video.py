"""Video files: every picture, with times that start at 0 and never go back."""

from __future__ import annotations

from pathlib import Path

from taintwatch.sources.libav import Pictures, open_pictures
from taintwatch.sources.source import Grab
from taintwatch_models.errors import BadFrame, SourceError

__all__ = ["VIDEO_SUFFIXES", "PlaylistSource", "Timeline", "VideoSource"]

VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265",
    ".hevc", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip

_REORDERED = 16  # pictures by which H.264 and HEVC may decode one before it is shown
_USUAL_STEP_S = 0.04


class Timeline:
    """Turns the timestamps of one file after the other into times that start at 0 and never go back.

    A recorder that writes decode times as display times makes them jitter back by a few pictures; joined recordings
    jump back by minutes. In both the pictures still come in the order in which they were taken, so time goes on.
    """

    def __init__(self) -> None:
        self.last_s: float | None = None
        """Time of the last picture; None before the first."""
        self._offset_s = 0.0
        self._step_s = _USUAL_STEP_S

    def begin(self, start_s: float, step_s: float | None) -> None:
        """Begin another file: its first timestamp, and the seconds between its pictures (None: unknown)."""
        self._step_s = _USUAL_STEP_S if step_s is None else step_s
        self._offset_s = self._next_s() - start_s

    def place(self, stamp_s: float | None) -> float:
        """Return the time of the next picture, whose timestamp is `stamp_s` (None: it has none)."""
        due_s = self._next_s()
        placed_s = due_s if stamp_s is None else stamp_s + self._offset_s
        if self.last_s is None:
            placed_s = max(0.0, placed_s)
        elif placed_s <= self.last_s:
            if stamp_s is not None and self.last_s - placed_s > max(1.0, _REORDERED * self._step_s):
                self._offset_s = due_s - stamp_s  # another recording begins
            placed_s = due_s
        self.last_s = placed_s
        return placed_s

    def _next_s(self) -> float:
        return 0.0 if self.last_s is None else self.last_s + self._step_s


class VideoSource:
    """A video file. `media_s` starts at 0 and grows for ever, also from one round of a loop to the next."""

    live = False

    def __init__(
        self, path: Path, *, loop: bool = False, timeline: Timeline | None = None, deinterlace: bool = False
    ) -> None:
        """`timeline`: that of the files before this one, which it goes on with."""
        self._path = path
        self._loop = loop
        self._given_timeline = timeline
        self._timeline = timeline or Timeline()
        self._deinterlace = deinterlace
        self._pictures: Pictures | None = None
        self._given = 0
        """Pictures given in this round."""
        self._reached_s = 0.0
        """Last timestamp of this round."""

    @property
    def description(self) -> str:
        """The file's path."""
        return str(self._path)

    def open(self) -> None:
        """Open the file at its start. Raises `SourceError`."""
        self.close()
        self._timeline = self._given_timeline or Timeline()
        self._open_round()

    def read(self) -> Grab | None:
        """Return the next picture; None at the end.

        A file that breaks off gives what can be decoded, then raises one `SourceError`, then None.
        """
        while self._pictures is not None:
            grab = self._pictures.next()
            if grab is not None:
                self._given += 1
                self._reached_s = max(self._reached_s, grab.media_s or 0.0)
                return Grab(grab.image, self._timeline.place(grab.media_s))
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
        self._pictures = open_pictures(
            self._path, str(self._path), options={}, timeouts_s=None, deinterlace=self._deinterlace
        )
        self._given, self._reached_s = 0, 0.0
        self._timeline.begin(self._pictures.start_s, self._pictures.step_s)

    def _end_round(self, pictures: Pictures) -> None:
        """Close the file, complain where it gave less than it announced, and open it again in a loop."""
        announced, got = pictures.stream.frames, pictures.packets_read
        ends_early = self._ends_early(pictures)
        self.close()
        if self._given == 0:
            raise SourceError(f"{self._path} holds no picture that can be decoded: record or copy it again")
        if got < announced and ends_early:
            raise SourceError(f"{self._path} is cut short: it announces {announced} pictures and holds {got}")
        if self._loop:
            self._open_round()

    def _ends_early(self, pictures: Pictures) -> bool:
        """Whether the pictures end well before the announced length; AVI counts empty places as pictures."""
        step_s = pictures.step_s or _USUAL_STEP_S
        length_s = pictures.length_s
        return length_s is None or self._reached_s - pictures.start_s + 2.5 * step_s < length_s


class PlaylistSource:
    """Video files one after the other; one that cannot be used is counted as a bad frame and passed over."""

    live = False

    def __init__(
        self, paths: tuple[Path, ...], description: str, *, loop: bool = False, deinterlace: bool = False
    ) -> None:
        self._paths = paths
        self._description = description
        self._loop = loop
        self._deinterlace = deinterlace
        self._next = 0
        self._video: VideoSource | None = None
        self._timeline = Timeline()
        self._given_in_round = 0

    @property
    def description(self) -> str:
        """The folder's path."""
        return self._description

    def open(self) -> None:
        """Start with the first file. A file that cannot be opened is found when its turn comes."""
        self.close()
        self._next = 0
        self._timeline = Timeline()
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
        video = VideoSource(self._paths[self._next], timeline=self._timeline, deinterlace=self._deinterlace)
        self._next += 1
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
        return grab
