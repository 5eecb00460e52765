"""Central inference: what is exported to a Triton server judges as the local run does, and nothing else is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from taintwatch.cli.model import model_group
from taintwatch_models.classifier import Rejected
from taintwatch_models.errors import ConfigError, InferenceError, ModelError
from taintwatch_models.loading import LoadedModel, load_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.records import Frame, read_only
from taintwatch_models.triton.export import export_repository

pytest.importorskip("tritonclient.grpc")
from tests.triton_server import TritonServer, model_config, triton_server

SETTINGS = ModelSettings(detectors=("combined", "tight"), fill="mean", session=SessionSettings(device="cpu", threads=1))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    done = export_repository(SETTINGS, folder)
    assert done.difference < 1e-5
    assert {model.name for model in done.models} == {path.name for path in folder.iterdir()}
    return folder


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[tuple[TritonServer, str, Any]]:
    with triton_server(repository) as it:
        yield it


def on_server(address: str) -> ModelSettings:
    return replace(SETTINGS, session=replace(SETTINGS.session, server=address))


def frames(count: int) -> list[Frame]:
    rng = np.random.default_rng(3)
    images = [read_only(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)) for _ in range(count)]
    return [Frame("door", index, image, index * 10**9, index * 10**9) for index, image in enumerate(images)]


def judged(model: LoadedModel, given: list[Frame]) -> list[tuple[int, list[float]]]:
    found = model.classifier(given)
    assert not any(isinstance(one, Rejected) for one in found)
    return [(one.label, [detector(one).score for detector in model.detectors]) for one in found]  # type: ignore[union-attr, arg-type]


def test_the_configuration_is_triton_s_own_with_dynamic_batching(repository: Path) -> None:
    for folder in repository.iterdir():
        config = model_config(folder)
        assert (config.name, config.backend) == (folder.name, "onnxruntime")
        assert config.max_batch_size >= 32
        assert config.dynamic_batching.max_queue_delay_microseconds > 0
        side = 38 if config.output[0].name == "closeup" else 64  # 0.6 of it
        assert [list(each.dims) for each in config.input] == [[3, side, side]]
    looks = [[output.name for output in model_config(folder).output] for folder in repository.iterdir()]
    assert ["logits"] in looks  # the second look is two models of its own
    assert ["closeup"] in looks


def test_a_run_on_the_server_judges_as_the_local_one(served: tuple[TritonServer, str, Any]) -> None:
    server, address, _ = served
    local, remote = load_model(SETTINGS), load_model(on_server(address))
    assert remote.classifier.card.provider == "Triton"
    given = frames(5)
    for (label, scores), (other, others) in zip(judged(local, given), judged(remote, given), strict=True):
        assert label == other
        np.testing.assert_allclose(scores, others, rtol=1e-4, atol=1e-4)
    assert 5 in server.batches


def test_more_rows_than_the_server_takes_come_in_pieces(
    served: tuple[TritonServer, str, Any], repository: Path
) -> None:
    _, address, _ = served
    folder = next(path for path in repository.iterdir() if [o.name for o in model_config(path).output] == ["logits"])
    graph = (folder / "1" / "model.onnx").read_bytes()
    remote, _ = open_session(graph, SessionSettings(server=address))
    local, _ = open_session(graph, SessionSettings(device="cpu"))
    inputs = np.random.default_rng(0).normal(size=(70, 3, 64, 64)).astype(np.float32)
    (found,), (expected,) = remote.run(["logits"], {"input": inputs}), local.run(["logits"], {"input": inputs})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_server_that_has_another_export_is_refused(served: tuple[TritonServer, str, Any]) -> None:
    _, address, _ = served
    other = replace(on_server(address), detectors=("paper",))
    with pytest.raises(ModelError, match=r"has no model taintwatch_\w+; write it with `taintwatch model export"):
        load_model(other)


def test_a_server_that_goes_away_fails_the_batch_and_not_the_run(repository: Path) -> None:
    with triton_server(repository) as (_, address, server):
        model = load_model(on_server(address))
        server.stop(None).wait(10)
        with pytest.raises(InferenceError, match=address):
            model.classifier(frames(1))
    with pytest.raises(ModelError, match="does not answer"):
        load_model(on_server(address))


@pytest.mark.parametrize("address", ["host:8001", "http://host:8001", "triton://host"])
def test_what_is_no_server_is_one_sentence(address: str) -> None:
    with pytest.raises(ConfigError, match="no address like triton://host:8001"):
        open_session(b"", SessionSettings(server=address))


def test_a_fill_that_is_made_anew_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made anew for each frame"):
        export_repository(replace(SETTINGS, detectors=("tight",), fill="blur"), tmp_path)


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    done = CliRunner().invoke(model_group, ["export", "--triton", str(folder), "--json"], catch_exceptions=False)
    said = json.loads(done.output)
    assert {model["name"] for model in said["models"]} == {path.name for path in folder.iterdir()}
    assert said["difference"] < 1e-5
