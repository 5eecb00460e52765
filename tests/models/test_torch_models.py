"""Torch networks are opened safely and exported to ONNX; what cannot be opened is said plainly."""

from __future__ import annotations

import pickle
import urllib.error
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from taintwatch_models.errors import DeviceError, ModelError
from taintwatch_models.graph.prepare import prepare_source
from taintwatch_models.loading import load_model
from taintwatch_models.model_description import ModelDescription, describe
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.records import Frame, Prediction
from taintwatch_models.torch_models import open_torchvision, read_torch

NAME = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(torchvision.models.get_model(NAME, weights=None, num_classes=7).state_dict(), path)
    return path


def test_a_state_dict_runs_as_its_network_does_and_its_labels_may_be_named(weights: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abcdefg"))
    spec, session = f"torchvision:{NAME}@{weights}", SessionSettings(device="cpu")
    loaded = load_model(ModelSettings(path=spec, labels=str(labels), session=session))
    assert loaded.classifier.card.provider == "CPUExecutionProvider"
    assert loaded.classifier.card.labels == tuple("abcdefg")
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    prediction = loaded.classifier([Frame("a", 0, picture, 0, 0)])[0]
    assert isinstance(prediction, Prediction)
    assert prediction.radar is not None
    network = torchvision.models.get_model(NAME, weights=None, num_classes=7).eval()
    network.load_state_dict(torch.load(weights))
    with torch.no_grad():
        expected = network(torch.from_numpy(loaded.preprocessing([picture])))[0].numpy()
    np.testing.assert_allclose(prediction.logits, expected, atol=1e-4)


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(ModelError, match="no classifier 'resnet19'; `taintwatch model list`"):
        open_torchvision("torchvision:resnet19")


def test_weights_of_another_network_are_refused(weights: Path) -> None:
    with pytest.raises(ModelError, match="not the weights of torchvision's mobilenet_v3_small"):
        open_torchvision(f"torchvision:mobilenet_v3_small@{weights}")


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Touch()))
    with pytest.raises(ModelError, match="not a state_dict that is safe to load"):
        open_torchvision(f"torchvision:{NAME}@{path}")
    assert not marker.exists()


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such weights file"):
        open_torchvision(f"torchvision:{NAME}@{tmp_path / 'gone.pth'}")


def test_weights_that_cannot_be_downloaded_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: Any, **options: Any) -> Any:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ModelError, match=rf"cannot be downloaded .* torchvision:{NAME}@weights.pth"):
        open_torchvision(f"torchvision:{NAME}")


def test_a_torchscript_file_is_exported_with_the_size_that_its_toml_declares(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(NAME, weights=None, num_classes=5).eval()
    path = tmp_path / "m.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit's own deprecation
        torch.jit.trace(model, torch.zeros(1, 3, 64, 64)).save(str(path))
    with pytest.raises(ModelError, match=r"needs m\.toml beside it"):
        read_torch(str(path), ModelDescription())
    path.with_suffix(".toml").write_text("[preprocessing]\nsize = [64, 64]\n")
    radar = prepare_source(*read_torch(str(path), describe(path))).radar
    inputs = np.random.default_rng(0).uniform(0, 1, (3, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(
        OnnxRadar(radar, (), session=SessionSettings(threads=1))(inputs)["logits"], expected, atol=1e-4
    )


def test_a_file_that_is_no_torchscript_says_what_a_state_dict_needs(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "w.pt"
    copy.write_bytes(weights.read_bytes())
    copy.with_suffix(".toml").write_text("[preprocessing]\nsize = [64, 64]\n")
    with pytest.raises(ModelError, match=r"torchvision:NAME@w\.pt"):
        read_torch(str(copy), describe(copy))


@pytest.mark.parametrize(
    ("name", "held", "sentence"),
    [
        ("net.pt", nn.Linear(2, 2), "a pickled network, which could run any code"),
        ("net.pt", {"epoch": 3}, r"weights without their network; name it: torchvision:NAME@net\.pt"),
        ("net.pt2", None, r"an exported program, which is not read; .*torch\.export\.load\('net\.pt2'\)"),
        ("gone.pt", None, "no such model file"),
    ],
)
def test_other_files_of_torch_are_refused_in_a_sentence_that_helps(
    name: str, held: Any, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if held is not None:
        torch.save(held, path)
    elif not name.startswith("gone"):
        path.write_bytes(b"PK")
    with pytest.raises(ModelError, match=sentence):
        read_torch(str(path), ModelDescription())


def test_a_checkpoint_of_a_network_that_was_trained_on_many_gpus_is_taken(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    path = tmp_path / "ddp.pth"
    torch.save({"epoch": 7, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    taken, plain = (open_torchvision(f"torchvision:{NAME}@{file}")[3] for file in (path, weights))
    assert taken == plain


def test_a_gpu_that_is_required_and_missing_is_refused(weights: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceError, match="CUDAExecutionProvider is required"):
        load_model(
            ModelSettings(
                path=f"torchvision:{NAME}@{weights}", session=SessionSettings(device="cuda", require_device=True)
            )
        )


@pytest.mark.cuda
def test_the_radar_graph_on_cuda_agrees_with_the_cpu(weights: Path, tmp_path: Path) -> None:
    radar = prepare_source(*read_torch(f"torchvision:{NAME}@{weights}", ModelDescription())).radar
    inputs = np.random.default_rng(0).uniform(-1, 1, (4, 3, 224, 224)).astype(np.float32)
    cpu = OnnxRadar(radar, ("tight", "paper"), session=SessionSettings(device="cpu"))(inputs)
    cuda = OnnxRadar(radar, ("tight", "paper"), session=SessionSettings(device="cuda", require_device=True))(inputs)
    np.testing.assert_allclose(cpu["logits"], cuda["logits"], atol=1e-2)
    np.testing.assert_allclose(cpu["tight_margin"], cuda["tight_margin"], atol=5e-2)
