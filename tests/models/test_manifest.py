"""A model that was signed is loaded as it was signed, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from taintwatch.assembly import make_detection
from taintwatch.config.load import parse_config
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch_calibration.cli_calibrate import calibrate_group
from taintwatch_models.bundled import bundled_calibration_path
from taintwatch_models.errors import ConfigError, ModelError, UsageError
from taintwatch_models.manifest import model_parts
from taintwatch_models.model_files import ModelSettings
from tests.tiny_model import write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a TOML, labels and a calibration, and what does not belong to it."""
    write_model(tmp_path / "m.onnx")
    (tmp_path / "notes.txt").write_text("nothing to do with it")
    return tmp_path


def run(*arguments: str | Path) -> tuple[int, str]:
    """Run `taintwatch calibrate`; return the status and what it printed."""
    result = CliRunner().invoke(calibrate_group, [*map(str, arguments)], standalone_mode=False, catch_exceptions=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value or 0, result.output


def signed(folder: Path) -> None:
    run("sign", "--model", folder / "m.onnx", "--key", folder / "keys" / "me.key")


@pytest.fixture
def ours(folder: Path) -> Config:
    (folder / "keys").mkdir()
    signed(folder)
    return config(folder)


def config(folder: Path, more: str = "") -> Config:
    key = folder / "keys" / "me.pub"
    text = f'[model]\npath = "{folder}/m.onnx"\nsigned_by = "{key}"\n{more}[detect]\ndetectors = ["tight"]\n'
    return parse_config(text, "t.toml")


def load(config: Config) -> None:
    _, detection = make_detection(config, Deadlines())
    detection.release()


def test_what_was_signed_is_loaded_and_verified(folder: Path, ours: Config) -> None:
    load(ours)
    status, said = run("verify", "--model", folder / "m.onnx", "--key", folder / "keys" / "me.pub")
    names = json.loads((folder / "m.manifest.json").read_text())["files"]
    assert status == 0
    assert f"{len(names)} of {len(names)} files" in said
    assert "m.onnx" in names
    assert "notes.txt" not in names


def _change_model(folder: Path) -> None:
    write_model(folder / "m.onnx", last_bias=0.5)


def _add_calibration(folder: Path) -> None:
    (folder / "m.calibration.json").write_bytes(bundled_calibration_path().read_bytes())


def _change_manifest(folder: Path) -> None:
    path = folder / "m.manifest.json"
    document: dict[str, Any] = json.loads(path.read_text())
    document["files"]["m.onnx"] = "0" * 64
    path.write_text(json.dumps(document))


def _take_manifest(folder: Path) -> None:
    (folder / "m.manifest.json").unlink()


def _other_key(folder: Path) -> None:
    run("sign", "--model", folder / "m.onnx", "--key", folder / "keys" / "other.key")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change_model, "m.onnx is not the file that was signed"),
        (_add_calibration, "m.calibration.json is not in the manifest"),
        (_change_manifest, "not signed with this key, or was changed"),
        (_take_manifest, "there is no manifest"),
        (_other_key, "not signed with this key"),
    ],
)
def test_whatever_was_changed_since_is_refused_where_the_configuration_says_so(
    folder: Path, ours: Config, change: Callable[[Path], None], said: str
) -> None:
    change(folder)
    with pytest.raises(ConfigError, match=said):
        load(ours)


def test_verify_lists_every_file_and_exits_with_1(folder: Path, ours: Config) -> None:
    _change_model(folder)
    _add_calibration(folder)
    status, said = run("verify", "--model", folder / "m.onnx", "--key", folder / "keys" / "me.pub", "--json")
    assert status == 1
    assert len(json.loads(said)["findings"]) == 2


def test_a_key_that_is_no_key_and_a_model_that_is_no_file_are_refused(folder: Path, ours: Config) -> None:
    (folder / "keys" / "me.pub").write_text("not a key")
    with pytest.raises(ConfigError, match=r"model\.signed_by.*no public signing key"):
        load(ours)
    with pytest.raises(ConfigError, match="is no file"):
        model_parts(ModelSettings(path="torchvision:resnet18"))
    with pytest.raises(UsageError, match="nothing to sign"):
        run("sign", "--key", folder / "keys" / "me.key")


def test_a_picture_that_a_calibration_fills_with_is_signed_too(folder: Path) -> None:
    document = json.loads(bundled_calibration_path().read_text())
    document["tight"]["fill"] = str(folder / "grey.png")
    (folder / "grey.png").write_bytes(b"a picture")
    (folder / "m.calibration.json").write_text(json.dumps(document))
    assert folder / "grey.png" in model_parts(ModelSettings(path=str(folder / "m.onnx")))
    (folder / "m.calibration.json").write_text("[")
    with pytest.raises(ModelError, match="not a readable calibration"):
        model_parts(ModelSettings(path=str(folder / "m.onnx")))
