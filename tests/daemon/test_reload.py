"""Reloading: what is exchanged, what is refused and why, and that a service goes on meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taintwatch.assembly import assemble, prepare_change
from taintwatch.config.load import load_config, parse_config
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.detection_stack import ConfigurationChange
from taintwatch.records import Alert, AlertState
from taintwatch.reload import Reloader, refuse_what_takes_a_restart
from taintwatch.service import Service
from taintwatch.service_manager import Notifier
from taintwatch.status import RunStatus
from taintwatch_models import preparation_process
from taintwatch_models.errors import ConfigError, SourceError, TaintwatchError
from tests.daemon.notify_socket import NotifySocket
from tests.daemon.test_service import FakeReporter
from tests.tiny_model import footage, write_model, write_video

CAMERA = '[[camera]]\nname = "{}"\nsource = "rtsp://127.0.0.1:1/{}"\n'


def config(text: str) -> Config:
    return parse_config(text, "t.toml")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('site = "b"\n', "site"),
        ('[publish]\nbind = "tcp://127.0.0.1:9"\n', "publish.bind"),
        ("[publish]\nenabled = false\nheartbeat_s = 3\n", "publish.enabled, publish.heartbeat_s"),
        ("[metrics]\nenabled = true\n", "metrics.enabled"),
        ("[limits]\nmax_frames = 3\n", "limits.max_frames"),
        ('[evidence]\nfolder = "/x"\n', "evidence.folder"),
    ],
)
def test_what_takes_a_restart_is_refused_by_name(text: str, names: str) -> None:
    with pytest.raises(ConfigError, match=f"^{names} changed, which takes? a restart$"):
        refuse_what_takes_a_restart(config(""), config(text))


@pytest.mark.parametrize(
    "text",
    [
        CAMERA.format("a", "a"),
        '[model]\nthreads = 2\nfallback = "cpu"\n',
        "[vote]\nk = 2\n",
        "[publish]\nstatus_s = 1\nupdate_s = 2\n",
        "[limits]\nmax_batch = 2\nstop_s = 1\ninference_s = 5\n",
    ],
)
def test_everything_else_is_not(text: str) -> None:
    refuse_what_takes_a_restart(config(""), config(text))


def test_only_the_cameras_that_differ_are_exchanged() -> None:
    old = config(CAMERA.format("same", "1") + CAMERA.format("moved", "1") + CAMERA.format("gone", "1"))
    new = config(CAMERA.format("new", "1") + CAMERA.format("same", "1") + CAMERA.format("moved", "2"))
    change = prepare_change(old, new, None, Deadlines())
    assert change.removed == ("moved", "gone")
    assert [camera.name for camera in change.added] == ["new", "moved"]
    assert change.detection is None


def test_a_camera_that_can_never_work_spoils_it_all() -> None:
    old = config(CAMERA.format("a", "1"))
    with pytest.raises(SourceError, match="does not exist"):
        prepare_change(old, config('[[camera]]\nname = "b"\nsource = "/no/such.mp4"\n'), None, Deadlines())
    with pytest.raises(TaintwatchError, match="no camera"):
        prepare_change(old, config(""), None, Deadlines())


class Reloads:
    """A reloader on a real notification socket, driven step by step."""

    def __init__(self, manager: NotifySocket) -> None:
        self.read: Callable[[], Config] = lambda: config("")
        self.asked = threading.Event()
        self.manager = manager
        self.prepared: list[tuple[Config, Config]] = []
        self.notifier = Notifier(manager.address)
        self.current = config("")
        self.reloader = Reloader(
            lambda: self.current, lambda: self.read(), self._prepare, self.notifier, requested=self.asked
        )

    def _prepare(self, old: Config, new: Config) -> ConfigurationChange:
        self.prepared.append((old, new))
        return ConfigurationChange(new)

    def poll_until_told(self) -> ConfigurationChange | None:
        """Poll as a service does until there is a change, or a refusal was told."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            change = self.reloader.poll()
            if change is not None:
                self.current = change.config
            if change is not None or self.reloader.refused is not None:
                return change
            time.sleep(0.005)
        raise AssertionError("nothing came of the reload")


@pytest.fixture
def reloads(tmp_path: Path) -> Iterator[Reloads]:
    with NotifySocket(tmp_path / "notify") as manager:
        made = Reloads(manager)
        yield made
        made.notifier.close()


def test_nothing_happens_unless_asked(reloads: Reloads) -> None:
    assert [reloads.reloader.poll() for _ in range(3)] == [None, None, None]
    assert reloads.manager.waiting() == []


def test_a_reload_is_announced_and_its_end_told(reloads: Reloads) -> None:
    reloads.read = lambda: config("[publish]\nstatus_s = 9\n")
    reloads.asked.set()
    change = reloads.poll_until_told()
    assert change is not None
    assert change.config.publish.status_s == 9
    (message,) = reloads.manager.waiting()
    assert (message["RELOADING"], message["MONOTONIC_USEC"].isdigit()) == ("1", True)
    reloads.reloader.done()
    assert reloads.manager.waiting() == [{"READY": "1", "STATUS": "reloaded"}]


def test_an_invalid_configuration_is_refused_with_its_reason_and_the_old_one_stays(
    reloads: Reloads, caplog: pytest.LogCaptureFixture
) -> None:
    reloads.read = lambda: config("[vote]\nk = 0\n")
    reloads.asked.set()
    assert reloads.poll_until_told() is None
    assert reloads.prepared == []
    ready = reloads.manager.waiting()[-1]
    assert ready["READY"] == "1"
    assert "t.toml, line" in ready["STATUS"]
    assert "vote" in ready["STATUS"]
    assert "the old one stays" in caplog.text


def test_after_a_refusal_the_next_one_is_compared_with_the_one_in_use(reloads: Reloads) -> None:
    texts = iter(["[vote]\nk = 2\n", "[vote]\nk = 0\n", "[vote]\nk = 4\nn = 6\n"])
    reloads.read = lambda: config(next(texts))
    for _ in range(3):
        reloads.asked.set()
        reloads.reloader.refused = None
        reloads.poll_until_told()
    assert [(old.vote.k, new.vote.k) for old, new in reloads.prepared] == [(None, 2), (2, 4)]


def test_asking_again_while_it_loads_makes_it_load_once_more(reloads: Reloads) -> None:
    go_on = threading.Event()

    def read() -> Config:
        assert go_on.wait(30)
        return config("")

    reloads.read = read
    reloads.asked.set()
    reloads.reloader.poll()
    for _ in range(50):
        reloads.asked.set()
        reloads.reloader.poll()
    go_on.set()
    for _ in range(2):
        assert reloads.poll_until_told() is not None
    time.sleep(0.05)
    assert reloads.reloader.poll() is None
    assert len(reloads.prepared) == 2


class Site:
    """A service on real files with a real model, whose configuration can be written anew."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "site.toml"
        self._head = f'[model]\npath = "{write_model(folder / "tiny.onnx")}"\n[publish]\nenabled = false\n'
        self._benign = write_video(folder / "benign.mp4", footage(25))
        self._attack = write_video(folder / "attack.mp4", footage(25, range(25)))
        self.asked = threading.Event()
        self.reporter = FakeReporter()
        self.late: list[str] = []

    def write(self, *cameras: str, more: str = "") -> None:
        text = self._head + more
        for name in cameras:
            source = self._attack if name.startswith("attack") else self._benign
            text += f'[[camera]]\nname = "{name}"\nsource = "{source}"\nloop = true\nrealtime = true\n'
        self.file.write_text(text)

    @contextmanager
    def running(self) -> Iterator[Reloader]:
        first, deadlines, stop = load_config(self.file), Deadlines(), threading.Event()
        runtime = assemble(first, deadlines)
        reloader = Reloader(
            lambda: runtime.config,
            lambda: load_config(self.file),
            lambda old, new: prepare_change(old, new, runtime.identity, deadlines),
            Notifier(None),
            requested=self.asked,
        )
        service = Service(runtime, self.reporter, stopping=stop.is_set, changes=(reloader,), deadlines=deadlines)
        thread = threading.Thread(target=service.run)
        thread.start()
        try:
            yield reloader
            self.late = [late.worker for late in deadlines.overdue()]
        finally:
            stop.set()
            thread.join()

    def until(self, holds: Callable[[RunStatus], bool]) -> RunStatus:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.reporter.statuses and holds(self.reporter.statuses[-1]):
                return self.reporter.statuses[-1]
            time.sleep(0.01)
        raise AssertionError(f"not reached: {self.reporter.statuses[-1:]}")

    def frames(self, camera: str) -> int:
        return next((each.frames for each in self.reporter.statuses[-1].cameras if each.camera == camera), 0)

    def alerts(self, camera: str) -> list[Alert]:
        return [alert for alert in self.reporter.alerts if alert.camera == camera]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def names(status: RunStatus) -> list[str]:
    return [camera.camera for camera in status.cameras]


def test_cameras_come_and_go_while_the_others_are_watched_on(site: Site) -> None:
    site.write("door")
    with site.running():
        site.until(lambda status: status.frames > 3)
        site.write("door", "yard")
        site.asked.set()
        site.until(lambda status: names(status) == ["door", "yard"] and site.frames("yard") > 3)
        before = site.frames("door")
        assert before > 3  # it was not started anew
        site.write("yard")
        site.asked.set()
        site.until(lambda status: names(status) == ["yard"])
    assert site.late == []


def test_the_alert_of_a_camera_that_goes_is_cleared_and_that_of_another_stays_open(site: Site) -> None:
    site.write("attack1", "attack2")
    with site.running():
        site.until(lambda status: status.open_alerts == 2)
        site.write("attack2", "door")
        site.asked.set()
        site.until(lambda status: names(status) == ["attack2", "door"])
        assert [alert.state for alert in site.alerts("attack1")][-1] is AlertState.CLEARED
        assert AlertState.CLEARED not in [alert.state for alert in site.alerts("attack2")]


def test_new_votes_are_taken_over_and_alerts_begin_anew(site: Site) -> None:
    site.write("attack1")
    with site.running():
        site.until(lambda status: status.open_alerts == 1)
        site.write("attack1", more="[vote]\nk = 5\nn = 6\n")
        site.asked.set()
        site.until(lambda status: len({alert.event_id for alert in site.alerts("attack1")}) == 2)
    states = [alert.state for alert in site.alerts("attack1") if alert.state is not AlertState.UPDATED]
    assert states[:3] == [AlertState.RAISED, AlertState.CLEARED, AlertState.RAISED]


def test_a_model_that_cannot_be_loaded_changes_nothing(site: Site, tmp_path: Path) -> None:
    site.write("door")
    good = site.file.read_text()
    with site.running() as reloader:
        site.until(lambda status: status.frames > 3)
        (tmp_path / "broken.onnx").write_bytes(b"no model")
        site.file.write_text(good.replace("tiny.onnx", "broken.onnx") + CAMERA.format("more", "x"))
        site.asked.set()
        site.until(lambda status: reloader.refused is not None)
        assert "broken.onnx" in str(reloader.refused)
        before = site.frames("door")
        status = site.until(lambda status: site.frames("door") > before + 3)
        assert names(status) == ["door"]


def test_a_model_that_takes_for_ever_to_prepare_is_given_up_and_the_others_are_watched_on(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("door")
    good = site.file.read_text()
    with site.running() as reloader:
        site.until(lambda status: status.frames > 3)
        monkeypatch.setattr(preparation_process, "PREPARE_S", 0.2)
        write_model(tmp_path / "slow.onnx")
        site.file.write_text(good.replace("tiny.onnx", "slow.onnx"))
        site.asked.set()
        site.until(lambda status: reloader.refused is not None)
        assert "slow.onnx: takes longer than 0.2 s to prepare" in str(reloader.refused)
        before = site.frames("door")
        site.until(lambda status: site.frames("door") > before + 3)
