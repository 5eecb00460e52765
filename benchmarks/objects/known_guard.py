"""The object guard's score with a gradient: what an attacker computes who knows the detector, its reference and all.

The place is the guard's own: where the anomaly of this very picture peaks. Surprises are linear beyond the benign 90%
quantile, as the guard's are, and interpolated below. The fill's pixels are taken as given; everything else has a slope.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.craft.object_attacks import class_scores
from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.appearance import WINDOW
from taintwatch_models.detection.reference import LOOKS_WEIGHT
from taintwatch_models.detection.tail import Tail
from taintwatch_models.detection.windows import window_cells
from taintwatch_models.objects.box_changes import filled
from taintwatch_models.objects.guard import PATTERN_MARGIN, WINDOW_MARGIN, ObjectGuard, looks_always
from taintwatch_models.objects.place_anomaly import WINDOWS
from taintwatch_models.objects.place_appearance import PICTURE_FILE, appearance_at, looked_size
from taintwatch_models.objects.torch_detector import TorchDetector

__all__ = ["KnownGuard"]

Box = tuple[int, int, int, int]
_SHARES = np.linspace(0.0, 0.9, 64)


class KnownGuard:
    """Gives a detector's outputs and the guard's score, both differentiable."""

    def __init__(self, guard: ObjectGuard, inner: tuple[int, int, int, int] | None = None) -> None:
        """`inner`: top, left, rows and columns of the input that are picture, where it is letterboxed; None: all."""
        self._guard, finder = guard, guard.finder
        self._detector = TorchDetector(finder.proto)
        self._appearance = TorchDetector(onnx.load(bundled_path(PICTURE_FILE)))
        self._layers = len(guard.reference.layers)
        self.size = finder.preprocessing.size
        """Height and width of the detector's input."""
        self._inner = inner or (0, 0, *self.size)
        scales = guard.reference.scales
        self._centre, self._spread = (torch.from_numpy(value).float() for value in (scales.centre, scales.spread))

    def outputs(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the detector's outputs and the distances of (B, 3, H, W) RGB inputs in [0, 1]."""
        found: dict[str, Tensor] = self._detector(self._inputs(pictures))
        return found

    def score(self, pictures: Tensor, outputs: dict[str, Tensor], label: int) -> Tensor:
        """Return the guard's score (B,); what the fill changes is taken as the scores of one class that it raises."""
        return torch.stack([
            self._score_of(pictures[row], {name: value[row] for name, value in outputs.items()}, label)
            for row in range(len(pictures))
        ])  # fmt: skip

    def _score_of(self, picture: Tensor, outputs: dict[str, Tensor], label: int) -> Tensor:
        reference = self._guard.reference
        anomaly, box = self._peak(outputs, self.size)
        odd, looks, margin = _surprise(reference.anomaly, anomaly), anomaly.new_zeros(()), WINDOW_MARGIN
        if float(anomaly.detach()) >= reference.gate or looks_always(reference.layers):
            answer, place = self._look(picture)
            looks = _surprise(reference.appearance, answer)
            if float(looks.detach()) >= float(odd.detach()):
                box, margin = place, PATTERN_MARGIN
        score: Tensor = LOOKS_WEIGHT**0.5 * looks + odd
        if float(score.detach()) < reference.second:
            return score
        change = _surprise(reference.change, self._change(picture, outputs, box, margin, label))
        acts = (odd.square() + change.square()).clamp_min(1e-6).sqrt()  # as `reference.combine` does
        joined: Tensor = LOOKS_WEIGHT**0.5 * looks + acts
        return joined

    def _peak(self, outputs: dict[str, Tensor], size: tuple[int, int]) -> tuple[Tensor, Box]:
        """Return the largest scaled window average and its window: `place_anomaly.peak_of` in Torch."""
        maps = [outputs[f"distances{index}"] for index in range(self._layers)]
        best: tuple[Tensor, Box] | None = None
        for j, share in enumerate(WINDOWS):
            scaled = []
            for i, each in enumerate(maps):
                window = window_cells(each.shape[-2:], share)
                mean = F.avg_pool2d(each.reshape(1, 1, *each.shape[-2:]), window, 1).clamp_min(1e-6).log()
                scaled.append((mean - self._centre[i, j]) / self._spread[i, j])
            side = max(each.shape[2] for each in scaled), max(each.shape[3] for each in scaled)
            total = torch.stack([F.interpolate(each, side, mode="bilinear") for each in scaled]).mean(0)[0, 0]
            value, place = total.flatten().max(0)
            if best is None or float(value.detach()) > float(best[0].detach()):
                row, column = divmod(int(place), side[1])
                height, width = max(1, round(share * size[0])), max(1, round(share * size[1]))
                top = round(row / max(1, side[0] - 1) * (size[0] - height))
                best = value, (round(column / max(1, side[1] - 1) * (size[1] - width)), top, width, height)
        if best is None:
            raise ValueError("no windows")
        return best

    def _look(self, picture: Tensor) -> tuple[Tensor, Box]:
        """Return the largest appearance in what of the input is picture, and where: x, y, width, height."""
        top, left, rows, columns = self._inner
        shown = picture[None, :, top : top + rows, left : left + columns] * 2 - 1
        size = looked_size(rows, columns)
        (answers,) = self._appearance(F.interpolate(shown, size, mode="bilinear", antialias=True)).values()
        averages = F.avg_pool2d(answers, WINDOW, 1)
        _, (x, y, across, down) = appearance_at(answers[0, 0].detach().numpy())
        gain = 8 * columns / size[1]
        box = round(left + x * gain), round(top + y * gain), max(1, round(across * gain)), max(1, round(down * gain))
        return averages.amax(), box

    def _change(self, picture: Tensor, outputs: dict[str, Tensor], box: Box, margin: float, label: int) -> Tensor:
        """Return by how much the class's largest score outside of what is filled rises once the window is filled."""
        pixels = (picture.detach().permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        painted = torch.from_numpy(filled(pixels, box, margin)).permute(2, 0, 1).float() / 255
        touched = torch.from_numpy(_touched(pixels.shape, box, margin))
        after = self._detector(self._inputs(torch.where(touched, painted, picture)[None]))
        decoder = self._guard.finder.decoder
        before = class_scores({name: value[None] for name, value in outputs.items()}, decoder)[0, :, label]
        rise: Tensor = class_scores(after, decoder)[0, :, label] - before
        return F.relu(rise.amax())

    def _inputs(self, pictures: Tensor) -> Tensor:
        preprocessing = self._guard.finder.preprocessing
        pixels = pictures * 255 if preprocessing.order == "rgb" else pictures.flip(1) * 255
        mean, std = (pictures.new_tensor(value).view(1, 3, 1, 1) for value in (preprocessing.mean, preprocessing.std))
        return (pixels / preprocessing.scale - mean) / std


def _touched(shape: tuple[int, ...], box: Box, margin: float) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], np.bool_)
    x, y, width, height = box
    left, top = max(0, round(x - margin * width)), max(0, round(y - margin * height))
    mask[top : round(y + height * (1 + margin)), left : round(x + width * (1 + margin))] = True
    return mask


def _surprise(tail: Tail, value: Tensor) -> Tensor:
    """Return -ln of the share of benign frames that reach a value, as `Tail.surprise`, with a slope everywhere."""
    levels = torch.from_numpy(np.array(tail.levels)).to(value)
    split = levels[-1]
    if float(value.detach()) > float(split):
        return (value - split) / tail.scale + 2.302585
    place = int(torch.searchsorted(levels, value.detach()).clamp(1, len(levels) - 1))
    low, high = levels[place - 1], levels[place]
    share = _SHARES[place - 1] + (value - low) / (high - low).clamp_min(1e-6) * (_SHARES[place] - _SHARES[place - 1])
    surprise: Tensor = -(1 - share.clamp(0, 0.9)).log()
    return surprise
