"""The detectors that are exported: how each is made, written, and what its library makes of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taintwatch_models.objects.decoders import Decoded

__all__ = ["EXPORTS", "Export", "Outputs", "settled"]

_NAMES = ["car", "person", "dog"]
_PICTURES = 4
_GAIN = 0.1  # of the class scores, where no batch norm bounds what they are made of: else they are all 1


@dataclass(frozen=True, slots=True)
class Export:
    """One detector of one library, by one exporter."""

    make: Callable[[], nn.Module]
    side: int
    labels: list[str]
    write: Callable[[nn.Module, Path], None]
    answer: Callable[[nn.Module, Tensor], Decoded]
    """From the inputs, (1, 3, H, W) as the file takes them, to what the library finds; pixels of the input."""


def settled(model: nn.Module, side: int) -> nn.Module:
    """Return a random model, changed in place, whose candidates' scores differ.

    Batch norms learn the maps that they get. Without this these vanish layer by layer and all candidates have one
    score: which of them are kept is then up to the last bit of a sum, and no two implementations agree.
    """
    norms = [each for each in model.eval().modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the mean over all pictures
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        for _ in range(_PICTURES if norms else 0):
            pictures = torch.rand(2, 3, side, side)  # a map of one cell has no deviation in one picture
            _ = model(list(pictures)) if hasattr(model, "transform") else model(pixel_values=pictures)
        for name, weights in model.named_parameters():
            if "classification_head" in name and weights.ndim > 1 and not norms:
                weights.mul_(_GAIN)
    return model.eval()


def _torchvision(name: str, **given: Any) -> nn.Module:
    from torchvision.models import detection

    model: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=4, **given)
    return model


def _write_torchvision(model: nn.Module, path: Path) -> None:
    side = _side(model)
    torch.onnx.export(
        model, ([torch.rand(3, side, side)],), str(path), opset_version=17, dynamo=False, input_names=["images"],
        output_names=["boxes", "labels", "scores"],
    )  # fmt: skip


def _side(model: nn.Module) -> int:
    size: Any = model.transform
    return int(size.fixed_size[0] if size.fixed_size else size.min_size[0])


def _ask_torchvision(model: nn.Module, inputs: Tensor) -> Decoded:
    found = model([inputs[0]])[0]
    return Decoded(*(found[name].numpy() for name in ("boxes", "scores", "labels")))


class Outputs(nn.Module):
    """Leaves of a transformer's outputs what its export gives."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()  # the older exporter puts all of it back to this module's own mode: a new one's is training

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(pixel_values=pixels)
        return found.logits, found.pred_boxes


def _write_transformers(model: nn.Module, path: Path, dynamo: bool) -> None:
    given: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {"opset_version": 17}
    torch.onnx.export(
        Outputs(model), (torch.rand(1, 3, 128, 128),), str(path), dynamo=dynamo, input_names=["pixel_values"],
        output_names=["logits", "pred_boxes"], **given,
    )  # fmt: skip


def _ask_transformers(model: nn.Module, inputs: Tensor, processor: str) -> Decoded:
    import transformers

    found = getattr(transformers, processor)().post_process_object_detection(
        model(pixel_values=inputs), threshold=0.0, target_sizes=[tuple(inputs.shape[2:])]
    )[0]
    return Decoded(*(found[name].numpy() for name in ("boxes", "scores", "labels")))


def _names() -> dict[str, Any]:
    return {"id2label": dict(enumerate(_NAMES)), "label2id": {name: index for index, name in enumerate(_NAMES)}}


def _detr() -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1] * 4, layer_type="basic", out_features=["stage4"]
    )
    model: nn.Module = DetrForObjectDetection(DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=32,
        encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_attention_heads=4,
        decoder_attention_heads=4, num_queries=20, **_names(),
    ))  # fmt: skip
    return model


def _rt_detr() -> nn.Module:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 64], depths=[1] * 4, layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    model: nn.Module = RTDetrForObjectDetection(RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[32, 64, 64], encoder_ffn_dim=64,
        d_model=32, decoder_in_channels=[32] * 3, decoder_ffn_dim=64, num_queries=20, decoder_layers=1,
        decoder_attention_heads=4, encoder_attention_heads=4, num_denoising=0, hidden_expansion=0.5, **_names(),
    ))  # fmt: skip
    return model


def _yolos() -> nn.Module:
    from transformers import YolosConfig, YolosForObjectDetection

    model: nn.Module = YolosForObjectDetection(YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[128, 128],
        num_detection_tokens=20, **_names(),
    ))  # fmt: skip
    return model


def _vision(name: str, side: int, **given: Any) -> Export:
    make = partial(_torchvision, name, **given)
    return Export(make, side, ["background", *_NAMES], _write_torchvision, _ask_torchvision)


def _transformer(make: Callable[[], nn.Module], processor: str, dynamo: bool = False) -> Export:
    return Export(
        make, 128, _NAMES, partial(_write_transformers, dynamo=dynamo),
        partial(_ask_transformers, processor=processor),
    )  # fmt: skip


_SMALL = {"min_size": 160, "max_size": 160}
EXPORTS: Mapping[str, Export] = {
    "torchvision SSDlite": _vision("ssdlite320_mobilenet_v3_large", 320),
    "torchvision SSD": _vision("ssd300_vgg16", 300),
    "torchvision RetinaNet": _vision("retinanet_resnet50_fpn", 160, score_thresh=0.0, **_SMALL),
    "torchvision FCOS": _vision("fcos_resnet50_fpn", 160, score_thresh=0.0, **_SMALL),
    "torchvision Faster R-CNN": _vision("fasterrcnn_mobilenet_v3_large_320_fpn", 160, **_SMALL),
    "transformers DETR": _transformer(_detr, "DetrImageProcessor"),
    "transformers DETR, dynamo": _transformer(_detr, "DetrImageProcessor", dynamo=True),
    "transformers YOLOS": _transformer(_yolos, "YolosImageProcessor"),
    "transformers YOLOS, dynamo": _transformer(_yolos, "YolosImageProcessor", dynamo=True),
    "transformers RT-DETR": _transformer(_rt_detr, "RTDetrImageProcessor"),
}
