"""Learning as a state of the daemon: a camera is learnt, armed by itself, and starts armed the next time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from taintwatch import assembly
from taintwatch.arming import ArmingState
from taintwatch.assembly import assemble, learnable_cameras, make_learner
from taintwatch.config.load import parse_config
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.learner import Learner
from taintwatch.references import GENERAL, References, StoppedError, state_folder
from taintwatch.runtime import Runtime
from taintwatch.service import Service
from taintwatch.sources.source import Grab, Source, SourceSettings
from taintwatch_models.detection.reference import read_reference
from taintwatch_models.errors import ConfigError
from tests.daemon.test_service import FakeReporter
from tests.tiny_model import write_model


class LiveScene:
    """A live camera before a scene of its own; `attack` shows magenta."""

    live = True
    description = "scene"

    def __init__(self, shade: int) -> None:
        self._rng = np.random.default_rng(shade)
        self._base = self._rng.integers(shade - 20, shade + 20, (64, 64, 3))
        self.attack = False

    def open(self) -> None:
        pass

    def read(self) -> Grab | None:
        time.sleep(0.003)
        image = np.clip(self._base + self._rng.normal(0, 4, self._base.shape), 0, 255).astype(np.uint8)
        if self.attack:
            image[20:44, 8:36] = (255, 0, 255)
        return Grab(image)

    def close(self) -> None:
        pass


SCENES: dict[str, LiveScene] = {}


@pytest.fixture(autouse=True)
def scenes(monkeypatch: pytest.MonkeyPatch) -> dict[str, LiveScene]:
    """Two live cameras, which `rtsp://` addresses stand for."""
    SCENES.clear()
    SCENES.update({"rtsp://one/": LiveScene(90), "rtsp://two/": LiveScene(160)})

    def open_scene(spec: str, settings: SourceSettings) -> Source:
        return SCENES[spec]

    monkeypatch.setattr(assembly, "open_source", open_scene)
    return SCENES


def a_config(folder: Path, *cameras: str, more: str = "") -> Config:
    model = folder / "tiny.onnx"
    if not model.is_file():
        write_model(model)
    text = f'[model]\npath = "{model}"\nthreads = 1\n[publish]\nenabled = false\n{more}'
    text += f'[learn]\nminutes = 0.01\nframes = 125\nfolder = "{folder}/state"\n' if "[learn]" not in more else ""
    for camera in cameras:
        text += f'[[camera]]\nname = "{camera}"\nsource = "rtsp://{camera}/"\n'
    return parse_config(text, "t.toml", folder)


@contextmanager
def running(config: Config) -> Iterator[tuple[Runtime, Learner | None, FakeReporter]]:
    deadlines, stop, reporter = Deadlines(), threading.Event(), FakeReporter()
    runtime = assemble(config, deadlines)
    learner = runtime.learner = make_learner(runtime, deadlines)
    observe = (lambda step: None) if learner is None else learner.see
    changes = () if learner is None else (learner,)
    service = Service(runtime, reporter, stopping=stop.is_set, changes=changes, deadlines=deadlines, observe=observe)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield runtime, learner, reporter
    finally:
        stop.set()
        thread.join()


def until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "more",
    [
        "[learn]\nenabled = false\n",
        '[detect]\ndetectors = ["tight"]\n',
    ],
)
def test_nothing_is_learnt_where_somebody_says_how_to_judge(tmp_path: Path, more: str) -> None:
    assert learnable_cameras(a_config(tmp_path, "one", more=more)) == ()


def test_nothing_is_learnt_of_a_model_that_is_calibrated(tmp_path: Path) -> None:
    bundled = parse_config('[[camera]]\nname = "one"\nsource = "rtsp://one/"\n', "t.toml")
    assert learnable_cameras(bundled) == ()
    config = a_config(tmp_path, "one")
    assert learnable_cameras(config) == ("one",)
    (tmp_path / "tiny.reference.npz").touch()
    assert learnable_cameras(config) == ()


def test_a_camera_is_learnt_armed_by_itself_and_armed_the_next_time(
    tmp_path: Path, scenes: dict[str, LiveScene]
) -> None:
    config = a_config(tmp_path, "one", "two")
    with running(config) as (runtime, learner, reporter):
        assert learner is not None
        assert learner.unarmed == {"one", "two"}
        assert [detector.name for detector in runtime.detection.detectors] == ["combined"]
        until(lambda: not learner.unarmed)
        states = [[camera.arming for camera in status.cameras] for status in reporter.statuses]
        assert states[0] == ["learning", "learning"]
        until(lambda: [camera.arming for camera in reporter.statuses[-1].cameras] == ["armed", "armed"])
        assert [alert for alert in reporter.alerts if alert.state == "raised"] == []
        scenes["rtsp://two/"].attack = True
        until(lambda: any(alert.camera == "two" for alert in reporter.alerts), 20)
        assert {alert.camera for alert in reporter.alerts} == {"two"}
    hashes = {runtime.detection.classifier.card.model_hash}
    kept = References(tmp_path / "state", hashes.pop())
    own = [read_reference(kept.path(camera)) for camera in ("one", "two")]
    assert [reference.about.site for reference in own] == ["camera one", "camera two"]
    assert kept.learnt(GENERAL)
    with running(config) as (runtime, learner, reporter):
        assert learner is not None
        assert learner.unarmed == frozenset()
        assert {state.state for state in learner.states().values()} == {ArmingState.ARMED}


def test_frames_are_spread_over_the_time_and_no_more_are_taken(tmp_path: Path, scenes: dict[str, LiveScene]) -> None:
    config = a_config(tmp_path, "one", more=f'[learn]\nminutes = 60\nframes = 125\nfolder = "{tmp_path}/state"\n')
    with running(config) as (_, learner, reporter):
        assert learner is not None
        until(lambda: bool(reporter.statuses) and reporter.statuses[-1].frames > 50)
        assert learner.states()["one"].share == pytest.approx(1 / 125)  # the next one is due in half a minute


def test_a_stop_while_general_pictures_are_learnt_ends_the_start_and_keeps_nothing(tmp_path: Path) -> None:
    config = a_config(tmp_path, "one")
    with pytest.raises(StoppedError):
        assemble(config, Deadlines(), lambda: True)
    assert not list((tmp_path / "state").rglob("*.npz"))


def test_a_state_folder_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    config = a_config(tmp_path, "one", more='[learn]\nfolder = "/proc/version"\n')
    with pytest.raises(ConfigError, match=r"what is learnt cannot be kept in /proc/version/.*set learn\.folder"):
        assemble(config, Deadlines())


def test_the_state_folder_is_systemds_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/taintwatch")
    assert state_folder(Config()) == Path("/var/lib/taintwatch")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert state_folder(Config()) == Path("/home/me/state/taintwatch")
