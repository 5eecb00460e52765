"""The network: eight convolutions, 12 x 12 answers; trained cell by cell, stored as plain ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.appearance.scenes import Scenes
from taintwatch_models.detection.appearance import PLACE, SIDE
from taintwatch_models.graph.builder import GraphBuilder

__all__ = ["AppearanceNet", "to_onnx", "train"]

_CHANNELS = (16, 32, 48)
_BATCH, _RATE, _DECAY = 48, 4e-3, 1e-3
_INSIDE, _OUTSIDE = 0.6, 0.05
"""A cell is of the pattern where it covers more of it than this, and not where it covers less; between, it is left."""
_SCALED = 300
"""Scenes that the scale of the answers is taken from."""
_OPSET = 13


class AppearanceNet(nn.Module):
    """RGB in [-1, 1], (B, 3, 96, 96), to logits (B, 1, 12, 12)."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = _CHANNELS
        plan = ((3, a, 2, 1), (a, a, 1, 1), (a, b, 2, 1), (b, b, 1, 1), (b, c, 2, 1), (c, c, 1, 1), (c, c, 1, 2))
        self.body = nn.Sequential(*(_block(*each) for each in (*plan, (c, c, 1, 3))))
        self.answer = nn.Conv2d(c, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of each cell."""
        found: Tensor = self.answer(self.body(pixels))
        return found


def _block(source: int, target: int, stride: int, dilation: int) -> nn.Sequential:
    convolution = nn.Conv2d(source, target, 3, stride, dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(target), nn.ReLU())


def train(scenes: Scenes, steps: int, seed: int, report: Callable[[int, float], None]) -> AppearanceNet:
    """Train on so many batches of 48 scenes; `report` hears of the step and its loss every 50 steps."""
    torch.manual_seed(seed)
    net = AppearanceNet()
    optimiser = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, steps)
    for step in range(1, steps + 1):
        pictures, masks = zip(*(scenes() for _ in range(_BATCH)), strict=True)
        covered = F.avg_pool2d(torch.from_numpy(np.stack(masks))[:, None], SIDE // 12)
        known = ((covered > _INSIDE) | (covered < _OUTSIDE)).float()
        logits = net(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1)
        wrong = F.binary_cross_entropy_with_logits(logits, (covered > _INSIDE).float(), known, reduction="sum")
        loss = wrong / known.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            report(step, float(loss))
    return _on_scale(net.eval(), scenes)


@torch.no_grad()
def _on_scale(net: AppearanceNet, scenes: Scenes) -> AppearanceNet:
    """Scale the answers so that they have mean 0 and deviation 1 over the map's windows of scenes without a pattern."""
    benign: list[Tensor] = []
    while len(benign) < _SCALED:
        picture, mask = scenes()
        if not mask.any():
            benign.append(torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1)
    answers = F.avg_pool2d(net(torch.stack(benign)), PLACE, stride=1)
    spread = answers.std().clamp_min(1e-6)
    weight, bias = net.answer.parameters()
    weight.div_(spread)
    bias.sub_(answers.mean()).div_(spread)
    return net


def to_onnx(net: AppearanceNet) -> onnx.ModelProto:
    """Return the network with its batch norms folded in: `pixels` (B, 3, 96, 96) to `map` (B, 1, 12, 12)."""
    b = GraphBuilder(_OPSET, "appearance")
    value = "pixels"
    for block in net.body.children():
        convolution, norm, _ = block.children()
        fused = fuse_conv_bn_eval(cast("nn.Conv2d", convolution), cast("nn.BatchNorm2d", norm))
        step, spread = fused.stride[0], fused.dilation[0]
        weight, bias = fused.parameters()
        value = b.add(
            "Conv", value, b.constant(_array(weight)), b.constant(_array(bias)),
            strides=[step, step], pads=[spread] * 4, dilations=[spread, spread],
        )  # fmt: skip
        value = b.add("Relu", value)
    weight, bias = net.answer.parameters()
    value = b.add("Conv", value, b.constant(_array(weight)), b.constant(_array(bias)))
    b.nodes.append(helper.make_node("Identity", [value], ["map"]))
    shape = ["batch", 3, SIDE, SIDE]
    graph = helper.make_graph(
        b.nodes, "appearance",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", 1, SIDE // 8, SIDE // 8])],
        list(b.initializers.values()),
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().numpy(), np.float32)
