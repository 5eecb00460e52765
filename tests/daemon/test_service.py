"""The service on fakes: what it publishes, reports, counts, and how it ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.publisher import Publisher
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.camera_status import CameraStatus
from taintwatch.config.outputs import PublishSection
from taintwatch.config.sections import Config, LimitsSection
from taintwatch.detection_stack import DetectionStack
from taintwatch.records import Alert, AlertState
from taintwatch.runtime import Runtime
from taintwatch.service import Service
from taintwatch.sources.source import Grab
from taintwatch.status import Ending, RunStatus, Summary
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Hold, Voter
from taintwatch_models.classifier import ModelCard
from taintwatch_models.errors import SourceError
from tests.fakes import FakeClassifier, FakeDetector, a_frame

BENIGN, ATTACK = 0, 255


class FakeSource:
    """A file of pictures, each of one brightness."""

    live = False
    description = "fake"

    def __init__(self, brightness: Sequence[int], broken: bool = False) -> None:
        self._left = list(brightness)
        self._broken = broken

    def open(self) -> None:
        if self._broken:
            raise SourceError("fake cannot be opened: it is broken")

    def read(self) -> Grab | None:
        return Grab(a_frame(brightness=self._left.pop(0)).image) if self._left else None

    def close(self) -> None:
        pass


@dataclass
class FakeReporter:
    """Keeps what it was told."""

    alerts: list[Alert] = field(default_factory=list)
    statuses: list[RunStatus] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)
    endpoint: str | None = "not started"

    def started(self, card: ModelCard, cameras: Sequence[CameraStatus], endpoint: str | None) -> None:
        self.endpoint = endpoint

    def alert(self, alert: Alert) -> None:
        self.alerts.append(alert)

    def progress(self, status: RunStatus) -> None:
        self.statuses.append(status)

    def finished(self, summary: Summary) -> None:
        self.summaries.append(summary)


@dataclass
class FakePublisher:
    """Keeps what was published, and when it was closed."""

    endpoint: str = "inproc://fake"
    published: list[Any] = field(default_factory=list)
    pictures: list[bytes | None] = field(default_factory=list)

    def publish_alert(self, alert: Alert, jpeg: bytes | None = None) -> None:
        self.pictures.append(jpeg)
        self.published.append(alert)

    def publish_status(self, status: Any) -> None:
        self.published.append(status)

    def close(self, timeout_s: float = 1.0) -> None:
        self.published.append("closed")


def service(
    sources: dict[str, FakeSource],
    *,
    classifier: FakeClassifier | None = None,
    limits: LimitsSection | None = None,
    publish: PublishSection | None = None,
    stop_after: int | None = None,
) -> tuple[Service, FakeReporter, FakePublisher]:
    reporter, publisher = FakeReporter(), FakePublisher()
    model = classifier or FakeClassifier()
    runtime = Runtime(
        Config(limits=limits or LimitsSection(max_batch=1), publish=publish or PublishSection()),
        cameras=CameraSet([Camera(name, source) for name, source in sources.items()]),
        detection=DetectionStack(model, (FakeDetector(),), Voter(KofN(2, 3), hold=Hold(0, 0)), AlertTracker()),
        publisher=cast(Publisher, publisher),
    )

    def stopping() -> bool:
        return stop_after is not None and sum(model.batches) >= stop_after

    return Service(runtime, reporter, stopping=stopping), reporter, publisher


def test_an_attack_is_published_and_reported_alike() -> None:
    run, reporter, publisher = service({"door": FakeSource([BENIGN] * 3 + [ATTACK] * 4 + [BENIGN] * 5)})
    summary = run.run()
    assert [alert.state for alert in reporter.alerts][:: len(reporter.alerts) - 1] == [
        AlertState.RAISED,
        AlertState.CLEARED,
    ]
    assert [item for item in publisher.published if isinstance(item, Alert)] == reporter.alerts
    assert (summary.frames, summary.alerts, summary.ending) == (12, 1, Ending.ENDED)
    assert reporter.summaries == [summary]
    assert reporter.endpoint == "inproc://fake"


def test_a_picture_goes_with_the_raising_alone_and_only_where_it_is_asked_for() -> None:
    for pictures in (False, True):
        frames = FakeSource([BENIGN] * 3 + [ATTACK] * 4 + [BENIGN] * 5)
        run, reporter, publisher = service({"door": frames}, publish=PublishSection(pictures=pictures))
        run.run()
        sent = dict(zip([alert.state for alert in reporter.alerts], publisher.pictures, strict=True))
        assert (sent[AlertState.RAISED] is not None) is pictures
        assert sent[AlertState.CLEARED] is None
        if pictures:
            assert (sent[AlertState.RAISED] or b"").startswith(b"\xff\xd8")


def test_an_alert_that_is_open_at_the_end_is_cleared_before_the_socket_is_closed() -> None:
    run, reporter, publisher = service({"door": FakeSource([ATTACK] * 5)})
    run.run()
    assert reporter.alerts[-1].state is AlertState.CLEARED
    assert publisher.published[-1] == "closed"
    assert publisher.published.index(reporter.alerts[-1]) < len(publisher.published) - 1


def test_a_camera_that_ends_clears_its_alert_while_others_go_on() -> None:
    sources = {"short": FakeSource([ATTACK] * 3), "long": FakeSource([BENIGN] * 3000)}
    run, reporter, _ = service(sources, limits=LimitsSection(max_batch=2))
    run.run()
    assert [(alert.camera, alert.state) for alert in reporter.alerts] == [
        ("short", AlertState.RAISED),
        ("short", AlertState.CLEARED),
    ]


def test_it_stops_when_told_to_and_says_so() -> None:
    run, _, _ = service({"door": FakeSource([BENIGN] * 1000)}, stop_after=5)
    summary = run.run()
    assert (summary.frames, summary.ending) == (5, Ending.STOPPED)


def test_the_limit_of_frames_is_exact_whatever_the_batch() -> None:
    run, _, _ = service({"door": FakeSource([BENIGN] * 1000)}, limits=LimitsSection(max_batch=4, max_frames=10))
    summary = run.run()
    assert (summary.frames, summary.ending) == (10, Ending.LIMIT)


def test_failures_of_the_model_are_counted_logged_now_and_then_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    run, _, _ = service({"door": FakeSource([BENIGN] * 40)}, classifier=FakeClassifier(fails_on=range(5, 30)))
    with caplog.at_level(logging.WARNING, "taintwatch"):
        summary = run.run()
    assert (summary.frames, summary.rejected) == (40, 25)
    told = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert [line.split(" skipped ")[1].split()[0] for line in told] == ["(1", "(10"]


def test_a_source_that_cannot_be_opened_at_all_ends_it_and_everything_is_closed() -> None:
    run, reporter, publisher = service({"door": FakeSource([], broken=True)})
    with pytest.raises(SourceError, match="it is broken"):
        run.run()
    assert publisher.published[-1] == "closed"
    assert reporter.summaries == []


def test_everything_is_closed_even_where_nobody_reads_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    run, reporter, publisher = service({"door": FakeSource([ATTACK] * 50)})

    def gone(_: Alert) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(reporter, "alert", gone)
    with pytest.raises(BrokenPipeError):
        run.run()
    states = [item.state for item in publisher.published if isinstance(item, Alert)]
    assert states == [AlertState.RAISED, AlertState.CLEARED]
    assert publisher.published[-1] == "closed"


def test_the_last_status_of_each_camera_is_published_at_the_end() -> None:
    run, _, publisher = service({"door": FakeSource([BENIGN] * 3), "yard": FakeSource([BENIGN] * 2)})
    run.run()
    statuses = [item for item in publisher.published if not isinstance(item, Alert | str)][-2:]
    assert [(status.camera, status.frames, status.source) for status in statuses] == [
        ("door", 3, "fake"),
        ("yard", 2, "fake"),
    ]
