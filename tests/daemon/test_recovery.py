"""A model that fails while it runs: what it is replaced with, when, and what is said meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.messages import Message
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.subscriber import Subscriber
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.pacing import Backoff
from taintwatch.config.load import parse_config
from taintwatch.config.outputs import PublishSection
from taintwatch.config.sections import Config
from taintwatch.detection_stack import DetectionStack
from taintwatch.records import Alert, AlertState
from taintwatch.recovery import FAILURES, RecoveringClassifier
from taintwatch.runtime import Runtime
from taintwatch.service import Service
from taintwatch.sources.source import Grab
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Hold, Voter
from taintwatch_models.classifier import Classifier, ModelCard, Rejected
from taintwatch_models.errors import ConfigError, DeviceError, InferenceError
from taintwatch_models.records import Frame, Prediction
from tests.alert_fakes import an_identity, is_alert, messages_until, next_event
from tests.daemon.test_service import FakeReporter
from tests.fakes import CARD, FakeClassifier, FakeDetector, a_frame

GPU, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Device(FakeClassifier):
    """A classifier on a device that may be lost."""

    def __init__(self, provider: str = GPU) -> None:
        super().__init__()
        self.lost = False
        self._provider = provider

    @property
    def card(self) -> ModelCard:
        return replace(CARD, provider=self._provider)

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        if self.lost:
            raise InferenceError("CUDA error 999: the device is lost")
        return super().__call__(frames)


class Factory:
    """Makes classifiers anew, or fails to as long as it is told."""

    def __init__(self, provider: str = GPU, broken: bool = False) -> None:
        self.broken = broken
        self.provider = provider
        self.made: list[Device] = []
        self.attempts = 0

    def __call__(self) -> Classifier:
        self.attempts += 1
        if self.broken:
            raise DeviceError("there is no GPU")
        self.made.append(Device(self.provider))
        return self.made[-1]


def recovering(first: Device, rebuild: Factory, fallback: Factory | None = None) -> RecoveringClassifier:
    return RecoveringClassifier(first, rebuild, fallback, backoff=Backoff(0.005, 0.02))


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.002)


def fail(classifier: RecoveringClassifier, times: int) -> None:
    for _ in range(times):
        with pytest.raises(InferenceError):
            classifier([a_frame()])


def works(classifier: RecoveringClassifier) -> bool:
    try:
        return len(classifier([a_frame()])) == 1
    except InferenceError:
        return False


def test_a_lost_device_is_said_and_the_model_made_again_once_it_is_back() -> None:
    first, rebuild = Device(), Factory(broken=True)
    classifier = recovering(first, rebuild)
    assert classifier.degraded() is None
    first.lost = True
    fail(classifier, FAILURES)
    assert "the device is lost" in (classifier.degraded() or "")
    until(lambda: rebuild.attempts > 3)
    assert not works(classifier)
    rebuild.broken = False
    until(lambda: works(classifier))
    assert classifier.degraded() is None
    assert classifier.card.provider == GPU


def test_a_single_failure_is_no_reason() -> None:
    first, rebuild = Device(), Factory()
    classifier = recovering(first, rebuild)
    for _ in range(5):
        first.lost = True
        fail(classifier, FAILURES - 1)
        first.lost = False
        assert works(classifier)
    assert rebuild.attempts == 0
    assert classifier.degraded() is None


def test_without_leave_it_never_falls_back_even_where_the_runtime_would() -> None:
    first = Device()
    classifier = recovering(first, Factory(provider=CPU))
    first.lost = True
    fail(classifier, FAILURES)
    time.sleep(0.1)
    assert not works(classifier)
    assert classifier.card.provider == GPU
    classifier.close()


def test_with_leave_it_falls_back_says_so_and_returns_when_it_can() -> None:
    first, rebuild, fallback = Device(), Factory(broken=True), Factory(provider=CPU)
    classifier = recovering(first, rebuild, fallback)
    first.lost = True
    fail(classifier, FAILURES)
    until(lambda: works(classifier))
    assert classifier.card.provider == CPU
    assert f"on {CPU} because the model failed on {GPU}" in (classifier.degraded() or "")
    attempts = rebuild.attempts
    until(lambda: rebuild.attempts > attempts + 1)
    assert len(fallback.made) == 1
    rebuild.broken = False
    until(lambda: classifier.degraded() is None)
    assert works(classifier)
    assert classifier.card.provider == GPU


def test_what_was_made_again_may_fail_again() -> None:
    first, rebuild = Device(), Factory()
    classifier = recovering(first, rebuild)
    first.lost = True
    fail(classifier, FAILURES)
    for number in range(1, 4):
        until(lambda: works(classifier))
        assert len(rebuild.made) == number
        rebuild.made[-1].lost = True
        fail(classifier, FAILURES)
    until(lambda: works(classifier))


def test_once_closed_it_tries_no_more() -> None:
    first, rebuild = Device(), Factory(broken=True)
    classifier = recovering(first, rebuild)
    first.lost = True
    fail(classifier, FAILURES)
    classifier.close()
    time.sleep(0.1)
    attempts = rebuild.attempts
    time.sleep(0.1)
    assert rebuild.attempts == attempts


class Attack:
    """A live camera that shows nothing but the attack."""

    live = True
    description = "fake"

    def open(self) -> None:
        pass

    def read(self) -> Grab | None:
        time.sleep(0.01)
        return Grab(a_frame(brightness=255).image)

    def close(self) -> None:
        pass


def test_capture_goes_on_and_every_alert_says_what_it_was_made_with(tmp_path: Path) -> None:
    first, rebuild, fallback = Device(), Factory(broken=True), Factory(provider=CPU, broken=True)
    classifier = recovering(first, rebuild, fallback)
    identity = replace(an_identity(), provider=GPU)
    publisher = Publisher(identity, f"ipc://{tmp_path}/alerts")
    voter = Voter(KofN(2, 3, clear_at=0), hold=Hold(0, 0))
    detection = DetectionStack(
        classifier, (FakeDetector(),), voter, AlertTracker(update_every_s=0), classifier.degraded, classifier.close
    )
    config = Config(publish=PublishSection(status_s=0.05))
    runtime = Runtime(config, CameraSet([Camera("door", Attack())]), detection, publisher, identity)
    reporter = FakeReporter()
    with Subscriber(publisher.endpoint) as subscriber:
        next_event(subscriber)  # a heartbeat: it is connected
        steps = iter(range(1_000_000))
        service = Service(
            runtime,
            reporter,
            stopping=lambda: _script(next(steps), first, fallback, reporter),
        )
        summary = service.run()
        alerts: list[Any] = [
            message
            for message in messages_until(subscriber, lambda found: any(map(_is_cleared, found)))
            if is_alert(message)
        ]
    assert summary.rejected > 0
    assert any(status.degraded is not None and status.frames > 0 for status in reporter.statuses)
    assert [alert.envelope.provider for alert in alerts if alert.body.state == "raised"] == [GPU]
    after = [alert.envelope for alert in alerts if alert.body.state == "cleared"]
    assert [(envelope.provider, envelope.degraded) for envelope in after] == [(CPU, True)]
    assert all(alert.envelope.degraded == (alert.envelope.provider == CPU) for alert in alerts)


def _script(step: int, first: Device, fallback: Factory, reporter: FakeReporter) -> bool:
    """Lose the device once an alert is open, let the fallback work a little later, end once that is seen."""
    first.lost = first.lost or bool(reporter.alerts)
    degraded = [status for status in reporter.statuses if status.degraded is not None]
    fallback.broken = len(degraded) < 2
    return any(status.provider == CPU for status in degraded) or step > 100_000


def _is_cleared(message: Message) -> bool:
    return isinstance(message.body, Alert) and message.body.state is AlertState.CLEARED


def test_falling_back_and_requiring_the_device_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="require_device"):
        parse_config('[model]\nrequire_device = true\nfallback = "cpu"\n', "t.toml")
