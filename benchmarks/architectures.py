"""Which exported classifiers are prepared as they are, and whether what is prepared is right.

    python -m benchmarks.architectures --json docs/results/architectures.json

Networks have random weights and small pictures; batch norms are set on pictures before the export. Each export is
prepared; its logits are compared with the file's own on ONNX Runtime, its masks with those of float64 autograd, and
`tight` is timed against the file's forward. A run goes on where an earlier one stopped. Families beside torchvision's
are measured where their packages are installed (timm, transformers).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from taintwatch_calibration.machine import machine
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.graph.prepare import Prepared, logits_difference, prepare_source
from taintwatch_models.graph.verification import autograd_radar, check_inputs
from taintwatch_models.model_source import read_source
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import ModelDescription, Preprocessing
from taintwatch_models.storage import write_atomically

__all__ = ["EXPORTERS", "Network", "Row", "measure", "networks"]

CLASSES, PICTURES = 20, 4
EXPORTERS = ("default", "dynamic", "legacy")
"""torch's call as it stands (dynamo, one example), dynamo with a dynamic batch, the exporter before it."""
_ON_CPU = SessionSettings(device="cpu", threads=1)
_TORCHVISION = {
    "alexnet": 224, "vgg11": 224, "resnet18": 64, "resnext50_32x4d": 64, "wide_resnet50_2": 64,
    "densenet121": 64, "googlenet": 64, "inception_v3": 96, "mobilenet_v2": 64, "mobilenet_v3_small": 64,
    "mnasnet0_5": 64, "shufflenet_v2_x0_5": 64, "squeezenet1_1": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64,
    "regnet_x_400mf": 64, "regnet_y_400mf": 64, "convnext_tiny": 64, "vit_b_32": 96, "swin_t": 64, "swin_v2_t": 64,
    "maxvit_t": 224,
}  # fmt: skip
_TIMM = {
    "resnet10t": 64, "seresnext26d_32x4d": 64, "ecaresnet26t": 64, "ghostnet_100": 64, "rexnet_100": 64,
    "mobilenetv4_conv_small": 64, "tf_efficientnetv2_b0": 64, "convnextv2_atto": 64, "poolformer_s12": 64,
    "efficientformer_l1": 224, "fastvit_t8": 64, "mobilevit_xxs": 64, "edgenext_xx_small": 64,
    "vit_tiny_patch16_224": 224,
    "deit_tiny_distilled_patch16_224": 224, "beit_base_patch16_224": 224, "swin_tiny_patch4_window7_224": 224,
    "cait_xxs24_224": 224, "mixer_s32_224": 224, "resmlp_12_224": 224, "coat_lite_tiny": 224, "levit_128s": 224,
    "regnetz_b16": 64, "hrnet_w18_small": 64, "repvgg_a0": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A network to export, and the side of its pictures."""

    family: str
    name: str
    side: int
    make: Callable[[], nn.Module]


@dataclass(frozen=True)
class Row:
    """What became of one export."""

    family: str
    model: str
    exporter: str
    outcome: str
    """`right`, `wrong`, or the sentence that refused it."""
    logits_error: float | None = None
    """Largest difference from the file's own output, relative to its largest."""
    mask_error: float | None = None
    """Share of mask pixels that differ from float64 autograd's, of both variants the larger."""
    tight_ratio: float | None = None
    """Time of `tight` over that of the file's forward, one picture, one thread, medians."""
    maps: str = ""


class _Logits(nn.Module):
    """A Hugging Face classifier that gives its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels).logits  # type: ignore[no-any-return]


def networks() -> Iterator[Network]:
    """Yield every network that the installed packages have."""
    import torchvision

    for name, side in _TORCHVISION.items():
        settings = {"image_size": side} if name.startswith("vit") else {}
        settings |= {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        make = partial(torchvision.models.get_model, name, weights=None, num_classes=CLASSES, **settings)
        yield Network("torchvision", name, side, make)
    if importlib.util.find_spec("timm") is not None:
        import timm

        for name, side in _TIMM.items():
            yield Network("timm", name, side, partial(timm.create_model, name, num_classes=CLASSES))
    if importlib.util.find_spec("transformers") is not None:
        yield from _hugging_face()


def _hugging_face() -> Iterator[Network]:
    import transformers as hf

    small = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    vit = hf.ViTConfig(image_size=64, patch_size=8, num_labels=CLASSES, attn_implementation="eager", **small)
    convnext = hf.ConvNextConfig(hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 2, 1], num_labels=CLASSES)
    swin = hf.SwinConfig(
        image_size=64, patch_size=4, window_size=4, embed_dim=24, depths=[1, 1, 2], num_heads=[2, 4, 8],
        num_labels=CLASSES,
    )  # fmt: skip
    yield Network("transformers", "ViT", 64, lambda: _Logits(hf.ViTForImageClassification(vit)))
    yield Network("transformers", "ConvNeXt", 64, lambda: _Logits(hf.ConvNextForImageClassification(convnext)))
    yield Network("transformers", "Swin", 64, lambda: _Logits(hf.SwinForImageClassification(swin)))


def lively(network: Network) -> nn.Module:
    """Return the network in evaluation mode, its batch norms set on smooth pictures."""
    torch.manual_seed(0)
    model = network.make()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # averages over what it sees
        model.train()
        with contextlib.suppress(Exception):  # some train with other outputs or larger pictures
            model(torch.from_numpy(check_inputs(_preprocessing(network.side), 8)))
    return model.eval()


def _preprocessing(side: int) -> Preprocessing:
    return Preprocessing((side, side), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def export(model: nn.Module, side: int, exporter: str, path: Path) -> None:
    """Export as its users do. Raises what the exporter raises."""
    example = (torch.zeros(1, 3, side, side),)
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "default":
            torch.onnx.export(model, example, str(path))
        elif exporter == "dynamic":
            batch = torch.export.Dim("batch", min=1, max=64)
            torch.onnx.export(model, example, str(path), dynamic_shapes=({0: batch},))
        else:
            torch.onnx.export(
                model, example, str(path), dynamo=False, opset_version=17, input_names=["input"],
                dynamic_axes={"input": {0: "batch"}},
            )  # fmt: skip


def measure(network: Network, model: nn.Module, exporter: str, folder: Path) -> Row:
    """Export, prepare and check one network."""
    path = folder / "model.onnx"
    try:
        export(model, network.side, exporter, path)
    except Exception as error:  # the exporter's own failure: nothing to prepare
        return Row(network.family, network.name, exporter, f"not exported by torch: {_first_line(error)}")
    try:
        source = read_source(path)
        prepared = prepare_source(source, ModelDescription(_preprocessing(network.side)))
    except TaintwatchError as error:
        return Row(network.family, network.name, exporter, str(error).removeprefix(f"{path}: "))
    inputs = check_inputs(_preprocessing(network.side), PICTURES)
    logits, masks = logits_difference(source, prepared, inputs), mask_difference(prepared, inputs)
    info = prepared.radar.info
    outcome = "right" if logits <= 1e-4 and masks <= 1e-3 else "wrong"
    return Row(
        network.family, network.name, exporter, outcome, float(f"{logits:.2g}"), float(f"{masks:.2g}"),
        tight_ratio(path, prepared, inputs[:1]), f"{info.channels} x {info.cells[0]} x {info.cells[1]}",
    )  # fmt: skip


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def mask_difference(prepared: Prepared, inputs: np.ndarray) -> float:
    """Share of mask pixels that differ from float64 autograd's: the larger of both variants'."""
    ours = OnnxRadar(prepared.radar, ("tight", "paper"), session=_ON_CPU)(inputs)
    expected = autograd_radar(prepared)(inputs)
    return max(float((ours[name] != expected[name]).mean()) for name in ("tight_mask", "paper_mask"))


def tight_ratio(path: Path, prepared: Prepared, inputs: np.ndarray, rounds: int = 9) -> float:
    """Time `tight` and the file's own forward in turn; return the ratio of the medians."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    radar, name = OnnxRadar(prepared.radar, ("tight",), session=_ON_CPU), session.get_inputs()[0].name
    calls: tuple[Callable[[], object], ...] = (lambda: session.run(None, {name: inputs}), lambda: radar(inputs))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, spent in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
    return round(float(np.median(times[1]) / np.median(times[0])), 2)


def main() -> None:
    """Measure what is not in the file yet, and write it after each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("architectures.json"))
    parser.add_argument("--only", help="names that contain this")
    parser.add_argument("--exporters", nargs="+", default=list(EXPORTERS), choices=EXPORTERS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [Row(**row) for row in json.loads(options.json.read_text())["rows"]] if options.json.is_file() else []
    done = {(row.family, row.model, row.exporter) for row in rows}
    for network in networks():
        wanted = [e for e in options.exporters if (network.family, network.name, e) not in done]
        if not wanted or (options.only and options.only not in network.name):
            continue
        model = lively(network)
        for exporter in wanted:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(network, model, exporter, Path(folder))
            rows.append(row)
            print(row.family, row.model, row.exporter, row.outcome, row.logits_error, row.mask_error, flush=True)
            document = {**machine(), "pictures": PICTURES, "rows": [asdict(row) for row in rows]}
            write_atomically(options.json, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
