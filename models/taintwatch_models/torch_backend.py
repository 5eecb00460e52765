"""Torch models: torchvision networks by name, and their export to ONNX."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taintwatch_models.calibration_file import Calibration
from taintwatch_models.errors import DeviceError, ModelError
from taintwatch_models.loading import ModelSettings, describe
from taintwatch_models.preprocessing import ModelDescription, Preprocessing
from taintwatch_models.radar_file import RadarInfo
from taintwatch_models.torch_radar import TorchRadar

__all__ = ["HookedModel", "export_onnx", "load_torch_radar", "open_torchvision"]

_PREFIX = "torchvision:"
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten)


class HookedModel:
    """Any Torch classifier as a `SplitModel`: the last maps are caught by a hook on the module that gives them."""

    def __init__(self, model: nn.Module, size: tuple[int, int], device: str = "cpu") -> None:
        """Raises `ModelError` where no module gives maps of more than one cell behind a convolution."""
        self.model = model.eval().to(device)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self._caught: list[Tensor] = []
        self.layer, module = self._find(size, device)
        module.register_forward_hook(self._catch)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self._caught.clear()
        logits = self.model(inputs)
        maps = self._caught[-1]
        if torch.is_grad_enabled() and not logits.requires_grad:
            raise ModelError(f"the model gives no gradient from its logits to '{self.layer}'")
        return logits, maps

    def _catch(self, module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        """Cut the graph here: no gradient is needed in front of the maps. The module's output becomes a new leaf."""
        maps = output.detach().clone().requires_grad_(torch.is_grad_enabled())
        self._caught.append(maps)
        return maps.clone()  # an in-place ReLU behind it must not change what we keep

    def _find(self, size: tuple[int, int], device: str) -> tuple[str, nn.Module]:
        """Run once and take the last module behind the last convolution whose output still has the same cells."""
        seen: list[tuple[str, nn.Module, torch.Size]] = []

        def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                if isinstance(output, Tensor):
                    seen.append((name, module, output.shape))

            return hook

        handles = [m.register_forward_hook(note(name)) for name, m in self.model.named_modules() if name]
        with torch.no_grad():
            logits = self.model(torch.zeros(2, 3, *size, device=device))
        for handle in handles:
            handle.remove()
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise ModelError("the Torch model must give logits of shape (batch, classes) and nothing else")
        last = None
        for index, (_, module, shape) in enumerate(seen):
            classifier = shape[1] == logits.shape[1]
            if isinstance(module, nn.Conv2d) and shape[2] * shape[3] > 1 and not classifier:
                last = index
        if last is None:
            raise ModelError("the Torch model has no convolution with a map of more than one cell")
        best = last
        for index in range(last, len(seen)):
            _, module, shape = seen[index]
            if isinstance(module, _POOLS) or len(shape) != 4 or shape[2:] != seen[last][2][2:]:
                break
            if shape[1] == logits.shape[1] and isinstance(module, nn.Conv2d):
                break
            best = index
        return seen[best][0], seen[best][1]


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
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises its own kinds
        raise ModelError(f"{path}: not a state_dict that is safe to load ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path}: not a state_dict (a dictionary of tensors)")
    return state


def _classes(state: dict[str, Tensor]) -> int:
    return int(list(state.values())[-1].shape[0])


def _weights_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn of their own deprecations and internals, which a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def export_onnx(spec: str, target: Path) -> ModelDescription | None:
    """Write a Torch classifier as ONNX: `torchvision:NAME[@FILE]`, or a TorchScript file.

    Returns what is declared of it: by torchvision, or by the TOML beside a TorchScript file (which must be there, since
    a TorchScript file does not say its input size). Raises `ModelError`.
    """
    if spec.startswith(_PREFIX):
        model, preprocessing, labels, _ = open_torchvision(spec)
        description = ModelDescription(preprocessing, labels)
    else:
        path = Path(spec)
        found = describe(path, None, None)
        if found is None or found.preprocessing is None:
            raise ModelError(f"{path}: a TorchScript file needs {path.with_suffix('.toml').name} beside it (its size)")
        description, preprocessing = found, found.preprocessing
        with _quiet():
            try:
                model = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
            except (RuntimeError, ValueError) as error:
                first = str(error).strip().splitlines()[0]
                raise ModelError(f"{path}: not a TorchScript file ({first}); a state_dict needs its network: "
                                 f"torchvision:NAME@{path.name}") from None  # fmt: skip
    example = torch.zeros(1, 3, *preprocessing.size)
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["logits"]}
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    with _quiet():
        try:
            torch.onnx.export(
                model, (example,), str(target), opset_version=17, dynamo=False, dynamic_axes=axes, **names
            )
        except Exception as error:
            raise ModelError(f"{spec}: cannot be exported to ONNX ({str(error).strip().splitlines()[0]})") from None
    return description


def load_torch_radar(settings: ModelSettings) -> tuple[RadarInfo, Callable[[Calibration], TorchRadar]]:
    """Open a torchvision model for the Torch backend. Raises `ModelError`, `DeviceError`."""
    spec = settings.path or ""
    if not spec.startswith(_PREFIX):
        raise ModelError(f"{spec}: TorchScript runs through ONNX; run `taintwatch model prepare {spec}` first")
    device = _device(settings)
    model, preprocessing, labels, digest = open_torchvision(spec)
    hooked = HookedModel(model, preprocessing.size, device)
    logits, maps = hooked(torch.zeros(1, 3, *preprocessing.size, device=device))
    info = RadarInfo(
        name=spec.removeprefix(_PREFIX).partition("@")[0],
        source_sha256=digest,
        input="input",
        classes=int(logits.shape[1]),
        labels=labels,
        background=None,
        preprocessing=preprocessing,
        declared=True,
        maps=hooked.layer,
        channels=int(maps.shape[1]),
        cells=(int(maps.shape[2]), int(maps.shape[3])),
        convolution=hooked.layer,
        head="autograd",
    )
    return info, lambda calibration: TorchRadar(hooked, info, settings.variants, calibration, device=device)


def _device(settings: ModelSettings) -> str:
    there = torch.cuda.is_available()
    if settings.device == "cuda" and settings.require_device and not there:
        raise DeviceError("CUDA is required but Torch finds no GPU; set require_device = false or device = 'cpu'")
    return "cuda" if settings.device in ("auto", "cuda") and there else "cpu"
