"""What is learnt: at first nothing that an alert stood at; again when asked, or on a schedule, nothing suspicious."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from taintwatch import learner as module
from taintwatch.arming import LearningPlan
from taintwatch.config.load import parse_config
from taintwatch.detection_stack import ConfigurationChange
from taintwatch.evidence.audit import AuditLog, read_audit
from taintwatch.learner import Learner
from taintwatch.records import AlertState
from taintwatch.references import References
from taintwatch.refits import Refits
from taintwatch_calibration import cli_refit
from taintwatch_models.detection.detector import COMBINED
from taintwatch_models.preprocessing import Preprocessing
from tests.alert_fakes import an_alert
from tests.fakes import a_prediction, a_verdict
from tests.tiny_model import write_model
from tests.web_scene import a_step, ask, serving, web_config, write

RADAR = SimpleNamespace(info=SimpleNamespace(preprocessing=Preprocessing(size=(8, 8))))
CHANGE = ConfigurationChange(config=cast("Any", None))
FRAME_S = 0.04  # between two of `a_step`


class Scene:
    """A learner of one camera, learnt or not, whose clock a test sets; learning writes an empty file."""

    def __init__(self, folder: Path, plan: LearningPlan, *, learnt: bool = True) -> None:
        self.now, self.index, self.change = 0.0, 0, CHANGE
        self.references = References(folder / "state", "ab" * 32)
        self.reference = self.references.path("door")
        self.reference.parent.mkdir(parents=True)
        if learnt:
            self.reference.write_bytes(b"old")
        self.refits = Refits(folder / "state")
        self.audit = folder / "audit.jsonl"
        self.learner = Learner(
            cast("Any", RADAR), self.references, ("door",), plan, lambda: self.change, refits=self.refits,
            audit=AuditLog(self.audit), clock=lambda: self.now,
        )  # fmt: skip

    @property
    def state(self) -> str:
        return self.learner.states()["door"].state.value

    def watch(
        self, count: int, suspicious: Callable[[int], bool] = lambda index: False, *, stands: bool = True
    ) -> bool:
        """Show frames, each with a look for what is to be done; return whether a camera was armed.

        `stands`: where one is suspicious, the vote is raised, too.
        """
        for _ in range(count):
            self.now += 3.0
            step = a_step(self.index, attack=suspicious(self.index) and stands)
            if suspicious(self.index) and not stands:
                verdicts = tuple(type(v)(**_fields(v, detector=COMBINED, suspicious=True)) for v in step.verdicts)
                step = type(step)(**_fields(step, verdicts=verdicts))
            elif not stands:
                verdicts = tuple(type(v)(**_fields(v, detector=COMBINED)) for v in step.verdicts)
                step = type(step)(**_fields(step, verdicts=verdicts))
            self.learner.see(step)
            self.index += 1
            if self.learner.poll() is not None:
                self.learner.done()
                return True
        return False

    def fit(self) -> None:
        """Wait until what is fitted is armed."""
        deadline = time.monotonic() + 30
        while self.learner.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.learner.done()


def _fields(of: Any, **changed: Any) -> dict[str, Any]:
    return {name: getattr(of, name) for name in type(of).__dataclass_fields__} | changed


@pytest.fixture(autouse=True)
def learning(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames were learnt from, each time."""
    counts: list[int] = []

    def learn(radar: object, pixels: Any, *_: object, **__: object) -> object:
        counts.append(len(pixels))
        return object()

    monkeypatch.setattr(module, "learn", learn)
    monkeypatch.setattr(module, "general_pictures", lambda preprocessing: None)
    monkeypatch.setattr(module, "write_reference", lambda reference, path: path.write_bytes(b"new"))
    return counts


PLAN = LearningPlan(10 * FRAME_S, 10, margin_s=1.5 * FRAME_S)


def test_a_camera_that_is_asked_for_is_learnt_again_of_what_is_not_suspicious(
    tmp_path: Path, learning: list[int]
) -> None:
    scene = Scene(tmp_path, PLAN)
    scene.refits.ask("door", "page 127.0.0.1")
    scene.watch(5, lambda index: index in (2, 3))
    assert (scene.state, scene.learner.unarmed) == ("refitting", frozenset())
    assert scene.reference.read_bytes() == b"old"
    if not scene.watch(11):
        scene.fit()
    assert (scene.state, scene.reference.read_bytes(), learning) == ("armed", b"new", [10])
    assert scene.refits.all() == {}
    (entry,) = read_audit(scene.audit, None).entries
    assert (entry["action"], entry["who"], entry["camera"]) == ("learnt", "page 127.0.0.1", "door")
    assert (entry["frames"], entry["suspicious"], entry["left_out"]) == (10, 0, 4)


def test_what_is_shown_around_an_alert_is_not_learnt_the_first_time_either(
    tmp_path: Path, learning: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Else whoever shows an attack while a camera is learnt has shown the daemon what it is never to alert of."""
    scene = Scene(tmp_path, PLAN, learnt=False)
    scene.watch(6)  # the last of which may show what is raised with the next
    scene.watch(30, lambda index: True)
    assert scene.state == "learning"
    assert scene.learner.states()["door"].share == pytest.approx(0.5)
    assert caplog.text.count("camera door is not learnt yet: ") == 1
    if not scene.watch(7):  # the first of which may still show it
        scene.fit()
    assert (scene.state, learning) == ("armed", [10])
    (entry,) = read_audit(scene.audit, None).entries
    assert (entry["frames"], entry["suspicious"], entry["left_out"]) == (10, 0, 32)


@pytest.mark.parametrize("seen", [False, True])
def test_what_was_learnt_is_tried_on_what_raised_an_alert_meanwhile(
    tmp_path: Path, learning: list[int], caplog: pytest.LogCaptureFixture, seen: bool
) -> None:
    """A few frames of an attack that raised nothing may have been learnt: then it is not seen any more."""
    scene = Scene(tmp_path, PLAN, learnt=False)
    scene.watch(3)
    scene.learner.see(replace(a_step(scene.index, attack=True), alert=an_alert(state=AlertState.RAISED)))
    detection = SimpleNamespace(
        classifier=lambda frames: [a_prediction(frame) for frame in frames],
        detectors=(lambda prediction: a_verdict(prediction, seen),),
    )
    scene.change = ConfigurationChange(config=cast("Any", None), detection=cast("Any", detection))
    scene.index += 3
    if not scene.watch(12):
        scene.fit()
    assert read_audit(scene.audit, None).entries[0]["unseen"] == int(not seen)
    assert ("of 1 frames that raised an alert while it was learnt, 1 are not suspicious" in caplog.text) is not seen


def test_frames_that_look_suspicious_without_an_alert_are_learnt_at_first(tmp_path: Path, learning: list[int]) -> None:
    """The general reference suspects what is only unusual: that it must come to know."""
    scene = Scene(tmp_path, PLAN, learnt=False)
    if not scene.watch(11, lambda index: index == 1, stands=False):
        scene.fit()
    (entry,) = read_audit(scene.audit, None).entries
    assert (entry["frames"], entry["suspicious"], entry["left_out"]) == (10, 1, 0)


def test_what_is_taken_back_is_not_learnt(tmp_path: Path, learning: list[int]) -> None:
    scene = Scene(tmp_path, PLAN)
    scene.refits.ask("door", "somebody")
    scene.watch(3)
    assert scene.state == "refitting"
    assert scene.refits.drop("door")
    assert not scene.watch(40)
    assert (scene.state, learning) == ("armed", [])


def test_where_most_looks_suspicious_it_is_given_up(
    tmp_path: Path, learning: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path, PLAN)
    scene.refits.ask("door", "somebody")
    scene.watch(30, lambda index: index % 5 > 0)
    assert (scene.state, learning, scene.refits.all()) == ("armed", [], {})
    assert "is not learnt again" in caplog.text
    assert "looked suspicious" in caplog.text


def test_what_is_old_is_learnt_again_where_a_schedule_says_so(tmp_path: Path, learning: list[int]) -> None:
    scheduled = LearningPlan(10 * FRAME_S, 10, refit_s=86_400.0)
    scene = Scene(tmp_path, scheduled)
    scene.watch(3)
    assert scene.state == "armed"
    old = time.time() - 100_000
    os.utime(scene.reference, (old, old))
    if not scene.watch(12):
        scene.fit()
    assert (scene.state, learning, read_audit(scene.audit, None).entries[0]["who"]) == ("armed", [10], "schedule")
    assert not scene.watch(20)


def test_drift_is_proposed_and_nothing_is_learnt_unasked(
    tmp_path: Path, learning: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path, LearningPlan(10 * FRAME_S, 10, target_fpr=0.01))
    scene.watch(350, stands=False)
    assert scene.state == "armed"
    scene.watch(100, lambda index: index % 3 == 0, stands=False)
    assert (scene.state, learning, scene.refits.all()) == ("drifting", [], {})
    assert caplog.text.count("if nothing is wrong there, learn it again (taintwatch calibrate refit door") == 1
    scene.refits.ask("door", "somebody")
    if not scene.watch(20, stands=False):
        scene.fit()
    assert (scene.state, learning) == ("armed", [10])


def test_the_page_asks_for_it_and_takes_it_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path, PLAN)
    with serving(web_config(), learner=lambda: scene.learner) as server:
        assert write(server, "/api/cameras/door/refit", {"wanted": True}).json() == {"wanted": True}
        assert scene.refits.all()["door"].by.startswith("page 127.0.0.1")
        assert write(server, "/api/cameras/door/refit", {"wanted": False}).status == 200
        assert scene.refits.all() == {}
        assert write(server, "/api/cameras/gate/refit", {"wanted": True}).status == 404
        assert write(server, "/api/cameras/door/refit", {}).status == 400
        assert ask(server, "/api/cameras/door/refit").status == 405
    with serving(web_config()) as server:
        assert write(server, "/api/cameras/door/refit", {"wanted": True}).status == 404


def test_the_command_line_asks_for_it_and_takes_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f'[model]\npath = "{write_model(tmp_path / "tiny.onnx")}"\n[learn]\nfolder = "{tmp_path}/state"\n'
    text += f'[evidence]\nfolder = "{tmp_path}"\n[[camera]]\nname = "door"\nsource = "rtsp://camera.example/"\n'
    monkeypatch.setattr(cli_refit, "load_config", lambda path: parse_config(text, str(path), tmp_path))

    def run(*words: str) -> str:
        return CliRunner().invoke(cli_refit.refit, [*words, "--config", "site.toml"], catch_exceptions=True).output

    assert run("door") == "door  learnt again, of the next 10 minutes\n"
    assert list(Refits(tmp_path / "state").all()) == ["door"]
    assert run("door", "--stop") == "door  judged by what was learnt before\n"
    assert [entry["action"] for entry in read_audit(tmp_path / "audit.jsonl", None).entries] == [
        "refit_asked",
        "refit_withdrawn",
    ]
    for words in (("gate",), ("door", "--stop")):
        found = CliRunner().invoke(cli_refit.refit, [*words, "--config", "site.toml"])
        assert found.exception is not None


def test_a_damaged_file_is_set_aside_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(tmp_path, PLAN)
    stored = tmp_path / "state" / "refits.json"
    stored.write_text('{"door": 3}')
    assert not scene.watch(5)
    assert scene.learner.refits.notice is not None
    assert caplog.text.count("refits.json was damaged, kept as refits.json.damaged; ask again") == 1
    assert (stored.with_name("refits.json.damaged").read_text(), stored.exists()) == ('{"door": 3}', False)
    Refits(tmp_path / "state").ask("door", "somebody")
    scene.watch(1)
    assert scene.state == "refitting"
    assert scene.learner.refits.notice is None


def test_a_file_that_cannot_be_read_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "refits.json").mkdir()
    refits = Refits(tmp_path)
    assert (refits.all(), refits.all()) == ({}, {})
    assert caplog.text.count("refits.json cannot be read (Is a directory)") == 1
