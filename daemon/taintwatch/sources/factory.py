"""From what a user writes after `--source` to a source."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from taintwatch.sources.follow import FollowedFolder
from taintwatch.sources.http_camera import HttpSource
from taintwatch.sources.images import IMAGE_SUFFIXES, FolderSource, list_folder
from taintwatch.sources.network import StreamSource
from taintwatch.sources.sim import SimSource, is_bundled_scene, is_sim, parse_sim
from taintwatch.sources.source import OrientedSource, Source, SourceSettings
from taintwatch.sources.url import stream_mistakes, url_scheme, with_credentials
from taintwatch.sources.video import VIDEO_SUFFIXES, PlaylistSource, VideoSource
from taintwatch.sources.webcam import WebcamSource
from taintwatch_models.errors import SourceError

__all__ = ["open_source", "require_source"]

_log = logging.getLogger(__name__)


def open_source(
    spec: str | int, settings: SourceSettings | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Source:
    """Return the source that `spec` names; it is not opened yet.

    A number or `/dev/video*` is a webcam, a URL a stream, `sim:` the simulator, a folder its videos (or its images,
    where it holds no video), a file a video or an image. Raises `SourceError` at once for what can never work: a
    missing file, an empty folder, an unknown scheme, a password that must be percent-encoded.
    """
    given = settings or SourceSettings()
    source = _source(str(spec).strip(), given, clock, is_number=isinstance(spec, int))
    if given.rotate == 0 and given.flip is None:
        return source
    return OrientedSource(source, rotate=given.rotate, flip=given.flip)


def _source(text: str, settings: SourceSettings, clock: Callable[[], float], *, is_number: bool) -> Source:
    if is_number or (text.isascii() and text.isdigit()):
        return _webcam(int(text), settings)
    if text.startswith("/dev/video"):
        return WebcamSource(text, settings)
    if is_sim(text):
        return _simulator(text, settings.loop, clock)
    scheme = url_scheme(text)
    if scheme is None:
        return _from_disk(text, settings)
    mistakes = stream_mistakes(text)
    if mistakes:
        raise SourceError(mistakes[0])
    url = with_credentials(text, settings.user, settings.password)
    if scheme in ("http", "https"):
        return HttpSource(url, settings, clock=clock)
    return StreamSource(url, settings, clock=clock)


def _webcam(device: int, settings: SourceSettings) -> Source:
    if device < 0:
        raise SourceError(f"there is no webcam {device}: they are counted from 0")
    return WebcamSource(device, settings)


def _simulator(text: str, loop: bool, clock: Callable[[], float]) -> Source:
    if is_bundled_scene(text):
        from taintwatch.demo.street_play import bundled_scene  # draws signs with the model packages: only where wanted

        scene, pace = bundled_scene(text, loop=loop)
        return SimSource(scene, pace=pace, description="sim:", clock=clock)
    spec = parse_sim(text)
    if loop:
        spec = replace(spec, settings=replace(spec.settings, loop=True))
    return SimSource(spec.scene(), pace=spec.pace, description=f"sim:{spec.background}", clock=clock)


def _from_disk(text: str, settings: SourceSettings) -> Source:
    if not text:
        raise SourceError("the source is empty: give a webcam's number, a URL, a file or a folder")
    path = Path(text).expanduser()
    if settings.follow:
        if not path.is_dir():
            raise SourceError(f"{path} is not a folder: only a folder can be followed")
        return FollowedFolder(path, deinterlace=settings.deinterlace)
    if path.is_dir():
        return _folder(path, settings)
    if not path.exists():
        raise SourceError(f"{path} does not exist: check the path")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return FolderSource((path,), str(path), loop=settings.loop)
    return VideoSource(path, loop=settings.loop, deinterlace=settings.deinterlace)


def _folder(path: Path, settings: SourceSettings) -> Source:
    content = list_folder(path, VIDEO_SUFFIXES)
    for said in content.left_out():
        _log.warning("%s: %s", path, said)
    if content.watches_videos:
        return PlaylistSource(content.videos, str(path), loop=settings.loop, deinterlace=settings.deinterlace)
    if content.images:
        return FolderSource(content.images, str(path), loop=settings.loop)
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
