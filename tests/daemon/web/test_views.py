"""Trials and settings on the page: reports in their folders only, no secret, and whether the calibration holds."""

from __future__ import annotations

import json
import os
import re
from html import unescape
from importlib import resources
from pathlib import Path

import pytest

from taintwatch.alarm_rates import AlarmRates, wilson_interval
from taintwatch.alerts.incidents import AlertTracker
from taintwatch.detection_stack import DetectionStack
from taintwatch.vote.voter import Voter
from taintwatch.web.description import Description
from taintwatch.web.live import LiveState
from taintwatch.web.trials import Trials
from taintwatch_calibration.trial.report import write_report
from taintwatch_calibration.trial.scored import Trial as Scored
from taintwatch_models.detection.operating_points import OperatingPoint
from tests.documentation import complaint
from tests.fakes import FakeClassifier, FakeDetector, a_frame, a_prediction, a_verdict
from tests.trial_scene import scored_clip
from tests.web_scene import a_step, ask, serving, web_config

MINUTE_NS = 60_000_000_000


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    for name in ("first", "second", "empty"):
        (tmp_path / "trials" / name).mkdir(parents=True)
    (tmp_path / "trials" / "first" / "report.html").write_text("<h1>one</h1>")
    (tmp_path / "trials" / "second" / "report.html").write_text("<h1>two</h1>")
    (tmp_path / "trials" / "second" / "report.json").write_text('{"title": "Patch at 2 m"}')
    (tmp_path / "trials" / "second" / "notes.py").write_text("print()")
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "trials" / "second" / "out.json").symlink_to(tmp_path / "secret.json")
    return tmp_path / "trials"


def test_reports_are_listed_and_opened_in_a_sandbox(reports: Path) -> None:
    with serving(web_config(trials=str(reports))) as server:
        assert ask(server, "/api/about").json()["trials"] is True
        assert {trial["name"]: trial["title"] for trial in ask(server, "/api/trials").json()} == {
            "first": "first",
            "second": "Patch at 2 m",
        }
        answer = ask(server, "/trials/first/report.html")
        assert answer.body == b"<h1>one</h1>"
        assert answer.headers["content-security-policy"].startswith("sandbox;")


def test_the_list_says_what_was_attacked_and_how_much_of_it_was_seen(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "patch"
    clips = (
        scored_clip("attack", [False] * 20, [0.9] * 19 + [0.1]),
        scored_clip("clean", [True] * 10, [0.1] * 9 + [0.9]),
    )
    trial = Scored(clips, {"tight": 0.5}, {})
    write_report(trial, "Patch at 2 m", folder)
    (told,) = Trials(tmp_path / "trials").all()
    assert told.detector == "tight"
    assert told.detected is not None
    assert told.false_positives is not None
    assert (told.detected.count, told.detected.total) == (19, 20)
    assert (told.false_positives.count, told.false_positives.total) == (1, 10)
    document = json.loads((folder / "report.json").read_text())
    document["attacks"] = [{"kind": "patch", "target": "toaster", "size": "35% of the picture", "clips": 3}]
    (folder / "report.json").write_text(json.dumps(document))
    (told,) = Trials(tmp_path / "trials").all()
    assert told.attacks == ("patch for toaster, 35% of the picture",)


@pytest.mark.parametrize(
    "path", ["second/notes.py", "second/out.json", "empty/report.html", "none/report.html", "second/"]
)
def test_only_a_reports_own_files_of_known_kinds_are_served(reports: Path, path: str) -> None:
    with serving(web_config(trials=str(reports))) as server:
        assert ask(server, f"/trials/{path}").status == (200 if path == "second/" else 404)


def test_without_reports_there_are_no_trials(tmp_path: Path) -> None:
    for web in ({}, {"trials": str(tmp_path / "none")}, {"trials": str(tmp_path)}):
        with serving(web_config(**web)) as server:
            assert ask(server, "/api/trials").json() == []
            assert ask(server, "/api/about").json()["trials"] is bool(web)  # an empty folder says what to do


def test_an_empty_list_names_commands_that_are_there() -> None:
    page = resources.files("taintwatch.web").joinpath("static", "index.html").read_text()
    told = [unescape(line) for line in re.findall(r"<code[^>]*>taintwatch ([^<]+)</code>", page)]
    assert len(told) >= 5
    assert [(line, wrong) for line in told if (wrong := complaint(line)) is not None] == []


def test_the_configuration_is_shown_without_its_secrets(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-that-nobody-sees")
    token.chmod(0o600)
    text = (
        '[[camera]]\nname = "door"\nsource = "rtsp://admin:hunter2@camera.example/stream?key=nobody-reads-this-key"\n'
    )
    with serving(web_config(text, token_file=str(token))) as server:
        bearer = "Bearer a-token-that-nobody-sees"
        answers = [
            ask(server, path, Authorization=bearer) for path in ("/api/config", "/api/about", "/api/calibration", "/")
        ]
        shown = answers[0].json()
        assert shown["camera"][0]["source"] == "rtsp://camera.example/stream?..."
        assert shown["web"]["token_file"] == str(token)
        for answer in answers:
            assert answer.status == 200
            for secret in (b"hunter2", b"nobody-sees", b"nobody-reads-this-key"):
                assert secret not in answer.body


def test_the_calibration_says_how_often_frames_without_an_alert_are_suspected() -> None:
    live = LiveState()
    for index in range(10):
        live.observe(a_step(index))
    live.observe(a_step(10, attack=True))  # the vote stands: an attack, no false alarm
    with serving(web_config(), live) as server:
        told = ask(server, "/api/calibration").json()
    (tight,) = told["detectors"]
    assert told["calibrated"] is False
    assert (tight["now"]["frames"], tight["now"]["alarms"], tight["drifted"]) == (10, 0, False)


def test_what_was_learnt_is_held_to_its_own_rate_and_not_to_the_calibrations() -> None:
    class Learnt(FakeDetector):
        point = OperatingPoint(0.001, 9.0, 8.0, 10.0, alarms=1, frames=500, novel_alarms=0, novel_frames=0)

    stack = DetectionStack(FakeClassifier(), (Learnt(),), Voter(), AlertTracker())
    (told,) = Description(web_config, lambda: stack, LiveState()).calibration()["detectors"]
    assert (told["target_fpr"], told["then"]["alarms"], told["then"]["frames"]) == (0.001, 1, 500)
    assert told["then"]["low"] < 0.002 < told["then"]["high"]


def see(rates: AlarmRates, count: int, every: int, minute: int = 0) -> None:
    for index in range(count):
        verdict = a_verdict(a_prediction(a_frame(index)), index % every == 0)
        rates.see([verdict], minute * MINUTE_NS)


def test_drift_is_told_on_enough_frames_and_clear_evidence_only() -> None:
    few, many, fine = AlarmRates(), AlarmRates(), AlarmRates()
    see(few, 100, every=2)
    see(many, 1000, every=5)
    see(fine, 1000, every=40)
    assert [rates.now()[0].drifted(0.02) for rates in (few, many, fine)] == [False, True, False]
    assert not many.now()[0].drifted(None)


def test_what_was_an_hour_ago_no_longer_counts() -> None:
    rates = AlarmRates()
    for minute in range(100):
        see(rates, 10, every=1 if minute < 30 else 100, minute=minute)
    (rate,) = rates.now()
    assert (rate.frames, rate.alarms) == (600, 60)


def test_the_interval_is_wilsons() -> None:
    low, high = wilson_interval(39, 1000)
    assert (round(low, 5), round(high, 5)) == (0.02866, 0.05287)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_one_folder_of_nonsense_hides_no_other_trial(tmp_path: Path) -> None:
    for name, beside in (
        ("deep", "[" * 100_000),
        ("none", "{"),
        ("large", " " * 5_000_000),
        ("good", '{"title": "T"}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").write_text("<p>")
        (tmp_path / name / "report.json").write_text(beside)
    (tmp_path / "pipe").mkdir()
    (tmp_path / "pipe" / "report.html").write_text("<p>")
    os.mkfifo(tmp_path / "pipe" / "report.json")
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "report.html")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "report.html").write_text("<p>")
    secret = tmp_path.parent / "secret.json"
    secret.write_text('{"title": "SECRET"}')
    (tmp_path / "link" / "report.json").symlink_to(secret)
    found = {trial.name: trial.title for trial in Trials(tmp_path).all()}
    assert found == {"deep": "deep", "none": "none", "large": "large", "good": "T", "pipe": "pipe", "link": "link"}
    assert Trials(tmp_path).file("pipes", "report.html") is None
