"""`taintwatch.watch`: cameras in a loop of one's own."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from taintwatch.camera_alerts import watch
from taintwatch.detector import Detector
from taintwatch.records import AlertState
from taintwatch_models.errors import SourceError, UsageError
from tests.tiny_model import footage, write_model, write_video


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return Detector.load(write_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


def test_an_attack_in_a_video_is_raised_and_cleared(detector: Detector, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", footage(100, range(20, 60)))
    alerts = list(watch(video, detector))
    assert (alerts[0].state, alerts[-1].state) == (AlertState.RAISED, AlertState.CLEARED)
    assert {alert.event_id for alert in alerts} == {alerts[0].event_id}
    assert (alerts[0].camera, alerts[0].label_name) == ("camera", "toaster")
    assert alerts[0].media_s == pytest.approx(0.9, abs=0.2)


def test_an_alert_that_is_open_at_the_end_is_cleared(detector: Detector, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", footage(30, range(10, 30)))
    assert [alert.state for alert in watch(video, detector)][-1] is AlertState.CLEARED


def test_several_sources_have_their_own_votes_and_names(detector: Detector, tmp_path: Path) -> None:
    attacked = write_video(tmp_path / "a.mp4", footage(30, range(10, 20)))
    benign = write_video(tmp_path / "b.mp4", footage(30))
    assert {alert.camera for alert in watch({"gate": attacked, "yard": benign}, detector)} == {"gate"}
    assert {alert.camera for alert in watch([benign, attacked], detector)} == {"camera2"}


def test_more_votes_need_more_frames(detector: Detector, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", footage(40, range(10, 14)))
    assert list(watch(video, detector, votes=(3, 5)))
    assert not list(watch(video, detector, votes=(5, 5)))


def test_leaving_the_loop_ends_the_cameras(detector: Detector, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", footage(200, range(10, 200)))
    before = threading.active_count()
    alerts = watch(video, detector)
    next(alerts)
    alerts.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_what_cannot_be_watched_is_said(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        watch(tmp_path / "none.mp4", detector)
    video = write_video(tmp_path / "v.mp4", footage(5))
    with pytest.raises(UsageError, match="name 'a/b'"):
        watch({"a/b": video}, detector)
