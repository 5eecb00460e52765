"""Networks of other heads than the zoo's own, from torchvision's blocks, trained on Imagenette at 112 px.

The training runs on a GPU in a minute or two a network: pictures lie in its memory, and are varied there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["MEAN", "NETWORKS", "PATTERN_NETWORKS", "SIZE", "STD", "load_or_train", "train_network"]

SIZE = 112
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _convnext(classes: int) -> nn.Module:
    """After ConvNeXt (Liu et al., 2022): last maps 7 x 7, global average pooling, layer norm, one linear layer."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    blocks = [CNBlockConfig(32, 64, 2), CNBlockConfig(64, 128, 2), CNBlockConfig(128, 256, 4)]
    network: Any = ConvNeXt([*blocks, CNBlockConfig(256, None, 2)], stochastic_depth_prob=0.1, num_classes=classes)
    network.features[0][0] = nn.Conv2d(3, 32, 2, 2)  # half the stride: the last maps stay 7 x 7
    made: nn.Module = network
    return made


def _vit(classes: int) -> nn.Module:
    """After ViT (Dosovitskiy et al., 2021): 14 x 14 tokens of 8 pixels and a class token, one linear layer."""
    from torchvision.models import VisionTransformer

    network: nn.Module = VisionTransformer(
        SIZE, 8, num_layers=6, num_heads=4, hidden_dim=192, mlp_dim=576, dropout=0.05, num_classes=classes
    )
    return network


def _vit_small(classes: int) -> nn.Module:
    """A smaller one: 8 x 8 tokens of 14 pixels, four blocks; trains in a few minutes on one core."""
    from torchvision.models import VisionTransformer

    network: nn.Module = VisionTransformer(
        SIZE, 14, num_layers=4, num_heads=4, hidden_dim=128, mlp_dim=384, dropout=0.05, num_classes=classes
    )
    return network


def _vgg(classes: int) -> nn.Module:
    """After VGG (Simonyan and Zisserman, 2015): last maps 7 x 7, flattened, two linear layers."""

    def unit(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]

    steps: list[nn.Module] = []
    for before, after in ((3, 24), (24, 48), (48, 96), (96, 128)):
        steps += [*unit(before, after), *([] if before == 3 else unit(after, after)), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(128 * 49, 256), nn.ReLU(inplace=True), nn.Dropout(0.4), nn.Linear(256, classes)]
    return nn.Sequential(*steps, *unit(128, 160), nn.Conv2d(160, 128, 1), nn.ReLU(inplace=True), *head)


def _densenet(classes: int) -> nn.Module:
    """After DenseNet (Huang et al., 2017): last maps 7 x 7, batch norm and ReLU, pooling, one linear layer."""
    from torchvision.models import DenseNet

    network: Any = DenseNet(growth_rate=16, block_config=(3, 4, 6, 4), num_init_features=32, num_classes=classes)
    network.features.conv0.stride = (1, 1)
    made: nn.Module = network
    return made


def _squeezenet(classes: int) -> nn.Module:
    """After SqueezeNet (Iandola et al., 2016): the classifier is a 1 x 1 convolution, pooled over its maps."""
    from torchvision.models import squeezenet1_1

    network: nn.Module = squeezenet1_1(num_classes=classes, dropout=0.2)
    return network


def _mobilenet_v3(classes: int) -> nn.Module:
    """After MobileNetV3 (Howard et al., 2019): squeeze and excitation, pooling, two linear layers with h-swish."""
    from torchvision.models import mobilenet_v3_small

    network: Any = mobilenet_v3_small(num_classes=classes, dropout=0.2)
    network.features[0][0].stride = (1, 1)
    made: nn.Module = network
    return made


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "convnext": _convnext,
    "vit": _vit,
    "vgg": _vgg,
    "densenet": _densenet,
    "squeezenet": _squeezenet,
    "mobilenet_v3": _mobilenet_v3,
}
"""Those that detection is measured on."""
PATTERN_NETWORKS: dict[str, Callable[[int], nn.Module]] = {"vit_small": _vit_small}
"""Those that `benchmarks.appearance` crafts patterns on; detection is measured on none of these."""


def train_network(
    name: str,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    epochs: int,
    seconds: float = math.inf,
    batch: int = 128,
    rate: float = 2e-3,
    seed: int = 0,
    device: str = "cuda",
    report: Callable[[str], None] = print,
) -> nn.Module:
    """Train a network of either list on pictures (N, 128, 128, 3) RGB; return it on the CPU, for evaluation.

    AdamW with one cycle, over `epochs` or, where these take longer, over `seconds`; random crops of 0.35 to 1 of the
    area, flips, light, colour, erased rectangles; smoothed labels (for the ViT, which has no other prior, mixed ones
    too). The averaged weights are returned.
    """
    torch.manual_seed(seed)
    network = (NETWORKS | PATTERN_NETWORKS)[name](int(labels.max()) + 1).to(device)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=_MovingAverage(), use_buffers=True)
    data = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
    wanted = F.one_hot(torch.from_numpy(labels).to(device)).float()
    steps = len(data) // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.05, fused=device != "cpu")
    begun = time.monotonic()
    for epoch in range(epochs):
        done = max(epoch / epochs, (time.monotonic() - begun) / seconds)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate * _one_cycle(done + 0.5 / epochs)
        network.train()
        total = torch.zeros((), device=device)
        for rows in torch.randperm(len(data), device=device)[: steps * batch].split(batch):
            shown, soft = _varied(data[rows], wanted[rows], mixed=name.startswith("vit"))
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
                said = network(shown)
            loss = F.cross_entropy(said.float(), soft, label_smoothing=0.1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            average.update_parameters(network)
            total += loss.detach()
        if (epoch + 1) % max(1, epochs // 5) == 0:
            spent = time.monotonic() - begun
            report(f"{name}: epoch {epoch + 1} of {epochs}, loss {float(total) / steps:.3f}, {spent:.0f} s")
    return average.module.cpu().eval()


class _MovingAverage:
    """An exponential moving average of tensors that forgets faster at first."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, averaged: Any, current: Any, count: Tensor | int) -> None:
        self._count += 1
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, max(0.003, 1 / (10 + self._count)))
        else:  # batch norms count their batches
            torch._foreach_copy_(averaged, current)


def _one_cycle(done: float, rise: float = 0.15) -> float:
    """Return the share of the highest learning rate: up on a line, down on a cosine."""
    if done < rise:
        return 0.1 + 0.9 * done / rise
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, (done - rise) / (1 - rise)))) / 2


def _varied(pixels: Tensor, wanted: Tensor, *, mixed: bool) -> tuple[Tensor, Tensor]:
    """Return normalised crops (B, 3, 112, 112) of pictures (B, 3, H, W) uint8, and their soft labels."""
    count, device = len(pixels), pixels.device
    draw = partial(torch.rand, count, device=device)
    side = (0.35 + 0.65 * draw()).sqrt()
    ratio = torch.exp((draw() - 0.5) * 2 * math.log(1.25))
    half = torch.stack([(side * ratio.sqrt()).clamp(max=1), (side / ratio.sqrt()).clamp(max=1)], 1)  # (B, 2): x, y
    centre = (torch.rand(count, 2, device=device) * 2 - 1) * (1 - half)
    flip = torch.where(draw() < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = half[:, 0] * flip, half[:, 1], centre
    places = F.affine_grid(theta, [count, 3, SIZE, SIZE], align_corners=False)
    shown = F.grid_sample(pixels.float() / 255, places, align_corners=False, padding_mode="reflection")
    light = (0.6 + 0.8 * torch.rand(count, 1, 1, 1, device=device)) * (
        0.9 + 0.2 * torch.rand(count, 3, 1, 1, device=device)
    )
    mean = shown.mean((2, 3), keepdim=True)
    shown = ((shown - mean) * (0.7 + 0.6 * torch.rand(count, 1, 1, 1, device=device)) + mean) * light
    shown = (shown.clamp(0, 1) - torch.tensor(MEAN, device=device)[:, None, None]) / torch.tensor(STD, device=device)[
        :, None, None
    ]
    if mixed:
        share = torch.distributions.Beta(0.4, 0.4).sample((count, 1)).to(device)
        other = torch.randperm(count, device=device)
        shown = share[:, :, None, None] * shown + (1 - share[:, :, None, None]) * shown[other]
        wanted = share * wanted + (1 - share) * wanted[other]
    return _erased(shown), wanted


def _erased(shown: Tensor, share: float = 0.3) -> Tensor:
    """Fill one rectangle, of 0.15 to 0.5 of each side, of some pictures with nothing."""
    count, device = len(shown), shown.device
    half = 0.15 + 0.35 * torch.rand(count, 2, device=device)
    low = torch.rand(count, 2, device=device) * (1 - half)
    line = (torch.arange(SIZE, device=device) + 0.5) / SIZE
    inside = [(line >= low[:, i, None]) & (line < low[:, i, None] + half[:, i, None]) for i in (0, 1)]
    hidden = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    hidden &= (torch.rand(count, device=device) < share)[:, None, None, None]
    return shown.masked_fill(hidden, 0.0)


def load_or_train(name: str, data: Path, work: Path, *, report: Callable[[str], None] = print) -> Path:
    """Return WORK/NAME.onnx, trained first (on a GPU where there is one) where it is not there yet.

    Beside it: NAME.toml with labels and preprocessing. Raises `UsageError` for missing data.
    """
    from benchmarks.signs.export import preprocessing_toml, write_onnx
    from benchmarks.zoo.pictures import read_objects
    from taintwatch_calibration.results import write_text

    path = work / f"{name}.onnx"
    if path.is_file() and path.with_suffix(".toml").is_file():
        return path
    pixels, labels, names = read_objects(data, "train")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    epochs, rate = _EPOCHS.get(name, 80), _RATES.get(name, 2e-3)
    network = train_network(name, pixels, labels, epochs=epochs, rate=rate, device=device, report=report)
    _measure_norms(network, pixels[:1024])
    work.mkdir(parents=True, exist_ok=True)
    torch.backends.mha.set_fastpath_enabled(value=False)  # the exporter knows none of its fused operations
    write_onnx(network, path, SIZE)
    write_text(path.with_suffix(".toml"), preprocessing_toml(names, SIZE, MEAN, STD, None))
    return path


_RATES = {"squeezenet": 4e-4, "mobilenet_v3": 1e-3, "convnext": 1.5e-3, "vit": 8e-4, "vit_small": 1e-3}
_EPOCHS = {"vit_small": 30}


@torch.no_grad()
def _measure_norms(network: nn.Module, pixels: NDArray[np.uint8]) -> None:
    """Take the batch norms' means anew: torchvision's MobileNetV3 moves them too slowly for a short training."""
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    for each in norms:
        each.reset_running_stats()
        each.momentum = None
    network.train()
    edge = (pixels.shape[1] - SIZE) // 2
    shown = torch.from_numpy(pixels[:, edge : edge + SIZE, edge : edge + SIZE]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    for start in range(0, len(shown) if norms else 0, 128):
        network((shown[start : start + 128] - mean) / std)
    network.eval()
