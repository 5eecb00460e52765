"""Attackers who know the detector: TaintRadar as something that can be differentiated.

Where the detector binarises a map (region > threshold * maximum), the forward pass here does too, and the backward
pass takes the slope of a sigmoid that gets steeper while crafting: BPDA (Athalye, Carlini and Wagner, 2018).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch_calibration.anomaly import Fitted
from taintwatch_calibration.craft.losses import others
from taintwatch_calibration.craft.physical import AttackedBatch, DetectorLoss, Model, Pictures
from taintwatch_models.calibration_file import Calibration, PaperCalibration, TightCalibration
from taintwatch_models.detectors import DETECTOR_NAMES
from taintwatch_models.errors import UsageError
from taintwatch_models.fills import mean_fill, noise_fill
from taintwatch_models.graph.anomaly import Concentration, LayerReference
from taintwatch_models.graph.patch_mahalanobis import LEAST_DISTANCE, PatchLayer
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.torch_graph import TorchGraph
from taintwatch_models.torch_radar import TEMPERATURE

__all__ = [
    "ADAPTIVE",
    "AnomalyScore",
    "Steepness",
    "against",
    "binarised",
    "cellwise",
    "differentiable_anomaly",
    "evade_paper",
    "evade_tight",
    "high_rank_target",
    "mislead_region",
    "pooled_label_map",
]

ADAPTIVE = ("tight", "paper", "misleading")
"""Which detector is evaded; `misleading` draws the saliency away from the attack, whichever variant reads it."""

Steepness = Callable[[float], float]
"""From how far a run is, 0 to 1, to the slope of the sigmoid that stands for a binarisation."""

_STEEP = (10.0, 60.0)
"""The sigmoid's slope at the beginning and at the end."""
_ENOUGH = 1.0
"""Logits by which a score stays under its threshold before it is left alone."""


def binarised(share: Tensor, threshold: float, steepness: float) -> Tensor:
    """Return `share > threshold` as 0 and 1, with the slope of `sigmoid(steepness * (share - threshold))`."""
    soft = torch.sigmoid(steepness * (share - threshold))
    hard = (share > threshold).to(share)
    return soft + (hard - soft).detach()


def evade_tight(
    model: Model,
    preprocessing: Preprocessing,
    settings: TightCalibration,
    anomaly: Callable[[Tensor], Tensor] | None = None,
) -> DetectorLoss:
    """Keep `tight`'s score under its threshold: margin and swing after the region is filled with the mean colour.

    `anomaly`: from inputs to their anomaly score, where the settings weigh it; without it the attacker knows nothing of
    it.
    """
    fill = torch.from_numpy(mean_fill(preprocessing))

    def loss(batch: AttackedBatch) -> Tensor:
        saliency = cellwise(model, batch.maps)
        mask = _mask(saliency, settings.saliency_threshold, batch)
        after = model.head(model.maps(_filled(batch.inputs, mask, fill)))
        label = batch.logits.argmax(1)
        margin, before = _margin(after, label), _margin(batch.logits, label)
        score = margin - settings.swing_weight * before
        if settings.concentration_weight:
            concentration = saliency.amax((1, 2)) / saliency.mean((1, 2)).clamp_min(1e-12)
            score = score + settings.concentration_weight * concentration.clamp_min(1.0).log()
        if anomaly is not None and settings.anomaly_weight:
            score = score + settings.anomaly_weight * anomaly(batch.inputs)
        return _once_fooled(F.relu(score - settings.threshold + _ENOUGH), batch)

    return loss


def evade_paper(
    model: Model, preprocessing: Preprocessing, settings: PaperCalibration, steepness: Steepness | None = None
) -> DetectorLoss:
    """Keep the label on top after the paper's third forward: BPDA through all of its masks.

    `steepness`: of the sigmoid that stands for each binarisation, by progress; None: from 10 to 60.
    """
    import numpy as np

    fill = torch.from_numpy(noise_fill(preprocessing, np.random.default_rng(0)))

    def loss(batch: AttackedBatch) -> Tensor:
        first = _mask(pooled_label_map(model, batch.maps), settings.saliency_threshold, batch, steepness)
        second = model.head(model.maps(_filled(batch.inputs, first, fill)))
        count = min(settings.labels, second.shape[1])
        suppressed = (second - batch.logits).detach().topk(count, dim=1).indices  # (B, K)
        mask = torch.ones_like(first)
        for column in suppressed.T:
            region = _pooled(model, batch.maps, _minus_label(column))
            mask = mask * _mask(region, settings.saliency_threshold, batch, steepness)
        third = model.head(model.maps(_filled(batch.inputs, mask, fill)))
        return _once_fooled(F.relu(_margin(third, batch.logits.argmax(1)) + _ENOUGH), batch)

    return loss


def mislead_region(model: Model) -> DetectorLoss:
    """Draw the region away from the attack: minimise the share of its saliency that lies on what the attack covers."""

    def loss(batch: AttackedBatch) -> Tensor:
        saliency = cellwise(model, batch.maps)
        covered = F.interpolate(batch.covered, size=saliency.shape[1:], mode="area")[:, 0]
        return _once_fooled((saliency * covered).sum((1, 2)) / saliency.sum((1, 2)).clamp_min(1e-12), batch)

    return loss


def against(
    name: str, weight: float, model: Model, preprocessing: Preprocessing, calibration: Calibration
) -> DetectorLoss:
    """Return the adaptive loss of that name, weighted. Raises `UsageError` for an unknown one or a weight below 0."""
    if name not in ADAPTIVE:
        what = "there is no adaptive attack on" if name in DETECTOR_NAMES else "there is no detector"
        raise UsageError(f"{what} {name!r}; choose one of {', '.join(ADAPTIVE)}")
    if weight < 0:
        raise UsageError(f"the weight of the detector's loss must not be below 0, it is {weight:g}")
    if name == "tight":
        inner = evade_tight(model, preprocessing, calibration.tight)
    elif name == "paper":
        inner = evade_paper(model, preprocessing, calibration.paper)
    else:
        inner = mislead_region(model)
    return lambda batch: weight * inner(batch)


def high_rank_target(model: Model, pictures: Pictures, normalise: Callable[[Tensor], Tensor]) -> int:
    """Return the label that ranks highest on the pictures without being theirs: the least change of rank to make."""
    total: Tensor | None = None
    with torch.no_grad():
        for start in range(0, len(pictures), 32):
            pixels, own = pictures.pixels[start : start + 32], pictures.own[start : start + 32]
            logits = model.head(model.maps(normalise(pixels)))
            ranks = logits.argsort(1, descending=True).argsort(1).float()
            ranks.scatter_(1, own[:, None], float(logits.shape[1]))  # a picture's own label is no target for it
            total = ranks.sum(0) if total is None else total + ranks.sum(0)
    if total is None:
        raise UsageError("there is no picture to choose a high-ranking target on")
    return int(total.argmin())


def _log_softmax_of_label(logits: Tensor) -> Tensor:
    scores = F.log_softmax(logits / TEMPERATURE, dim=1)
    return scores.gather(1, logits.argmax(1, keepdim=True)).sum()


def _minus_label(label: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the sum of minus each picture's logit of its label (B,)."""
    return lambda logits: -logits.gather(1, label[:, None]).sum()


def _slope(model: Model, maps: Tensor, what: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the gradient of `what` of the logits with respect to the maps; itself differentiable."""
    leaf = maps if maps.requires_grad else maps.requires_grad_(True)
    (gradient,) = torch.autograd.grad(what(model.head(leaf)), leaf, create_graph=True)
    return gradient


def cellwise(model: Model, maps: Tensor) -> Tensor:
    """`tight`'s region map: gradient times activation cell by cell, (B, h, w)."""
    return F.relu((_slope(model, maps, _log_softmax_of_label) * maps).sum(1))


def _pooled(model: Model, maps: Tensor, what: Callable[[Tensor], Tensor]) -> Tensor:
    """The paper's region map: the gradient pooled over cells first, (B, h, w)."""
    return F.relu((_slope(model, maps, what).mean((2, 3), keepdim=True) * maps).sum(1))


def pooled_label_map(model: Model, maps: Tensor) -> Tensor:
    """Return the paper's region map of the label on top, (B, h, w): Grad-CAM of its log softmax at T = 2."""
    return _pooled(model, maps, _log_softmax_of_label)


def _mask(saliency: Tensor, threshold: float, batch: AttackedBatch, steepness: Steepness | None = None) -> Tensor:
    """From a map (B, h, w) to a mask (B, 1, H, W): 0 everywhere where the map is."""
    large = F.interpolate(saliency[:, None], size=batch.inputs.shape[2:], mode="bilinear", align_corners=False)
    share = large / large.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    steep = _STEEP[0] + (_STEEP[1] - _STEEP[0]) * batch.progress if steepness is None else steepness(batch.progress)
    return binarised(share, threshold, steep)


def _filled(inputs: Tensor, mask: Tensor, fill: Tensor) -> Tensor:
    return inputs * (1 - mask) + fill.to(inputs) * mask


def _once_fooled(each: Tensor, batch: AttackedBatch) -> Tensor:
    """Return the mean over pictures, those that are not fooled (yet) counting nothing: they are not to be kept so."""
    label = batch.logits.argmax(1)
    fooled = label != batch.own if batch.target is None else label == batch.target
    return (each * fooled).mean()


def _margin(logits: Tensor, label: Tensor) -> Tensor:
    return others(logits, label) - logits.gather(1, label[:, None])[:, 0]


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
