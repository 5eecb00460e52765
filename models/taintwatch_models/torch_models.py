"""Torch models, torchvision networks by name or TorchScript files, exported to ONNX in memory."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from taintwatch_models.errors import ModelError, first_line
from taintwatch_models.graph.weight_file import move_weights
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.model_source import ModelSource, file_hash, read_light
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["open_torchvision", "read_torch"]

_PREFIX = "torchvision:"
_CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model")


def open_torchvision(spec: str) -> tuple[nn.Module, Preprocessing, tuple[str, ...], str]:
    """Open `torchvision:NAME` (its default weights) or `torchvision:NAME@FILE.pth` (a state_dict of yours).

    Returns the model, its preprocessing and labels as torchvision declares them, and its weights' SHA-256. Raises
    `ModelError`: unknown name, no network for the weights, a file that is not a state_dict of this network.
    """
    import torchvision

    name, _, file = spec.removeprefix(_PREFIX).partition("@")
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ModelError(f"torchvision has no classifier '{name}'; `taintwatch model list` names those that it has")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    labels = tuple(weights.meta["categories"])
    if file:
        state = _state_dict(Path(file))
        classes = _classes(state)
        if classes != len(labels):
            labels = tuple(f"class {index}" for index in range(classes))
        model = torchvision.models.get_model(name, weights=None, num_classes=classes)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[-1].strip()
            raise ModelError(f"{file}: not the weights of torchvision's {name} ({first})") from None
    else:
        try:
            model = torchvision.models.get_model(name, weights=weights)
        except OSError as error:
            raise ModelError(
                f"the weights of torchvision's {name} cannot be downloaded ({error}); give a file with "
                f"torchvision:{name}@weights.pth"
            ) from None
    crop = int(transform.crop_size[0])
    described = Preprocessing((crop, crop), "crop", "rgb", 255.0, tuple(transform.mean), tuple(transform.std))
    return model.eval(), described, labels, _weights_hash(model)


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Read weights: a state_dict, a checkpoint that holds one, either as DistributedDataParallel names them."""
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises its own kinds
        raise ModelError(f"{path}: not a state_dict that is safe to load ({type(error).__name__})") from None
    if isinstance(state, dict):
        state = next((state[key] for key in _CHECKPOINT_KEYS if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path}: not a state_dict (a dictionary of tensors)")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _classes(state: dict[str, Tensor]) -> int:
    return int(list(state.values())[-1].shape[0])


def _weights_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().reshape(-1))
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn of their own deprecations and internals, which a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_torch(spec: str, description: ModelDescription) -> tuple[ModelSource, ModelDescription]:
    """Export `torchvision:NAME[@FILE]` or a TorchScript file to ONNX in memory.

    Returns it with what is declared of it: by `description`, which a TorchScript file needs, since it does not say its
    input size. Of its own networks torchvision says the preprocessing, and the labels where `description` has none.
    Raises `ModelError`.
    """
    if spec.startswith(_PREFIX):
        model, known, names, digest = open_torchvision(spec)
        description = replace(description, preprocessing=known, labels=description.labels or names)
        name = spec.removeprefix(_PREFIX).partition("@")[0]
    else:
        path = Path(spec)
        model = _torchscript(path)
        if description.preprocessing is None:
            raise ModelError(f"{path}: a TorchScript file needs {path.with_suffix('.toml').name} beside it (its size)")
        known = description.preprocessing
        digest, name = file_hash(path), path.stem
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        _export(model, known.size, file, spec)
        del model  # a large one need not lie in memory beside its export
        proto, weights = move_weights(read_light(file), file.parent)
    return ModelSource(name, proto, digest, spec, weights), description


def _torchscript(path: Path) -> nn.Module:
    if path.suffix == ".pt2":
        raise ModelError(f"{path}: {_instead(path)}")
    with _quiet():
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-any-return]
        except (RuntimeError, ValueError):
            raise ModelError(f"{path}: {_instead(path)}") from None


def _instead(path: Path) -> str:
    """Say what a file that is no TorchScript is, and what helps."""
    if not path.is_file():
        return "no such model file"
    if path.suffix == ".pt2":
        return (
            "holds an exported program, which is not read; write ONNX from it: "
            f"torch.onnx.export(torch.export.load('{path.name}'), f='{path.stem}.onnx')"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return (
            "holds a pickled network, which could run any code when it is read; write ONNX where it was trained: "
            f"torch.onnx.export(model.eval(), (example,), '{path.stem}.onnx')"
        )
    except (RuntimeError, ValueError, OSError, EOFError, LookupError) as error:  # each kind of damage its own
        return f"not a TorchScript file ({type(error).__name__})"
    if isinstance(state, dict):
        return f"holds weights without their network; name it: torchvision:NAME@{path.name}, or write ONNX from it"
    return f"not a TorchScript file (it holds a {type(state).__name__})"


def _export(model: nn.Module, size: tuple[int, int], file: Path, where: str) -> None:
    """Write ONNX with a dynamic batch: input `input`, output `logits`."""
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    with _quiet():
        try:
            torch.onnx.export(
                model, (torch.zeros(1, 3, *size),), str(file),
                opset_version=17, dynamo=False, dynamic_axes=axes,
                input_names=["input"], output_names=["logits"],
            )  # fmt: skip
        except Exception as error:
            raise ModelError(f"{where}: cannot be exported to ONNX ({first_line(error)})") from None
