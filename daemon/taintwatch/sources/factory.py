"""From what a user writes after `--source` to a source."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from taintwatch.sources.images import IMAGE_SUFFIXES, FolderSource, files_below
from taintwatch.sources.network import STREAM_SCHEMES, StreamSource
from taintwatch.sources.sim import SimSource, is_bundled_scene, is_sim, parse_sim
from taintwatch.sources.source import Source
from taintwatch.sources.url import url_scheme
from taintwatch.sources.video import VIDEO_SUFFIXES, PlaylistSource, VideoSource
from taintwatch.sources.webcam import WebcamSource
from taintwatch_models.errors import SourceError

__all__ = ["open_source", "require_source"]


def open_source(
    spec: str | int,
    *,
    open_timeout_s: float = 10.0,
    read_timeout_s: float = 5.0,
    loop: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Source:
    """Return the source that `spec` names; it is not opened yet.

    A number or `/dev/video*` is a webcam, `rtsp|rtsps|http|https://` a stream, `sim:` the simulator, a folder its
    images (or its videos, where it holds no image), a file a video. Raises `SourceError` at once for what can never
    work: a missing file, an empty folder, an unknown scheme. `loop` repeats files for ever.
    """
    text = str(spec).strip()
    if isinstance(spec, int) or (text.isascii() and text.isdigit()):
        return _webcam(int(text), open_timeout_s, read_timeout_s)
    if text.startswith("/dev/video"):
        return _webcam(text, open_timeout_s, read_timeout_s)
    if is_sim(text):
        return _simulator(text, loop, clock)
    scheme = url_scheme(text)
    if scheme in STREAM_SCHEMES:
        return StreamSource(text, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s, clock=clock)
    if scheme is not None:
        known = ", ".join(sorted(STREAM_SCHEMES))
        raise SourceError(f"a source of scheme {scheme!r} cannot be read: use {known}, a webcam, a file or a folder")
    return _from_disk(text, loop)


def _webcam(device: int | str, open_timeout_s: float, read_timeout_s: float) -> Source:
    if isinstance(device, int) and device < 0:
        raise SourceError(f"there is no webcam {device}: they are counted from 0")
    return WebcamSource(device, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s)


def _simulator(text: str, loop: bool, clock: Callable[[], float]) -> Source:
    if is_bundled_scene(text):
        from taintwatch.demo.play import parse_play  # draws its signs with the model packages: only where it is wanted

        play = parse_play(text, loop=loop)
        return SimSource(play.play, pace=play.pace, description="sim:", clock=clock)
    spec = parse_sim(text)
    if loop:
        spec = replace(spec, settings=replace(spec.settings, loop=True))
    return SimSource(spec.scene(), pace=spec.pace, description=f"sim:{spec.background}", clock=clock)


def _from_disk(text: str, loop: bool) -> Source:
    if not text:
        raise SourceError("the source is empty: give a webcam's number, a URL, a file or a folder")
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(path, loop)
    if not path.exists():
        raise SourceError(f"{path} does not exist: check the path")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return FolderSource((path,), str(path), loop=loop)
    return VideoSource(path, loop=loop)


def _folder(path: Path, loop: bool) -> Source:
    if images := files_below(path, IMAGE_SUFFIXES):
        return FolderSource(images, str(path), loop=loop)
    if videos := files_below(path, VIDEO_SUFFIXES):
        return PlaylistSource(videos, str(path), loop=loop)
    raise SourceError(f"{path} holds no image and no video: put some in, or check the path")


def require_source(spec: str, otherwise: str, source: Source | None = None) -> None:
    """Open the source that `spec` names (or the one given) and close it again.

    Raises `SourceError` that says what is wrong and, after that, what can be done `otherwise`.
    """
    try:
        tried = open_source(spec) if source is None else source
        try:
            tried.open()
        finally:
            tried.close()
    except SourceError as error:
        raise SourceError(f"{error}; or {otherwise}") from error
