"""The networks, of the first look, of whole pictures and of close-ups: trained cell by cell, stored as plain ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from taintwatch_models.detection.appearance import PLACE, SIDE
from taintwatch_models.graph.builder import GraphBuilder

__all__ = ["CLOSEUP", "FIRST_LOOK", "WHOLE_PICTURE", "AppearanceNet", "Plan", "Source", "on_scale", "to_onnx", "train"]

Plan = Sequence[tuple[int, int, int]]
"""Channels, stride and dilation of each 3 x 3 convolution; the strides make 8."""
FIRST_LOOK: Plan = ((16, 2, 1), (16, 2, 1), (32, 2, 1), (32, 1, 1), (32, 1, 2), (32, 1, 3))
"""It looks at every frame, so it has to cost next to nothing: 7 million multiplications."""
WHOLE_PICTURE: Plan = (
    (16, 2, 1), (16, 1, 1), (32, 2, 1), (32, 1, 1), (48, 2, 1), (48, 1, 1), (48, 1, 2), (48, 1, 3),
)  # fmt: skip
"""Of object detectors, which have no close-up."""
CLOSEUP: Plan = ((24, 2, 1), (24, 1, 1), (48, 2, 1), (48, 1, 1), (96, 2, 1), (96, 1, 1), (96, 1, 2), (96, 1, 3))
"""It looks at few frames, so it may be wider."""
_BATCH, _RATE, _DECAY = 48, 4e-3, 1e-3
_INSIDE, _OUTSIDE = 0.6, 0.05
"""A cell is of the pattern where it covers more of it than this, and not where it covers less; between, it is left."""
_OVER, _HARDEST = 3, 6
"""Cells a side over which the close-up's answers are averaged; so many harmless crops of a batch, those that look most
like a pattern, are what patterns are held against."""
_SCALED = 300
"""Scenes that the scale of the answers is taken from."""
_OPSET = 13


Source = Callable[[], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Draws a picture (side, side, 3), RGB, 0..255, and the mask (side, side) of its pattern."""


class AppearanceNet(nn.Module):
    """RGB in [-1, 1], (B, 3, side, side), to logits (B, 1, side / 8, side / 8)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        sources = (3, *(channels for channels, *_ in plan))
        self.body = nn.Sequential(*(_block(source, *layer) for source, layer in zip(sources, plan, strict=False)))
        self.answer = nn.Conv2d(sources[-1], 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of each cell."""
        found: Tensor = self.answer(self.body(pixels))
        return found


def _block(source: int, target: int, stride: int, dilation: int) -> nn.Sequential:
    convolution = nn.Conv2d(source, target, 3, stride, dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(target), nn.ReLU())


def train(
    source: Source, net: AppearanceNet, steps: int, report: Callable[[int, float], None], *, apart: float = 0.0
) -> AppearanceNet:
    """Train on so many batches of 48 pictures; `report` hears of the step and its loss every 50 steps.

    `apart`: weight of a second term, which sets a picture's largest answer to its pattern apart from those to the
    batch's most pattern-like harmless ones.
    """
    optimiser = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, steps)
    for step in range(1, steps + 1):
        pictures, masks = zip(*(source() for _ in range(_BATCH)), strict=True)
        covered = F.avg_pool2d(torch.from_numpy(np.stack(masks))[:, None], 8)
        known = ((covered > _INSIDE) | (covered < _OUTSIDE)).float()
        logits = net(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1)
        wrong = F.binary_cross_entropy_with_logits(logits, (covered > _INSIDE).float(), known, reduction="sum")
        loss = wrong / known.sum() + (apart * _overlap(logits, covered) if apart else 0.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            report(step, loss.item())
    return net.eval()


def _overlap(logits: Tensor, covered: Tensor) -> Tensor:
    """How far patterns are answered less than 1 above the hardest harmless pictures: a mean over all pairs."""
    answers, shares = (F.avg_pool2d(values, _OVER, stride=1).flatten(1) for values in (logits, covered))
    harmless = answers.amax(1)[covered.flatten(1).amax(1) < _OUTSIDE]
    has = shares.amax(1) > _INSIDE
    if not has.any() or len(harmless) < _HARDEST:
        return logits.new_zeros(())
    found = answers.masked_fill(shares <= _INSIDE, -torch.inf).amax(1)[has]
    hardest = harmless.topk(_HARDEST).values
    return F.softplus(1 + hardest[None] - found[:, None]).mean()


@torch.no_grad()
def on_scale(net: AppearanceNet, scenes: Source) -> AppearanceNet:
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


def to_onnx(net: AppearanceNet, side: int = SIDE) -> onnx.ModelProto:
    """Return the network with its batch norms folded in: `pixels` (B, 3, side, side) to `map`, an eighth of that."""
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
    shape = ["batch", 3, side, side]
    graph = helper.make_graph(
        b.nodes, "appearance",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", 1, side // 8, side // 8])],
        list(b.initializers.values()),
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().numpy(), np.float32)
