"""Every export that the bench tries: a network, an exporter, a form of numbers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from benchmarks.architectures.exports import EXPORTERS, FORMS, Exporter
from benchmarks.architectures.keras_exports import KERAS_EXPORTERS, KERAS_NETWORKS, KERAS_SIDE
from benchmarks.architectures.torch_networks import TorchNetwork, lively, torch_networks

__all__ = ["ExportCase", "cases"]

_LARGE = ("alexnet", "vgg11", "wide_resnet50_2", "maxvit_t", "beit_base_patch16_224", "vit_b_32")  # slow: last
_IN_ALL_FORMS = ("resnet18", "mobilenet_v2")
_SOME_FORMS = {
    "ViT": ("legacy, opset 15", "dynamic, opset 18", "dynamic, opset 23", "dynamic, opset 24", "float16 by conversion",
            "int8 QDQ"),
    "ConvNeXt": ("legacy, opset 13", "float16", "int8 QDQ"),
    "squeezenet1_1": ("legacy, opset 7", "bfloat16", "int8 QDQ"),
}  # fmt: skip


@dataclass(frozen=True)
class ExportCase:
    """One export."""

    family: str
    model: str
    exporter: str
    side: int
    write: Callable[[Path], None]
    """Writes the ONNX file. Raises what the exporter raises."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.family, self.model, self.exporter


class _Last:
    """Makes a network when it is first exported, and keeps the last one: the next export is often of the same."""

    def __init__(self) -> None:
        self._name, self._model = "", nn.Module()

    def __call__(self, network: TorchNetwork) -> nn.Module:
        if self._name != network.name:
            self._name, self._model = network.name, lively(network)
        return self._model


def cases() -> Iterator[ExportCase]:
    """Yield every case that the installed packages allow; each network by torch's default call first."""
    networks, last = sorted(torch_networks(), key=lambda network: network.name in _LARGE), _Last()
    for name, exporter in EXPORTERS.items():
        for network in networks:
            yield _case(network, name, exporter, last)
    for network in networks:
        forms = FORMS if network.name in _IN_ALL_FORMS else _SOME_FORMS.get(network.name, ())
        for form in forms:
            yield _case(network, form, FORMS[form], last)
    if all(importlib.util.find_spec(package) for package in ("keras", "tf2onnx")):
        yield from _keras()  # last: torch's exporter crashes in a process that TensorFlow is loaded in


def _case(network: TorchNetwork, name: str, exporter: Exporter, last: _Last) -> ExportCase:
    def write(path: Path) -> None:
        model = lively(network) if "float" in name else last(network)  # numbers are converted in place
        exporter(model, network.side, path)

    return ExportCase(network.family, network.name, name, network.side, write)


def _keras() -> Iterator[ExportCase]:
    for network in KERAS_NETWORKS:
        for name, exporter in KERAS_EXPORTERS.items():
            yield ExportCase("keras", network, name, KERAS_SIDE, partial(exporter, network))
