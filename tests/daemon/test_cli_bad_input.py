"""Whatever is wrong with what a user gives: one sentence, the right exit status, never a traceback."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taintwatch.cli.main import main
from tests.tiny_model import footage, write_model, write_video

USAGE, CONFIG = 2, 78
Arguments = list[str | Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "walk.mp4", footage(10))


def a_file(path: Path, content: str | bytes = "") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def with_model(make: Callable[[Path], Path]) -> Callable[[Path, Path, Path], Arguments]:
    return lambda folder, _, video: ["run", "--source", video, "--model", make(folder / "bad.onnx")]


def with_flags(*flags: str) -> Callable[[Path, Path, Path], Arguments]:
    return lambda _, model, video: ["run", "--source", video, "--model", model, *flags]


def with_source(make: Callable[[Path], str | Path]) -> Callable[[Path, Path, Path], Arguments]:
    return lambda folder, model, _: ["run", "--source", make(folder), "--model", model]


def with_config(text: str) -> Callable[[Path, Path, Path], Arguments]:
    return lambda folder, *_: ["run", "--config", a_file(folder / "site.toml", text)]


CASES: dict[str, tuple[Callable[[Path, Path, Path], Arguments], int, str]] = {
    "no command of that name": (lambda *_: ["rnu"], USAGE, "did you mean run?"),
    "no option of that name": (with_flags("--modle", "x"), USAGE, "--modle"),
    "nothing to watch": (with_config('site = "gate"'), USAGE, "give --source"),
    "a missing video": (with_source(lambda folder: folder / "none.mp4"), USAGE, "none.mp4 does not exist"),
    "an empty folder": (with_source(lambda folder: folder), USAGE, "holds no image and no video"),
    "a video of zero length": (with_source(lambda folder: a_file(folder / "zero.mp4")), USAGE, "zero.mp4"),
    "an unknown scheme": (with_source(lambda _: "gopher://u:s3cret@host/x"), USAGE, "'gopher'"),
    "a missing configuration": (lambda folder, *_: ["run", "--config", folder / "none.toml"], USAGE, "no such file"),
    "an unknown key": (with_config("\n[model]\ndevise = 1"), CONFIG, "site.toml, line 3: model.devise: unknown key"),
    "a wrong value": (with_config("[vote]\nk = 9"), CONFIG, "site.toml, line 2: vote: Vote setting 'k' is 9"),
    "no TOML": (with_config("a = = 1"), CONFIG, "site.toml, line 1: not TOML"),
    "a wrong value of a flag": (with_flags("--device", "gpu"), USAGE, "--device: 'gpu' is none of"),
    "a missing model": (with_flags("--model", "none.onnx"), CONFIG, "none.onnx"),
    "a model that is none": (with_model(lambda path: a_file(path, "text")), CONFIG, "bad.onnx"),
    "a model with two outputs": (with_model(lambda path: write_model(path, outputs=2)), CONFIG, "output"),
    "a model without convolution": (
        with_model(lambda path: write_model(path, convolution=False)),
        CONFIG,
        "onvolution",
    ),
    "a model that gives NaN": (with_model(lambda path: write_model(path, last_bias=float("nan"))), CONFIG, "NaN"),
    "a model of four channels": (with_model(lambda path: write_model(path, channels=4)), CONFIG, "channels"),
    "a missing device": (with_flags("--provider", "NoSuchProvider", "--require-device"), CONFIG, "NoSuchProvider"),
    "a missing calibration": (with_flags("--calibration", "none.json"), CONFIG, "none.json: no such calibration"),
    "an endpoint for everybody": (with_flags("--bind", "tcp://*:5999"), CONFIG, "tcp://*:5999"),
    "an endpoint that is none": (with_flags("--bind", "nonsense"), CONFIG, "nonsense"),
}


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The program sets up logging for its whole process, which here is that of the tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_in_one_sentence_with_the_right_status(
    case: str, model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, status, part = CASES[case]
    assert main([str(argument) for argument in make(tmp_path, model, video)]) == status
    captured = capsys.readouterr()
    assert_told(captured.err, part)
    assert captured.out == ""


def test_a_calibration_of_another_model_is_refused(
    model: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = a_file(tmp_path / "o.json", '{"format": "taintwatch-calibration/1", "model_hash": "ab", "model_name": "o"}')
    assert main(["run", "--source", str(video), "--model", str(model), "--calibration", str(other)]) == CONFIG
    assert_told(capsys.readouterr().err, "belongs to another model")


def test_a_port_in_use_is_refused(model: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["run", "--source", str(video), "--model", str(model), "--bind", endpoint]) == CONFIG
    assert_told(capsys.readouterr().err, endpoint)


def assert_told(text: str, part: str) -> None:
    """One sentence of ours comes last, with `part` in it; no traceback, no credential."""
    told = [line for line in text.splitlines() if line.startswith("taintwatch: ")]
    assert len(told) == 1, text
    assert part in told[0]
    assert text.endswith(told[0] + "\n")
    assert "Traceback" not in text
    assert "s3cret" not in text
