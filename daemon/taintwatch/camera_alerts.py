"""Cameras in a loop of one's own: `for alert in watch("rtsp://...", detector)`, without the daemon around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.assembly import make_camera, make_voter
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.config.outputs import PublishSection
from taintwatch.config.sections import CameraSection, LimitsSection, VoteSection
from taintwatch.deadlines import Deadlines
from taintwatch.detector import Detector
from taintwatch.pipeline import watch as watch_frames
from taintwatch.records import Alert
from taintwatch.vote.voter import Voter
from taintwatch_models.errors import UsageError

__all__ = ["Source", "watch"]

Source: TypeAlias = str | int | Path
"""What `taintwatch run --source` takes: 0, /dev/video0, rtsp://..., http://..., video.mp4, a folder, or sim:..."""

_WAIT_S = 0.2


def watch(
    sources: Source | Sequence[Source] | Mapping[str, Source],
    detector: Detector,
    *,
    votes: tuple[int, int] = (3, 5),
    fps: float | None = None,
) -> Iterator[Alert]:
    """Yield an alert whenever one is raised, updated or cleared, until every source has ended.

    `sources`: one, several (named camera1, camera2, ...), or a mapping from names to sources. `votes`: raise at so many
    suspicious frames among the last so many. `fps`: look at no more frames a second than that. Live sources are tried
    again for ever; close the iterator, or leave its loop, to stop. Raises `SourceError` where no source could be
    opened at all, `UsageError` for wrong names or votes.
    """
    deadlines = Deadlines()
    cameras = CameraSet([make_camera(_section(name, source, fps), deadlines) for name, source in _named(sources)])
    k, n = votes
    voter = make_voter(VoteSection(k=k, n=n), tuple(one.name for one in detector.model.detectors))
    return _alerts(cameras, detector, voter, AlertTracker(update_every_s=PublishSection().update_s))


def _alerts(cameras: CameraSet, detector: Detector, voter: Voter, tracker: AlertTracker) -> Iterator[Alert]:
    model = detector.model
    cameras.start()
    try:
        for steps in watch_frames(
            cameras, model.classifier, model.detectors, voter, tracker,
            max_batch=LimitsSection().max_batch, wait_s=_WAIT_S, stopping=lambda: False,
        ):  # fmt: skip
            yield from (step.alert for step in steps if step.alert is not None)
        yield from tracker.close_all()
    finally:
        cameras.stop()


def _named(sources: Source | Sequence[Source] | Mapping[str, Source]) -> list[tuple[str, Source]]:
    if isinstance(sources, str | int | Path):
        return [("camera", sources)]
    if isinstance(sources, Mapping):
        return list(sources.items())
    return [(f"camera{number}", source) for number, source in enumerate(sources, start=1)]


def _section(name: str, source: Source, fps: float | None) -> CameraSection:
    try:
        return CameraSection(name=name, source=str(source), fps=fps)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))} {first['input']!r}: {first['msg']}") from error
