"""Each rule of the transposed head gives autograd's gradient: one small head for each op, exported on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor, nn

from taintwatch_models.graph.builder import GraphBuilder
from taintwatch_models.graph.cotangent import Cotangent
from taintwatch_models.graph.plain_model import PlainModel, plain_model
from taintwatch_models.graph.split import Split, find_split
from taintwatch_models.graph.transpose import HeadTranspose
from taintwatch_models.model_source import read_source
from taintwatch_models.onnx_session import SessionSettings, open_session
from tests.models import heads

Head = Callable[[Tensor], Tensor]
CHANNELS, CELLS = 12, 8


class Through(nn.Module):
    """Two convolutions, some function of the maps, a linear layer."""

    def __init__(self, function: Head) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, CHANNELS, 3, 2, 1))
        self.function = function
        features = function(torch.zeros(1, CHANNELS, CELLS, CELLS)).flatten(1).shape[1]
        self.linear = nn.Linear(features, 7)

    def head(self, maps: Tensor) -> Tensor:
        return self.linear(self.function(maps).flatten(1))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """One head of attention over the cells."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm = nn.Linear(CHANNELS, 3 * CHANNELS), nn.LayerNorm(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(_tokens(x))).chunk(3, dim=-1)
        return torch.softmax(q @ k.transpose(1, 2) / 3, dim=-1) @ v  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(CHANNELS, 4, 1), nn.Conv2d(4, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Cosine(nn.Module):
    """Features and class vectors of length 1, as ArcFace's."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(CHANNELS, CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return 8 * F.normalize(x.mean((2, 3))) @ F.normalize(self.vectors, dim=0)


class GeM(nn.Module):
    """Generalised mean pooling (Radenovic et al., 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)


torch.manual_seed(3)
RULES: dict[str, Head] = {
    "ELU": nn.ELU(),
    "SELU": nn.SELU(),
    "CELU": nn.CELU(0.7),
    "Mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "GELU": nn.GELU(),
    "GELU by tanh": nn.GELU(approximate="tanh"),
    "exponential and logarithm": lambda x: torch.log(1 + torch.exp(x)),
    "square root of a square": lambda x: torch.sqrt(x * x + 1),
    "absolute value and negative": lambda x: x.abs() - (-x),
    "layer norm over channels": lambda x: nn.functional.layer_norm(_tokens(x), (CHANNELS,)),
    "group norm": nn.GroupNorm(3, CHANNELS),
    "instance norm": nn.InstanceNorm2d(CHANNELS),
    "softmax over channels": lambda x: torch.softmax(x, 1),
    "sum over cells": lambda x: x.sum((2, 3)) / 9,
    "largest over cells": lambda x: x.amax((2, 3)),
    "mean over flattened cells": lambda x: x.flatten(2).mean(2),
    "average and largest side by side": lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1),
    "spatial pyramid": lambda x: torch.cat([F.adaptive_max_pool2d(x, n).flatten(1) for n in (1, 2, 4)], 1),
    "generalised mean": GeM(),
    "cosine": Cosine(),
    "attention over cells": Attention(),
    "gated half (GLU)": lambda x: F.glu(x, 1),
    "squeeze and excite": SqueezeExcite(),
    "split, concat, slice": lambda x: torch.cat([x[:, 6:], x[:, :6:2] * 2, x[:, 1:6:2]], 1),
    "channels moved": lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], CELLS * CELLS, CHANNELS),
    "largest of two": lambda x: torch.maximum(x, 0.3 * x.flip(1)),
    "quotient of two": lambda x: x / (1 + x.square().sum(1, keepdim=True)),
    "chosen by sign": lambda x: torch.where(x > 0, 2 * x, x * x),
    "what is not a number made zero": lambda x: torch.where(torch.isnan(torch.sqrt(x)), 0.0, x * x),
    "one cell read": lambda x: x[:, :, 3, 4],
    "cells read by a table": lambda x: x.flatten(2)[:, :, torch.tensor([[5, 3, 60], [8, 5, 1]])],
    "cells in another order": lambda x: x.flatten(2)[:, :, torch.arange(64).flip(0).reshape(8, 8)],
    "padded": lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 2),
}


@pytest.mark.parametrize("name", list(RULES))
def test_a_head_has_the_gradient_that_autograd_gives(name: str, tmp_path: Path) -> None:
    model = Through(RULES[name]).eval()
    plain = plain_model(read_source(heads.export(model, tmp_path / "m.onnx")))
    convolution = [node.output[0] for node in plain.nodes if node.op_type == "Conv" and "body" in node.output[0]][-1]
    plain, split = find_split(plain, convolution)
    inputs = torch.rand(3, 3, heads.SIZE, heads.SIZE, generator=torch.Generator().manual_seed(0))
    vectors = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(1))
    maps = model.body(inputs).detach().requires_grad_()
    logits = model.head(maps)
    expected = [torch.autograd.grad((logits * vector).sum(), maps, retain_graph=True)[0] for vector in vectors]
    ours = transposed(plain, split)(inputs.numpy(), vectors.numpy())
    np.testing.assert_allclose(
        ours, torch.stack(expected).numpy(), rtol=1e-3, atol=2e-5 * float(expected[0].abs().max())
    )


def transposed(plain: PlainModel, split: Split) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what takes pictures (B, 3, H, W) and vectors (K, B, classes) to gradients (K, B, channels, h, w)."""
    builder = GraphBuilder(plain.opset)
    gradient = HeadTranspose(plain, split, builder)(Cotangent("vectors"))
    proto = onnx.ModelProto()
    proto.CopyFrom(plain.proto)
    proto.graph.node.extend(builder.nodes)
    proto.graph.initializer.extend(builder.initializers.values())
    proto.graph.input.append(helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [None, None, plain.classes]))
    proto.graph.output.append(helper.make_tensor_value_info(gradient.name, TensorProto.FLOAT, None))
    session, _ = open_session(proto.SerializeToString(), SessionSettings(device="cpu", threads=1))

    def run(inputs: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        found = session.run([gradient.name], {plain.input: inputs, "vectors": vectors})[0]
        shape = (*vectors.shape[:2], split.channels, split.height, split.width)
        return np.asarray(np.broadcast_to(found, shape))

    return run
