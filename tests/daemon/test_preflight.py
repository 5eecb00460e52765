"""What `config check` finds is what `run` refuses: all of it, each with its place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from taintwatch.cli.main import main
from taintwatch.config.load import load_config
from taintwatch.preflight import find_mistakes, refuse_mistakes
from taintwatch_models.bundled import bundled_calibration_path
from taintwatch_models.errors import EXIT_CONFIG, TaintwatchError
from tests.tiny_model import write_model

WRONG = """
site = "a gate"                        # 2: not a name
[model]
path = "missing.onnx"                  # 4
calibration = "missing.json"           # 5
devise = "cpu"                         # 6: unknown
[[camera]]
name = "door"
source = "rtps://camera.example/1"     # 9: no such scheme
[[camera]]
name = "yard"
source = 5                             # 12: not a string
[[camera]]
name = "gate"
source = "no-such.mp4"                 # 15
[vote]
k = 5
n = 3                                  # 16 to 18: k above n
[publish]
bind = "tcp://0.0.0.0:5556"            # 20: without CURVE
[evidence]
folder = "/proc/version/evidence"      # 22: not a folder
[metrics]
enabled = true
bind = "0.0.0.0:9108"                  # 25: without a token
[web]
bind = "127.0.0.1"                     # 27: no port
token_file = "missing-token"           # 28
"""


CAMERA = '[[camera]]\nname = "a"\nsource = "sim:"\n'


def check(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    status = main(["config", "check", str(file)])
    return status, [line.removeprefix("taintwatch: ") for line in capsys.readouterr().err.splitlines()]


def test_every_mistake_of_every_kind_is_found_at_once_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.toml"
    file.write_text(WRONG)
    status, said = check(file, capsys)
    assert status == EXIT_CONFIG
    places = sorted((int(line.split(" ")[2].strip(":")), line.split(": ")[1]) for line in said)
    assert places == [
        (2, "site"),
        (4, "model.path"),
        (5, "model.calibration"),
        (6, "model.devise"),
        (9, "camera.1.source"),
        (12, "camera.2.source"),
        (15, "camera.3.source"),
        (17, "vote"),
        (20, "publish.bind"),
        (22, "evidence.folder"),
        (25, "metrics.bind"),
        (27, "web.bind"),
        (28, "web.token_file"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[[camera]]\nname = "a"\nsource = "rtps://camera.example/1"\n',
        '[[camera]]\nname = "a"\nsource = "sim:?nonsense=1"\n',
        CAMERA + '[publish]\nbind = "tcp://0.0.0.0:5556"\n',
        CAMERA + '[publish]\nbind = "5556"\n',
        CAMERA + '[publish]\nbind = "tcp://127.0.0.1:65535"\n[evidence]\nfolder = "kept"\n',
        CAMERA + '[publish.curve]\nkey = "no.key_secret"\nclients = "none"\n',
        CAMERA + '[web]\nbind = "0.0.0.0:8080"\n',
        CAMERA + '[web]\nbind = "127.0.0.1:0"\ncertificate = "c"\nprivate_key = "k"\n',
        CAMERA + '[metrics]\nenabled = true\nbind = "0.0.0.0:0"\n',
        CAMERA + '[model]\npath = "tiny.onnx"\n[gate]\nenabled = true\n',
        CAMERA + '[model]\npath = "tiny.onnx"\nlabels = "tiny.onnx"\n',
        CAMERA + '[model]\npath = "tiny.onnx"\ncalibration = "other.json"\n',
        CAMERA + '[detect]\ndetectors = ["face"]\n',
    ],
)
def test_what_run_refuses_check_refuses_with_the_same_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "tiny.onnx")
    shutil.copy(bundled_calibration_path(), tmp_path / "other.json")
    file = tmp_path / "t.toml"
    file.write_text(text)
    status, said = check(file, capsys)
    assert (status, len(said)) == (EXIT_CONFIG, 1)
    assert main(["run", "--config", str(file), "--max-frames", "1"]) in (2, EXIT_CONFIG)
    refused = capsys.readouterr().err.strip().splitlines()[-1].removeprefix("taintwatch: ")
    assert said[0].endswith(refused)


def test_run_says_how_many_more_mistakes_there_are(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        '[[camera]]\nname = "a"\nsource = "none.mp4"\n[web]\nbind = "0.0.0.0:1"\n[publish]\nbind = "tcp://0.0.0.0:1"\n'
    )
    with pytest.raises(TaintwatchError, match=r"none\.mp4 does not exist.*\(and 2 more; .*config check"):
        refuse_mistakes(load_config(file))


def test_a_good_configuration_has_none_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "t.toml"
    folder, address = json.dumps(str(tmp_path / "kept")), 'bind = "127.0.0.1:0"'
    file.write_text(f'[[camera]]\nname = "a"\nsource = "sim:"\n[evidence]\nfolder = {folder}\n[web]\n{address}\n')
    assert find_mistakes(load_config(file)) == ()
    assert main(["config", "check", str(file)]) == 0
    assert "good (1 camera, hash " in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["t.toml"]
