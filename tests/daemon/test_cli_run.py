"""The flags of `taintwatch run`: each one reaches its key of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taintwatch.cli.main import main
from taintwatch.cli.run import OPTIONS
from taintwatch.config.sections import Config
from taintwatch_models.errors import UsageError

VALUES: dict[str, tuple[str, Any]] = {
    "--site": ("gate", "gate"),
    "--model": ("m.onnx", "m.onnx"),
    "--preprocessing": ("p.toml", "p.toml"),
    "--labels": ("l.txt", "l.txt"),
    "--output": ("logits", "logits"),
    "--calibration": ("c.json", "c.json"),
    "--device": ("cuda", "cuda"),
    "--require-device": ("", True),
    "--provider": ("CPUExecutionProvider", ("CPUExecutionProvider",)),
    "--threads": ("2", 2),
    "--detector": ("paper", ("paper",)),
    "--fill": ("blur", "blur"),
    "--vote": ("k-of-n", "k-of-n"),
    "--vote-k": ("4", 4),
    "--vote-n": ("9", 9),
    "--vote-hold": ("0.5", 0.5),
    "--learn-minutes": ("3", 3.0),
    "--vote-cool-down": ("0", 0.0),
    "--vote-clear-after": ("0.5", 0.5),
    "--bind": ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7000"),
    "--evidence": ("kept", "kept"),
    "--web": ("127.0.0.1:8080", "127.0.0.1:8080"),
    "--gate": ("", True),
    "--precision": ("float16", "float16"),
    "--workers": ("3", 3),
    "--engine": ("ray", "ray"),
    "--done": ("done", "done"),
    "--max-batch": ("2", 2),
    "--max-frames": ("10", 10),
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, dict[str, Any]]]:
    """Stand in for the run itself: keep what it was asked to do. There is a webcam, as far as the flags can tell."""
    monkeypatch.setattr("taintwatch.sources.factory.require_source", lambda *about: None)
    calls: list[tuple[Config, dict[str, Any]]] = []
    monkeypatch.setattr("taintwatch.cli.launcher.run_config", lambda config, **how: calls.append((config, how)))
    return calls


def run(*flags: str) -> None:
    assert main(["run", *flags]) == 0


def test_every_flag_that_stands_for_a_key_is_tried_below() -> None:
    assert VALUES.keys() == {flag for flag, _, _ in OPTIONS}


@pytest.mark.parametrize(("flag", "path"), [(flag, path) for flag, path, _ in OPTIONS])
def test_a_flag_sets_its_key(flag: str, path: tuple[str, ...], ran: list[tuple[Config, dict[str, Any]]]) -> None:
    text, expected = VALUES[flag]
    run(flag, *([text] if text else []))
    value: Any = ran[0][0]
    for key in path:
        value = getattr(value, key)
    assert value == expected


def test_sources_are_named_by_the_user_or_counted(
    ran: list[tuple[Config, dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take=2.mp4").touch()
    run("--source", "0")
    run("--source", "door=rtsp://host/a=b", "--source", "sim:x?start=1", "--source", "take=2.mp4")
    assert [(camera.name, camera.source) for config, _ in ran for camera in config.camera] == [
        ("camera", "0"),
        ("door", "rtsp://host/a=b"),
        ("camera2", "sim:x?start=1"),
        ("camera3", "take=2.mp4"),
    ]


def test_fps_and_loop_hold_for_every_camera_of_a_file_too(
    ran: list[tuple[Config, dict[str, Any]]], tmp_path: Path
) -> None:
    file = tmp_path / "t.toml"
    file.write_text('[[camera]]\nname = "a"\nsource = "0"\n[[camera]]\nname = "b"\nsource = "1"\nfps = 3\n')
    run("--config", str(file), "--fps", "5", "--loop")
    assert [(camera.name, camera.fps, camera.loop) for camera in ran[0][0].camera] == [("a", 5, True), ("b", 5, True)]


def test_no_publish_json_quiet_and_debug_reach_the_run(ran: list[tuple[Config, dict[str, Any]]]) -> None:
    run("--no-publish", "--json", "--quiet", "--debug")
    config, how = ran[0]
    assert not config.publish.enabled
    assert how["read_again"]() == config
    assert {key: how[key] for key in how if key != "read_again"} == {
        "as_json": True,
        "quiet": True,
        "log_json": False,
        "debug": True,
    }


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--fps", "-1", "--source", "0"), "--fps: -1.0 is not right"),
        (("--source", "a=0", "--source", "a=1"), "--source: two cameras are named 'a'"),
        (("--vote-k", "9"), "--vote-k: Vote setting 'k' is 9"),
        (("--detector", "magic"), "--detector: 'magic' is none of 'combined', 'tight', 'paper', 'cmag', 'joint'"),
    ],
)
def test_a_wrong_flag_is_told_by_its_name(
    flags: tuple[str, ...], sentence: str, ran: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *flags]) == UsageError.exit_status
    assert sentence in capsys.readouterr().err
    assert ran == []
