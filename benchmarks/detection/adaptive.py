"""Attackers who know the default detector, its reference and its thresholds, and craft against all of it.

The detector's statistics are made differentiable: the anomaly maps with the map of saliency shares, the distance of the
salient features, the appearance, the margin once the window is filled, and the log odds of the label on the
detector's own hosts. Each is turned into its surprise on the benign scale, linear beyond the 90% quantile, combined as
the detector combines them, and what that has above the threshold is added to the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.detection.networks import Network
from benchmarks.makers.onnx_torch import OnnxModule
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_models.detection.anomaly import LayerCells, early_layers
from taintwatch_models.detection.appearance import appearance_model
from taintwatch_models.detection.closeup import CLOSEUP_SHARE, closeup_model
from taintwatch_models.detection.reference import LOOKS, LOOKS_WEIGHT, WEIGHTS, Reference
from taintwatch_models.detection.windows import FILL_SHARE, GRID, window_cells
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["ATTACKERS", "FRAMES", "Attacker", "craft_adaptive", "outcome", "outcome_of_frames"]


@dataclass(frozen=True, slots=True)
class Attacker:
    """What one attacker minimises, and where his patch lies."""

    name: str
    weight: float
    """Of the detector's surprise above the threshold, in logits."""
    scene: bool
    """A patch for each picture at its one place, instead of one for all pictures and places."""
    lead: float
    """Logits by which the target shall lead: more makes the patch stronger and easier to see."""
    size: float = 0.35
    shaken: bool = False
    """Crafted for a camera that shakes a little and has noise, and measured so: what only a picture file can hold, no
    printed thing can."""


ATTACKERS = (
    Attacker("universal, all statistics", 1.0, scene=False, lead=2.0),
    Attacker("one scene, all statistics", 1.0, scene=True, lead=1.0),
    Attacker("one scene, barely wins", 3.0, scene=True, lead=0.2),
    Attacker("one scene, before a camera", 1.0, scene=True, lead=1.5, shaken=True),
)
FRAMES, VOTES = 5, 3
"""Frames of an attempt before a camera; it fools where so many show the target, and is seen where so many alarm."""


class _Knowledge:
    """The detector's score of attacked pictures, differentiable."""

    def __init__(
        self,
        model: TorchGraph,
        reference: Reference,
        fill: Tensor,
        hosts: Tensor,
        networks: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    ) -> None:
        """`networks`: of the appearance, and of the close-up."""
        self._model, self._reference, self._fill, self._hosts = model, reference, fill, hosts
        self._appearance, self._closeup = networks
        self._layers = [self._tensors(layer, fill) for layer in reference.layers]
        windows = reference.windows
        self._windows_known = [torch.from_numpy(np.array(value)).to(fill) for value in
                          (windows.projection, windows.mean, windows.whitening)]  # fmt: skip

    @staticmethod
    def _tensors(layer: LayerCells, like: Tensor) -> tuple[LayerCells, Tensor, Tensor, Tensor]:
        channels = torch.from_numpy(np.array(layer.channels)).to(like.device)
        mean, whitening = (torch.from_numpy(np.array(v)).to(like) for v in (layer.mean, layer.whitening))
        return layer, channels, mean, whitening

    def logits_and_score(self, inputs: Tensor, target: int, corners: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Return logits (B, classes) and the detector's score (B,); `corners` (B, 2): the patch's, in pixels."""
        values = self._model.between(inputs, [layer.value for layer, *_ in self._layers] + ["features"])
        maps = values[-1]
        logits = self._model.head(maps)
        found = {"feature_anomaly": self._features(maps, corners, side, inputs.shape[-1])}
        shares = self._saliency_shares(maps, target)
        layers = self._scaled_maps(values[:-1])
        for name, some in (("anomaly", layers), ("early_anomaly", layers[: early_layers(len(layers))])):
            found[name] = (torch.stack(some).mean(0) + shares).flatten(1).amax(1)
        found["appearance"] = self._appearance(inputs)
        found["necessity"] = self._necessity(inputs, target, corners, side)
        found["sufficiency"] = self._sufficiency(inputs, target, corners, side)
        found["closeup"] = self._near(inputs, corners, side)
        known = {name: self._surprise(name, value) for name, value in found.items() if name in self._reference.tails}
        looks = {name: value for name, value in known.items() if name in LOOKS}
        acts = {name: value for name, value in known.items() if name not in LOOKS}
        odd = LOOKS_WEIGHT**0.5 * torch.stack(list(looks.values())).mean(0)
        return logits, odd + _norm(acts)

    def _surprise(self, name: str, value: Tensor) -> Tensor:
        tail = self._reference.tails[name]
        split, median = float(tail.levels[-1]), float(tail.levels[len(tail.levels) // 2])
        above = F.relu(value - split) / tail.scale
        below = ((value - median) / max(split - median, 1e-6)).clamp(0, 1) * 2.3
        return above + below

    def _scaled_maps(self, values: list[Tensor]) -> list[Tensor]:
        """Each layer's anomaly map, (B, 14, 14)."""
        found = []
        for value, (layer, channels, mean, whitening) in zip(values, self._layers, strict=True):
            if layer.tokens:
                height, width = layer.cells
                tokens = value.reshape(len(value), layer.tokens, -1)  # channels last: rows and columns are joined
                cells = tokens[:, layer.tokens - height * width :, channels].transpose(1, 2)
                cells = cells.reshape(len(value), len(channels), height, width)
            else:
                cells = value[:, channels]
            cells = cells[:, :, :: layer.stride, :: layer.stride]
            white = torch.einsum("bchw,cd->bdhw", cells - mean[:, None, None], whitening)
            window = window_cells(layer.side)
            average = F.avg_pool2d((white * white).mean(1, keepdim=True), window, stride=1)
            scaled = (average.clamp_min(1e-6).log() - layer.centre) / layer.spread
            found.append(F.interpolate(scaled, (GRID, GRID), mode="bilinear", align_corners=False)[:, 0])
        return found

    def _saliency_shares(self, maps: Tensor, target: int) -> Tensor:
        """As `anomaly.share_nodes`, of the target's saliency: (B, 14, 14)."""
        said = self._model.head(maps).log_softmax(1)[:, target].sum()
        slope = torch.autograd.grad(said, maps, create_graph=True)[0]
        saliency = F.relu((slope * maps).sum(1, keepdim=True))
        window = window_cells(saliency.shape[2:])
        averages = F.avg_pool2d(saliency, window, stride=1)
        shares = averages / averages.mean((2, 3), keepdim=True).clamp_min(1e-12)
        return F.interpolate((shares + 0.05).log(), (GRID, GRID), mode="bilinear", align_corners=False)[:, 0]

    def _features(self, maps: Tensor, corners: Tensor, side: int, size: int) -> Tensor:
        projection, mean, whitening = self._windows_known
        height, width = maps.shape[2:]
        rows = max(1, round(FILL_SHARE * height))
        centres = (corners + side / 2) / size
        features = []
        for index, (y, x) in enumerate(centres.tolist()):
            top, left = (int(np.clip(round(c * e - rows / 2), 0, e - rows)) for c, e in ((y, height), (x, width)))
            features.append(maps[index, :, top : top + rows, left : left + rows].mean((1, 2)))
        stacked = torch.stack(features)
        rooted = stacked.sign() * (stacked.abs() + 1e-8).sqrt()
        white = (rooted @ projection - mean) @ whitening
        return (white * white).mean(1).clamp_min(1e-9).log()

    def _near(self, inputs: Tensor, corners: Tensor, side: int) -> Tensor:
        places = self._windows(inputs, corners, side, CLOSEUP_SHARE)
        return self._closeup(torch.stack([inputs[row, :, y, x] for row, (y, x) in enumerate(places)]))

    def _windows(
        self, inputs: Tensor, corners: Tensor, side: int, share: float = FILL_SHARE
    ) -> list[tuple[slice, slice]]:
        size = inputs.shape[-1]
        extent = round(share * size)
        tops = (corners + side / 2 - extent / 2).round().clamp(0, size - extent).int().tolist()
        return [(slice(top, top + extent), slice(left, left + extent)) for top, left in tops]

    def _necessity(self, inputs: Tensor, target: int, corners: Tensor, side: int) -> Tensor:
        filled = inputs.clone()
        for row, (rows, columns) in enumerate(self._windows(inputs, corners, side)):
            filled[row, :, rows, columns] = self._fill
        return _margin(self._model(filled), target)

    def _sufficiency(self, inputs: Tensor, target: int, corners: Tensor, side: int) -> Tensor:
        pasted = []
        for row, (rows, columns) in enumerate(self._windows(inputs, corners, side)):
            onto = self._hosts.clone()
            onto[:, :, rows, columns] = inputs[row, :, rows, columns]
            pasted.append(onto)
        logits = self._model(torch.cat(pasted))
        others = logits.clone()
        others[:, target] = -torch.inf
        odds: Tensor = logits[:, target] - others.logsumexp(1)
        return odds.reshape(len(inputs), -1).mean(1)


def _in_torch(model: onnx.ModelProto, device: str) -> Callable[[Tensor], Tensor]:
    module = OnnxModule(model).to(device)

    def answer(inputs: Tensor) -> Tensor:
        found: Tensor = module(inputs)
        return found

    return answer


def _norm(surprises: Mapping[str, Tensor]) -> Tensor:
    parts = [WEIGHTS.get(name, 1.0) * value**2 for name, value in surprises.items()]
    return (torch.stack(parts).sum(0) + 1e-6).sqrt()


def _margin(logits: Tensor, target: int) -> Tensor:
    """The largest other logit minus the target's."""
    others = logits.clone()
    others[:, target] = -torch.inf
    return others.amax(1) - logits[:, target]


def craft_adaptive(
    network: Network,
    reference: Reference,
    attacker: Attacker,
    threshold: float,
    *,
    steps: int = 200,
    batch: int = 8,
    scenes: int = 40,
    seed: int = 0,
    device: str = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> NDArray[np.uint8]:
    """Return attacked test pictures (n, H, W, 3), one for each attempt.

    `threshold`: the detector's, which the attacker keeps below. A universal patch is crafted on the site's own pictures
    and shown on the test pictures; one for a scene is crafted for its own picture, of the first `scenes` of the test.
    """
    radar, target = network.radar, network.targets[0]
    model, preprocessing = differentiable(radar, device), radar.info.preprocessing
    mean, std = (torch.tensor(v, device=device).reshape(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    scale = 255 / preprocessing.scale

    def normalise(shown: Tensor) -> Tensor:
        return (shown * scale - mean) / std

    hosts = _planes(reference.hosts[:3], device)
    fill = normalise(torch.tensor(preprocessing.mean_colour, device=device)[:, None, None] / 255)
    networks = (_in_torch(appearance_model(preprocessing), device), _in_torch(closeup_model(preprocessing), device))
    knowledge = _Knowledge(model, reference, fill, normalise(hosts), networks)
    test = _planes(network.test[:scenes] if attacker.scene else network.test, device)
    pool = test if attacker.scene else _planes(network.site, device)
    size = test.shape[-1]
    side = round(attacker.size * size)
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.randint(0, size - side + 1, (len(test), 2), generator=generator)
    hidden = (0.1 * torch.randn(len(test) if attacker.scene else 1, 3, side, side, generator=generator)).to(device)
    hidden.requires_grad_()
    adam = torch.optim.Adam([hidden], 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, 0.005)
    for step in range(steps):
        rows = torch.randint(len(pool), (batch,), generator=generator)
        corners = fixed[rows] if attacker.scene else torch.randint(0, size - side + 1, (batch, 2), generator=generator)
        patches = torch.sigmoid(hidden[rows.to(device)] if attacker.scene else hidden.expand(batch, -1, -1, -1))
        laid = _laid(pool[rows.to(device)], patches, corners)
        inputs = normalise(_shaken(laid, generator) if attacker.shaken else laid)
        logits, score = knowledge.logits_and_score(inputs, target, corners, side)
        fooled = F.relu(_margin(logits, target) + attacker.lead).mean()
        patience = min(1.0, 2 * step / steps)  # first fool, then hide
        loss = fooled + patience * attacker.weight * F.relu(score - 0.8 * threshold).mean()
        (hidden.grad,) = torch.autograd.grad(loss, [hidden])
        adam.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            wins = float((logits.argmax(1) == target).float().mean())
            seen = float(score.detach().mean())
            report(f"{attacker.name}: step {step + 1}, fools {wins:.0%}, score {seen:.1f} of {threshold:.1f}")
    with torch.no_grad():
        corners = fixed if attacker.scene else torch.randint(0, size - side + 1, (len(test), 2), generator=generator)
        patches = torch.sigmoid(hidden if attacker.scene else hidden.expand(len(test), -1, -1, -1))
        shown = _laid(test, patches, corners)
    return np.asarray((shown.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu())


def _planes(pictures: NDArray[np.uint8], device: str) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().to(device) / 255


def _laid(pictures: Tensor, patches: Tensor, corners: Tensor) -> Tensor:
    side = patches.shape[-1]
    laid = pictures.clone()
    for row, (top, left) in enumerate(corners.tolist()):
        laid[row, :, top : top + side, left : left + side] = patches[row]
    return laid


def _shaken(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (B, 3, H, W) as a held camera sees them: shift, zoom, turn, light and noise as of presentations."""
    count = len(pictures)
    move = torch.randn(count, 4, generator=generator).to(pictures) * torch.tensor([0.02, 0.02, 0.012, 0.01]).to(
        pictures
    )
    zoom, turn = 1 + move[:, 3], move[:, 2]
    rows = [zoom * turn.cos(), -zoom * turn.sin(), 2 * move[:, 0], zoom * turn.sin(), zoom * turn.cos(), 2 * move[:, 1]]
    grid = F.affine_grid(torch.stack(rows, 1).reshape(count, 2, 3), list(pictures.shape), align_corners=False)
    seen = F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    gain = 1 + 0.03 * torch.randn(count, 1, 1, 1, generator=generator).to(pictures)
    return seen * gain + 4 / 255 * torch.randn(seen.shape, generator=generator).to(pictures)


def outcome_of_frames(success: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float) -> Mapping[str, float]:
    """Return the same of attempts before a camera, (attempts, frames) each: most frames decide."""
    fools = success.sum(axis=1) >= VOTES
    seen = (scores > threshold).sum(axis=1) >= VOTES
    return {"attempts": len(success), "fools": float(fools.mean()), "unseen": float((fools & ~seen).mean())}


def outcome(success: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float) -> Mapping[str, float]:
    """Return the attempts, the share that fools the network, and the share that does so unseen."""
    unseen = success & (scores <= threshold)
    return {"attempts": len(success), "fools": float(success.mean()), "unseen": float(unseen.mean())}
