"""The radar graph's `anomaly` with Torch, for an attacker who knows it: the same arithmetic, differentiable."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_calibration.anomaly import Fitted
from taintwatch_calibration.craft.adaptive import cellwise
from taintwatch_models.graph.anomaly import Concentration, LayerReference
from taintwatch_models.graph.patch_mahalanobis import LEAST_DISTANCE, PatchLayer
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["AnomalyScore", "differentiable_anomaly"]

AnomalyScore = Callable[[Tensor], Tensor]
"""From inputs (B, 3, H, W) to their anomaly (B,)."""


def differentiable_anomaly(model: TorchGraph, fitted: Fitted) -> AnomalyScore:
    """Return `anomaly` as the fitted radar gives it. `model`: the same classifier."""
    local = fitted.local.layers if fitted.local is not None else ()
    names = tuple(dict.fromkeys([layer.value for layer in fitted.layers] + [layer.value for layer in local]))

    def anomaly(inputs: Tensor) -> Tensor:
        maps = dict(zip(names, model.between(inputs, names), strict=True))
        found = []
        if fitted.layers:
            label = model.head(maps["features"]).argmax(1) if "features" in maps else model(inputs).argmax(1)
            found.append(torch.stack([_labelled(layer, maps[layer.value], label) for layer in fitted.layers]).mean(0))
        if fitted.local is not None:
            scores = torch.stack([_local(layer, maps[layer.value]) for layer in local], 1)
            ordered = scores.sort(dim=1, descending=True).values
            views = fitted.local.views
            found += [(ordered[:, : view.layers].mean(1) - view.centre) / view.spread for view in views]
        if fitted.concentration is not None:
            found.append(_concentrated(fitted.concentration, cellwise(model, model.maps(inputs))))
        largest = torch.stack(found).amax(0)
        return (largest - fitted.scale[0]) / fitted.scale[1]

    return anomaly


def _concentrated(scale: Concentration, saliency: Tensor) -> Tensor:
    peak = F.avg_pool2d(saliency[:, None], scale.window, stride=1).amax((1, 2, 3))
    share = peak / saliency.mean((1, 2)).clamp_min(1e-20)
    return (share.clamp_min(1e-3).log() - scale.centre) / scale.spread


def _labelled(layer: LayerReference, maps: Tensor, label: Tensor) -> Tensor:
    largest = maps.amax((2, 3))
    pooled = largest.sign() * largest.abs().add(1).log()
    means, whitening = torch.from_numpy(layer.means).to(maps), torch.from_numpy(layer.whitening).to(maps)
    white = (pooled[:, None] - means[label]) @ whitening
    distance = white.square().mean(2).amin(1)
    return (distance.clamp_min(LEAST_DISTANCE).log() - layer.centre) / layer.spread


def _local(layer: PatchLayer, maps: Tensor) -> Tensor:
    mean, whitening = torch.from_numpy(layer.mean).to(maps), torch.from_numpy(layer.whitening).to(maps)
    cells = maps[:, torch.from_numpy(layer.channels).to(maps.device)] - mean.view(1, -1, 1, 1)
    white = F.conv2d(cells, whitening.T.contiguous()[:, :, None, None])
    distances = white.square().mean(1, keepdim=True)
    largest = F.avg_pool2d(distances, layer.window, stride=1).amax((1, 2, 3))
    return (largest.clamp_min(LEAST_DISTANCE).log() - layer.centre) / layer.spread
