"""The watchdog on a real notification socket, with a hang in each worker of a real service."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.publisher import Publisher
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.pacing import Backoff
from taintwatch.config.sections import Config, LimitsSection
from taintwatch.deadlines import Deadline, Deadlines
from taintwatch.detection_stack import DetectionStack
from taintwatch.runtime import Runtime
from taintwatch.service import Service
from taintwatch.service_manager import Notifier, ServiceManagerReporter, Watchdog, look_every_s
from taintwatch.sources.source import Grab
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Hold, Voter
from taintwatch_models.classifier import Rejected
from taintwatch_models.errors import SourceError
from taintwatch_models.records import Frame, Prediction
from tests.alert_fakes import an_identity
from tests.daemon.notify_socket import NotifySocket
from tests.fakes import FakeClassifier, FakeDetector, a_frame

LIMIT_S = 1.0  # after which a hang is one, in these tests; a busy machine must not look like one
LOOK_S = 0.02


class LiveSource:
    """A camera: a grey picture now and then, or whatever a test makes of it."""

    live = True
    description = "fake"

    def __init__(self, read: Callable[[], None] = lambda: None) -> None:
        self._read = read

    def open(self) -> None:
        pass

    def read(self) -> Grab | None:
        time.sleep(0.01)
        self._read()
        return Grab(a_frame().image)

    def close(self) -> None:
        pass


class Hang:
    """Holds whoever passes once it is closed, until it is opened again at the end of the test."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def __call__(self) -> None:
        self._open.wait(30)


class HangingClassifier(FakeClassifier):
    """A classifier whose inference can be made to hang."""

    def __init__(self, hang: Hang) -> None:
        super().__init__()
        self._hang = hang

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        self._hang()
        return super().__call__(frames)


@dataclass
class Running:
    """A service in a thread, watched."""

    manager: NotifySocket
    watchdog: Watchdog
    inference: Hang = field(default_factory=Hang)
    camera: Hang = field(default_factory=Hang)
    publisher: Hang = field(default_factory=Hang)

    def fed(self) -> None:
        """Wait until the watchdog is fed anew."""
        self.manager.waiting()
        self.manager.until(lambda message: message.get("WATCHDOG") == "1")

    def not_fed(self, worker: str) -> None:
        """Wait until this worker is late. From then on nothing feeds the watchdog."""
        self.manager.until(lambda message: message.get("STATUS", "").startswith("hanging: ") and self.is_late(worker))
        self.manager.waiting()
        time.sleep(5 * LOOK_S)
        assert not [message for message in self.manager.waiting() if "WATCHDOG" in message]

    def is_late(self, worker: str) -> bool:
        return worker in [late.worker for late in self.watchdog.overdue]


@contextmanager
def running(tmp_path: Path, source: Callable[[Running], LiveSource]) -> Iterator[Running]:
    """Run a service with one camera, everything real but the camera and the model."""
    deadlines, stop = Deadlines(), threading.Event()
    with NotifySocket(tmp_path / "notify") as manager:
        notifier = Notifier(manager.address)
        with Watchdog(notifier, deadlines, every_s=LOOK_S) as watchdog:
            run = Running(manager, watchdog)
            service = Service(
                _runtime(run, source(run), deadlines),
                ServiceManagerReporter(notifier, watchdog),
                stopping=stop.is_set,
                deadlines=deadlines,
            )
            thread = threading.Thread(target=service.run)
            thread.start()
            try:
                yield run
            finally:
                for hang in (run.inference, run.camera, run.publisher):
                    hang.open()
                stop.set()
                thread.join()
                notifier.close()


def _runtime(run: Running, source: LiveSource, deadlines: Deadlines) -> Runtime:
    camera = Camera("door", source, backoff=Backoff(0.01, 60.0), deadline=deadlines.add("camera door"))
    camera._call_limit_s = LIMIT_S
    publisher = Publisher(an_identity(), "tcp://127.0.0.1:*", heartbeat_s=0.05, deadline=deadlines.add("publisher"))
    publisher._hang_s = LIMIT_S
    beat = publisher._sender.beat_if_due

    def hanging_beat(*arguments: object) -> None:
        run.publisher()
        beat(*arguments)  # type: ignore[arg-type]

    publisher._sender.beat_if_due = hanging_beat  # type: ignore[method-assign,assignment]
    detection = DetectionStack(
        HangingClassifier(run.inference), (FakeDetector(),), Voter(KofN(2, 3), hold=Hold(0, 0)), AlertTracker()
    )
    return Runtime(Config(limits=LimitsSection(inference_s=LIMIT_S)), CameraSet([camera]), detection, publisher)


def test_it_is_fed_while_all_is_well(tmp_path: Path) -> None:
    with running(tmp_path, lambda run: LiveSource()) as run:
        messages = run.manager.until(lambda message: message.get("READY") == "1")
        assert all("WATCHDOG" not in message for message in messages)  # until then more time to start is asked for
        for _ in range(3):
            run.fed()


@pytest.mark.parametrize(
    ("worker", "name"), [("inference", "inference"), ("camera", "camera door"), ("publisher", "publisher")]
)
def test_a_worker_that_hangs_starves_it_and_is_named(
    tmp_path: Path, worker: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "taintwatch"), running(tmp_path, lambda run: LiveSource(run.camera)) as run:
        run.fed()
        getattr(run, worker).close()
        run.not_fed(name)
        getattr(run, worker).open()
        run.fed()
    told = [line for line in map(logging.LogRecord.getMessage, caplog.records) if line.startswith(f"{name} ")]
    hangs, *others = (line.startswith(f"{name} hangs") for line in told)
    assert (hangs, others[:1]) == (True, [False])  # told once, and then that it is alive again


def test_a_camera_in_back_off_counts_as_alive(tmp_path: Path) -> None:
    def broken() -> None:
        raise SourceError("fake is away")

    with running(tmp_path, lambda run: LiveSource(broken)) as run:
        run.manager.until(lambda message: "fake is away" in message.get("STATUS", ""))
        time.sleep(1.5 * LIMIT_S)
        run.fed()
        assert not run.is_late("camera door")


def test_until_the_start_is_over_more_time_is_asked_for_and_only_while_nobody_is_late(tmp_path: Path) -> None:
    now = [0.0]
    deadlines = Deadlines(lambda: now[0])
    deadline = deadlines.add("start")
    deadline.arm(600.0)
    with NotifySocket(tmp_path / "notify") as manager:
        notifier = Notifier(manager.address)
        watchdog = Watchdog(notifier, deadlines)
        watchdog.look()
        assert [set(message) for message in manager.waiting()] == [{"EXTEND_TIMEOUT_USEC"}]
        now[0] = 601.0
        watchdog.look()
        assert manager.waiting() == [{"STATUS": "hanging: start"}]
        deadline.disarm()
        watchdog.started()
        watchdog.look()
        assert manager.waiting() == [{"WATCHDOG": "1"}]
        notifier.close()


def test_it_looks_four_times_as_often_as_it_must_be_heard_of() -> None:
    assert look_every_s(4.0) == 1.0
    assert look_every_s(30.0) == look_every_s(None) == 2.0


def test_a_promise_is_kept_broken_renewed_and_forgotten() -> None:
    now = [0.0]
    deadlines = Deadlines(lambda: now[0])
    first, second = deadlines.add("first"), deadlines.add("second")
    first.arm(1.0)
    second.arm(3.0)
    assert deadlines.overdue() == ()
    now[0] = 4.0
    assert [(late.worker, late.overdue_s) for late in deadlines.overdue()] == [("first", 3.0), ("second", 1.0)]
    first.arm(1.0)
    second.disarm()
    assert deadlines.overdue() == ()
    now[0] = 6.0
    assert [late.worker for late in deadlines.overdue()] == ["first"]
    deadlines.remove(first)
    deadlines.remove(first)
    assert deadlines.overdue() == ()


def test_a_worker_that_nobody_holds_any_more_is_not_waited_for() -> None:
    now = [0.0]
    deadlines = Deadlines(lambda: now[0])
    deadline: Deadline | None = deadlines.add("gone")
    assert deadline is not None
    deadline.arm(1.0)
    now[0] = 2.0
    assert len(deadlines.overdue()) == 1
    deadline = None
    assert deadlines.overdue() == ()
