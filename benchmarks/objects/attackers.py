"""Attackers who know the object guard, its reference and its threshold, and craft hiding patches against all of it.

The loss of the hiding patch and, once it hides, what the guard's score has above 0.8 of the threshold. One patch for
all cars and places, and one for each scene at its one place, which no printer's or camera's change disturbs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.objects.known_guard import KnownGuard
from benchmarks.objects.scenes import frames_of
from benchmarks.objects.sites import LEARNT, SITES, Measuring
from benchmarks.objects.trials import Attack, has_effect, laid, printed_patch, wearers_of
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.craft.losses import total_variation
from taintwatch_calibration.craft.object_attacks import class_scores, place_on
from taintwatch_calibration.craft.placement import PlacementBatch, apply_patch
from taintwatch_models.objects.decoders import grid_cells
from taintwatch_models.objects.finder import FoundObject, ObjectFinder
from taintwatch_models.objects.guard import ObjectGuard

__all__ = ["ATTACKERS", "Attacker", "adaptive_part"]

_SITE, _VICTIM, _SIZE, _SIDE = "motorway", "car", 0.45, 48
_STRONGEST = 40
_SEEN = 0.3

Picture = NDArray[np.uint8]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Attacker:
    """What one attacker knows and wants."""

    name: str
    scene: bool
    """A patch for each scene, instead of one for all."""
    weight: float
    """Of the guard's score above 0.8 of its threshold; 0: he does not know the guard."""
    smooth: float = 0.1


ATTACKERS = (
    Attacker("universal, all statistics", scene=False, weight=0.1),
    Attacker("one scene, all statistics", scene=True, weight=0.1),
)


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """A frame, and the object in it that is to be hidden."""

    frame: Picture
    victim: FoundObject
    picture: Tensor
    """(3, H, W): the detector's input, RGB in [0, 1]."""
    box: Tensor
    """(4,): x, y, width and height in its pixels."""


def adaptive_part(with_: Measuring, count: int, steps: int, seed: int, say: Say) -> dict[str, Any]:
    """Craft each attacker's patches and count in how many of `count` later frames the car is hidden, and unseen."""
    guard = with_.guard(_SITE)
    label = guard.finder.labels.index(_VICTIM)
    earlier = _scenes(with_.plain, frames_of(with_.data / SITES[_SITE], 60, 0.0, 0.5), 40)
    later = _scenes(with_.plain, frames_of(with_.data / SITES[_SITE], 4 * count, LEARNT, 1.0), count)
    known, rows = KnownGuard(guard, _inner(with_.plain, later[0].frame)), []
    for attacker in ATTACKERS:
        if attacker.scene:
            patches = [_crafted(known, label, guard.threshold, [each], attacker, steps, seed, say) for each in later]
        else:
            patches = [_crafted(known, label, guard.threshold, earlier, attacker, steps, seed, say)] * len(later)
        rows += [_row(guard, with_.plain, later, patches, attacker, recorded) for recorded in (False, True)]
        say(f"{rows[-2]}\n{rows[-1]}")
    return {"site": _SITE, "steps": steps, "threshold": round(guard.threshold, 3), "attackers": rows}


def _inner(plain: ObjectFinder, frame: Picture) -> tuple[int, int, int, int]:
    """Return top, left, rows and columns of the input that a frame takes."""
    height, width = frame.shape[:2]
    place = plain.preprocessing.place(height, width)
    return round(place.offset_y), round(place.offset_x), round(height * place.scale_y), round(width * place.scale_x)


def _scenes(plain: ObjectFinder, frames: Sequence[Picture], most: int) -> list[_Scene]:
    wanted = Attack("", torch.zeros(0), _VICTIM, _SIZE)
    scenes: list[_Scene] = []
    sight = plain.preprocessing
    for frame in frames:
        for victim in wearers_of(plain, plain(frame), frame, wanted):
            if victim is not None and len(scenes) < most:
                pixels = sight.pixels(frame)
                pixels = pixels[..., ::-1] if sight.order == "bgr" else pixels
                place, (x, y, width, height) = sight.place(*frame.shape[:2]), victim.box
                box = torch.tensor([x * place.scale_x + place.offset_x, y * place.scale_y + place.offset_y,
                                    width * place.scale_x, height * place.scale_y])  # fmt: skip
                planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0))).float() / 255
                scenes.append(_Scene(frame, victim, planes, box))
    return scenes


def _crafted(known: KnownGuard, label: int, threshold: float, scenes: Sequence[_Scene], attacker: Attacker, steps: int,
             seed: int, say: Say) -> Tensor:  # fmt: skip
    """Return a patch, (3, side, side) RGB in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    hidden = (0.1 * torch.randn(3, _SIDE, _SIDE, generator=generator)).requires_grad_()
    adam = torch.optim.Adam([hidden], 0.15)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, 0.01)
    batch = 1 if attacker.scene else 2
    for step in range(steps):
        rows = torch.randint(len(scenes), (batch,), generator=generator).tolist()
        pictures, boxes = (torch.stack([getattr(scenes[row], name) for row in rows]) for name in ("picture", "box"))
        shape = pictures.shape[2], pictures.shape[3]
        places = place_on(boxes, _SIZE, shape, None if attacker.scene else generator)
        patch = torch.sigmoid(hidden)
        shown = _shown(pictures, patch, places, generator, shaken=not attacker.scene)
        outputs = known.outputs(shown)
        strongest = _strongest(class_scores(outputs, "yolox")[..., label], boxes, known.size)
        loss = -(1 - strongest).clamp_min(1e-6).log().mean() + strongest[:, 0].mean()
        loss = loss + attacker.smooth * total_variation(patch)
        told = float("nan")
        if attacker.weight:
            score = known.score(shown, outputs, label)
            patience = min(1.0, 2 * step / steps)  # first hide, then hide from the guard
            loss = loss + patience * attacker.weight * F.relu(score - 0.8 * threshold).mean()
            told = float(score.detach().mean())
        (hidden.grad,) = torch.autograd.grad(loss, [hidden])
        adam.step()
        schedule.step()
        if (step + 1) % 20 == 0:
            gone = float((strongest[:, 0] < _SEEN).float().mean())
            say(f"{attacker.name}: step {step + 1}, hides {gone:.0%}, score {told:.1f} of {threshold:.1f}")
    return torch.sigmoid(hidden).detach()


def _shown(pictures: Tensor, patch: Tensor, places: PlacementBatch, generator: torch.Generator, shaken: bool) -> Tensor:
    if not shaken:
        return apply_patch(pictures, patch, torch.ones(1, _SIDE, _SIDE), places)[0]
    gain = 0.8 + 0.4 * torch.rand(len(pictures), generator=generator)
    shown, _ = apply_patch(pictures, patch, torch.ones(1, _SIDE, _SIDE), places, gain=gain)
    return (shown + 0.02 * torch.randn(shown.shape, generator=generator)).clamp(0, 1)


def _strongest(scores: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the largest scores (B, n) of cells that lie on the objects; `scores` (B, cells)."""
    grid = torch.from_numpy(grid_cells(size))
    centre = (grid[:, :2] + 0.5) * grid[:, 2:]
    inside = (centre >= boxes[:, None, :2]) & (centre <= boxes[:, None, :2] + boxes[:, None, 2:])
    return (scores * inside.all(2)).topk(_STRONGEST, dim=1).values


def _row(guard: ObjectGuard, plain: ObjectFinder, scenes: Sequence[_Scene], patches: Sequence[Tensor],
         attacker: Attacker, recorded: bool) -> dict[str, Any]:  # fmt: skip
    """Lay each patch into its frame and ask the guard itself."""
    hides = unseen = 0
    for index, (scene, patch) in enumerate(zip(scenes, patches, strict=True)):
        attack = Attack("", printed_patch(patch, index) if recorded else patch, _VICTIM, _SIZE)
        guarded = guard(laid(scene.frame, scene.victim, attack.patch, attack).picture)
        gone = has_effect([scene.victim], guarded.objects, scene.victim)
        hides += gone
        unseen += gone and guarded.score <= guard.threshold
    return {
        "attacker": attacker.name, "recorded": recorded, "attempts": len(scenes), "hides": hides, "unseen": unseen,
        "unseen_share": round(unseen / len(scenes), 4),
        "unseen_interval": [round(value, 4) for value in wilson_interval(unseen, len(scenes))],
    }  # fmt: skip
