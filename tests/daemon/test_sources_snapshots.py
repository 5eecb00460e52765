"""Snapshot cameras and cameras that reconnect: evidence survives every pause that `gap_s` allows."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from benchmarks.sources.servers import DIALECTS, http_server, mjpeg, snapshots
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.pacing import Backoff
from taintwatch.sources.factory import open_source
from taintwatch.sources.http_camera import HttpSource
from taintwatch.sources.source import SourceSettings, grabs_of
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Voter
from taintwatch_models.errors import BadFrame
from taintwatch_models.records import Frame
from tests.fakes import a_prediction, a_verdict


def frames_of(url: str, count: int, settings: SourceSettings | None = None) -> tuple[list[Frame], CameraSet]:
    camera = Camera("gate", open_source(url, settings), backoff=Backoff(first_s=0.01, cap_s=0.02))
    cameras = CameraSet([camera])
    cameras.start()
    frames: list[Frame] = []
    give_up = time.monotonic() + 30.0
    while len(frames) < count and time.monotonic() < give_up:
        frames += cameras.next_batch(1, 0.2)
    cameras.stop(30.0)
    return frames, cameras


def test_a_snapshot_address_is_asked_again_and_again_at_the_interval() -> None:
    now = [100.0]
    settings = SourceSettings(snapshot_interval_s=2.5)
    with http_server(snapshots()) as url:
        source = HttpSource(url, settings, clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
        source.open()
        times = [now[0] for _ in zip(grabs_of(source), range(4), strict=False)]
        source.close()
    assert times == [100.0, 102.5, 105.0, 107.5]


def test_a_snapshot_that_has_not_changed_is_not_given_twice() -> None:
    with http_server(snapshots(etag=True)) as url:
        frames, _ = frames_of(url, 4, SourceSettings(snapshot_interval_s=0.02))
    assert len(frames) == 4
    assert all((earlier.image != later.image).any() for earlier, later in pairwise(frames))


def test_a_snapshot_that_is_cut_short_is_a_bad_frame_and_the_next_one_is_not() -> None:
    with http_server(snapshots(cut=True)) as url:
        source = open_source(url, SourceSettings(snapshot_interval_s=0.01))
        source.open()
        assert source.read() is not None
        assert source.read() is not None
        with pytest.raises(BadFrame, match="is cut short: it has no end"):
            source.read()
        assert source.read() is not None
        source.close()


def test_a_camera_that_hangs_up_after_every_picture_still_raises() -> None:
    with http_server(mjpeg(DIALECTS["by the book"], limit=1)) as url:
        frames, cameras = frames_of(url, 5)
    assert cameras.statuses()[0].reconnects >= 4
    voter = Voter(KofN(k=3, n=5))
    raised = False
    for frame in frames:
        verdict = a_verdict(a_prediction(frame), suspicious=True)
        raised = any(vote.raised for vote in voter(frame, [verdict]))
    assert raised
    assert all(frame.media_s is None for frame in frames)  # a live camera's time is that of capture
