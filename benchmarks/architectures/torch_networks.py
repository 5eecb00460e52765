"""Torch's image classifiers with random weights: torchvision, timm, YOLO's classifiers, Hugging Face."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from taintwatch_models.graph.verification import check_inputs
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["CLASSES", "TorchNetwork", "described", "lively", "torch_networks"]

CLASSES = 20
_TORCHVISION = {
    "alexnet": 224, "vgg11": 224, "resnet18": 64, "resnext50_32x4d": 64, "wide_resnet50_2": 64,
    "densenet121": 64, "googlenet": 64, "inception_v3": 96, "mobilenet_v2": 64, "mobilenet_v3_small": 64,
    "mnasnet0_5": 64, "shufflenet_v2_x0_5": 64, "squeezenet1_1": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64,
    "regnet_x_400mf": 64, "regnet_y_400mf": 64, "convnext_tiny": 64, "vit_b_32": 96, "swin_t": 64, "swin_v2_t": 64,
    "maxvit_t": 224,
}  # fmt: skip
_TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet10t": (64, {}),
    "seresnext26d_32x4d": (64, {}),
    "ecaresnet26t": (64, {}),
    "ghostnet_100": (64, {}),
    "rexnet_100": (64, {}),
    "mobilenetv4_conv_small": (64, {}),
    "tf_efficientnetv2_b0": (64, {}),
    "convnextv2_atto": (64, {}),
    "poolformer_s12": (64, {}),
    "efficientformer_l1": (224, {}),
    "fastvit_t8": (64, {}),
    "mobilevit_xxs": (64, {}),
    "edgenext_xx_small": (64, {}),
    "vit_tiny_patch16_224": (96, {"img_size": 96, "depth": 4}),
    "deit_tiny_distilled_patch16_224": (96, {"img_size": 96, "depth": 4}),
    "beit_base_patch16_224": (96, {"img_size": 96, "depth": 3}),
    "eva02_tiny_patch14_224": (112, {"img_size": 112, "depth": 4}),
    "swin_tiny_patch4_window7_224": (112, {"img_size": 112}),
    "cait_xxs24_224": (96, {"img_size": 96, "depth": 4}),
    "mixer_s32_224": (96, {"img_size": 96}),
    "resmlp_12_224": (96, {"img_size": 96}),
    "coat_lite_tiny": (96, {"img_size": 96}),
    "levit_128s": (224, {}),
    "regnetz_b16": (64, {}),
    "hrnet_w18_small": (64, {}),
    "repvgg_a0": (64, {}),
    "inception_next_atto": (64, {}),
    "repvit_m0_9": (64, {}),
    "nfnet_l0": (64, {}),
    "caformer_s18": (64, {}),
}
_YOLO = ("yolov8n-cls", "yolo11n-cls")
_HUGGING_FACE = ("ViT", "ConvNeXt", "Swin")


@dataclass(frozen=True)
class TorchNetwork:
    """A network to export, and the side of its pictures."""

    family: str
    name: str
    side: int
    make: Callable[[], nn.Module]


class _Logits(nn.Module):
    """A Hugging Face classifier that gives its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels).logits  # type: ignore[no-any-return]


def torch_networks() -> Iterator[TorchNetwork]:
    """Yield every network that the installed packages have."""
    for name, side in _TORCHVISION.items():
        yield TorchNetwork("torchvision", name, side, partial(_torchvision, name, side))
    if _installed("timm"):
        for name, (side, others) in _TIMM.items():
            yield TorchNetwork("timm", name, side, partial(_timm, name, others))
    if _installed("ultralytics"):
        for name in _YOLO:
            yield TorchNetwork("ultralytics", name, 64, partial(_yolo, name))
    if _installed("transformers"):
        for name in _HUGGING_FACE:
            yield TorchNetwork("transformers", name, 64, partial(_hugging_face, name))


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _torchvision(name: str, side: int) -> nn.Module:
    import torchvision

    settings: dict[str, Any] = {"image_size": side} if name.startswith("vit") else {}
    settings |= {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    made: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **settings)
    return made


def _timm(name: str, others: dict[str, Any]) -> nn.Module:
    import timm

    made: nn.Module = timm.create_model(name, num_classes=CLASSES, **others)
    return made


def _yolo(name: str) -> nn.Module:
    """A classifier of Ultralytics as its own `export` gives it to torch: with a closing softmax."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    import ultralytics.nn.tasks as tasks

    model: Any = tasks.ClassificationModel(f"{name}.yaml", nc=CLASSES, verbose=False)
    model.model[-1].export = True  # logits and probabilities otherwise
    made: nn.Module = model
    return made


def _hugging_face(name: str) -> nn.Module:
    import transformers as hf

    small = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    if name == "ViT":
        vit = hf.ViTConfig(image_size=64, patch_size=8, num_labels=CLASSES, **small)
        return _Logits(hf.ViTForImageClassification(vit))
    if name == "ConvNeXt":
        convnext = hf.ConvNextConfig(hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 2, 1], num_labels=CLASSES)
        return _Logits(hf.ConvNextForImageClassification(convnext))
    swin = hf.SwinConfig(
        image_size=64, patch_size=4, window_size=4, embed_dim=24, depths=[1, 1, 2], num_heads=[2, 4, 8],
        num_labels=CLASSES,
    )  # fmt: skip
    return _Logits(hf.SwinForImageClassification(swin))


def described(side: int) -> Preprocessing:
    """Return how pictures become inputs: all networks here take RGB in [-1, 1]."""
    return Preprocessing((side, side), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def lively(network: TorchNetwork) -> nn.Module:
    """Return the network in evaluation mode, its batch norms set on smooth pictures.

    Weights that start at zero (heads, the last norms of blocks) are drawn: such a network would say nothing.
    """
    torch.manual_seed(0)
    model = network.make()
    with torch.no_grad():
        for module in model.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter) and not weight.any():
                weight.normal_(1.0 if weight.ndim == 1 else 0.0, 0.1)
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # averages over what it sees
        model.train()
        with contextlib.suppress(Exception):  # some train with other outputs or larger pictures
            model(torch.from_numpy(check_inputs(described(network.side), 8)))
    return model.eval()
