"""Whether a benign sign keeps its label when the region that speaks most for it is filled: what erasing is for."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from benchmarks.signs.erasing import random_fills
from benchmarks.signs.evaluate import normalised
from benchmarks.signs.network import MEAN, SignNet

__all__ = ["critical_region", "erase_critical", "kept_after_fill"]

_TEMPERATURE = 2.0


def critical_region(network: SignNet, maps: Tensor, logits: Tensor, threshold: float | Tensor) -> Tensor:
    """Return where the top label's evidence lies: (B, 1, 64, 64), bool.

    `maps` (B, K, h, w) are the last maps and `logits` (B, classes) what follows from them. The gradient-weighted
    sum of the maps, its negative part dropped, resized, divided by its maximum, above `threshold` in (0, 1] (one
    for all, or (B, 1, 1, 1)); empty where it is zero everywhere (TaintRadar, INFOCOM 2021, step 1, the gradient written
    out for a linear head).
    """
    top = F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits.dtype)
    # The gradient of log softmax(Z / T) for the top label with respect to Z, then through the linear layer.
    gradient = (top - torch.softmax(logits / _TEMPERATURE, dim=1)) / _TEMPERATURE  # (B, classes)
    weights = gradient @ network.linear.weight  # (B, K)
    saliency = torch.relu(torch.einsum("bk,bkhw->bhw", weights, maps))[:, None]  # (B, 1, h, w)
    saliency = F.interpolate(saliency, scale_factor=64 / maps.shape[-1], mode="bilinear", align_corners=False)
    largest = saliency.amax(dim=(1, 2, 3), keepdim=True)
    return (saliency >= threshold * largest) & (largest > 0)


@torch.no_grad()
def erase_critical(network: SignNet, images: Tensor, chosen: Tensor, generator: Generator) -> Tensor:
    """Return `images` (B, 3, 64, 64, in [0, 1]) with the critical region filled where `chosen` (B,) is true.

    `network` says where it is (in evaluation mode while this runs); the threshold is random in 0.3 to 0.8; the fill is
    the mean colour for every second picture, else as in random erasing. This is what a radar detector does to a benign
    picture, so it is what the label has to survive (after "adversarial erasing", Wei et al., CVPR 2017).
    """
    index = torch.nonzero(chosen).flatten()
    if not len(index):
        return images
    network.eval()
    part = images[index]
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        maps = network.maps(normalised(part))
        logits = network.linear(network.pool(maps).flatten(1))
    threshold = 0.3 + 0.5 * torch.rand(len(part), 1, 1, 1, generator=generator, device=images.device)
    plain = torch.rand(len(part), 1, 1, 1, generator=generator, device=images.device) < 0.5
    mean = torch.tensor(MEAN, device=images.device)[None, :, None, None]
    fill = torch.where(plain, mean, random_fills(part, generator))
    erased = images.clone()
    erased[index] = torch.where(critical_region(network, maps.float(), logits.float(), threshold), fill, part)
    return erased


@torch.no_grad()
def kept_after_fill(
    network: SignNet, images: NDArray[np.uint8], truth: NDArray[np.int64], threshold: float, device: torch.device
) -> float | None:
    """Return the share of correctly recognised pictures whose label stays when the region is filled with mean colour.

    `images` (N, 64, 64, 3), `truth` (N,). None where nothing is recognised correctly.
    """
    network.eval()
    kept = correct = 0
    for start in range(0, len(images), 250):
        pixels = torch.from_numpy(images[start : start + 250]).to(device).permute(0, 3, 1, 2).float() / 255
        labels = torch.from_numpy(truth[start : start + 250]).to(device)
        inputs = normalised(pixels)
        maps = network.maps(inputs)
        logits = network.linear(network.pool(maps).flatten(1))
        right = logits.argmax(dim=1) == labels
        region = critical_region(network, maps, logits, threshold)
        filled = torch.where(region, torch.zeros_like(inputs), inputs)  # normalised, the mean colour is zero
        kept += int(((network(filled).argmax(dim=1) == labels) & right).sum())
        correct += int(right.sum())
    return round(kept / correct, 4) if correct else None
