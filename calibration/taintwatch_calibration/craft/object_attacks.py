"""Attacks on object detectors: patches that hide an object or change its class, camouflage, and DPatch in a corner.

- Hiding (Thys et al., *Fooling automated surveillance cameras*, CVPR workshops 2019): worn on the object, it lowers the
  object's score everywhere (objectness times class), with total variation and non-printability.
- Class change: the same, and the wanted class is raised where the object's was.
- Camouflage (`camouflage.painted`; UPC: Huang et al., CVPR 2020): the same, by one texture over the whole object.
- DPatch (Liu et al., 2018): it lies on nothing, in a corner, and the detector finds the wanted class there; untargeted,
  any class. It is crafted at any place of the picture, and only what is found on it counts: objects that are there
  anyhow would be taken for its success.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from taintwatch_calibration.craft.camouflage import painted
from taintwatch_calibration.craft.engine import Checkpoint, Objective, Outcome, Schedule, Step, optimise
from taintwatch_calibration.craft.losses import DEFAULT_PALETTE, non_printability, total_variation
from taintwatch_calibration.craft.placement import PlacementBatch, apply_patch
from taintwatch_models.errors import UsageError
from taintwatch_models.objects.decoders import DECODERS, grid_cells
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["ObjectAttack", "ObjectScenes", "class_scores", "craft_object_patch", "object_success", "place_on"]

_SEEN = 0.3  # an object with less score is not found
_FOUND = 0.5  # one with more surely is
_STRONGEST = 40  # cells of a picture that the loss looks at: as many as answer to one object


@dataclass(frozen=True, slots=True)
class ObjectAttack:
    """What a patch is to do to a detector."""

    kind: Literal["hide", "change", "camouflage", "dpatch"]
    label: int | None
    """The class that is hidden or changed; of DPatch: the class that is to be found, None: any."""
    wanted: int | None = None
    """`change`: the class that it becomes."""
    size: float = 0.5
    """Side of the patch: as a share of the root of the object's area; of DPatch: of the picture's shorter side."""
    side: int = 48
    """Side of the pattern in its own pixels: finer detail would be lost on objects far away."""
    smooth: float = 0.3
    printable: float = 0.1
    """Weights of total variation and non-printability."""
    batch: int = 8

    def __post_init__(self) -> None:
        if (self.kind == "change") != (self.wanted is not None):
            raise UsageError("a patch that changes the class needs the class that is wanted, and no other patch does")
        if self.label is None and self.kind != "dpatch":
            raise UsageError("a patch on an object needs the object's class")


@dataclass(frozen=True, slots=True, eq=False)
class ObjectScenes:
    """Pictures with an object each."""

    pictures: Tensor
    """(N, 3, H, W), RGB in [0, 1], at the scale of the detector's input."""
    boxes: Tensor
    """(N, 4): x, y, width and height of the object, in pixels of its picture."""


def class_scores(outputs: dict[str, Tensor], decoder: str) -> Tensor:
    """Return the scores (B, candidates, classes) of a detector. Raises `UsageError` where only some have one."""
    if decoder == "detr":
        return outputs["logits"].softmax(-1)[..., :-1]
    if decoder == "rt-detr":
        return outputs["logits"].sigmoid()
    rows = next(iter(outputs.values()))
    if decoder in ("yolox", "yolov5"):
        return rows[..., 4:5] * rows[..., 5:]
    if decoder == "yolov8":
        return rows[:, 4:].transpose(1, 2)
    raise UsageError(
        f"attacks are crafted on detectors that score every candidate (YOLO, DETR); '{decoder}' has suppressed "
        "them in its graph: export the model without its suppression"
    )


def place_on(boxes: Tensor, size: float, shape: tuple[int, int], generator: torch.Generator | None) -> PlacementBatch:
    """Return where patches lie on objects (B, 4) in pictures of (height, width): on the middle, a little off.

    `generator`: draws place, size and turn; None: exactly on the middle.
    """
    count, (height, width) = len(boxes), shape

    def spread(limit: float) -> Tensor:
        if generator is None:
            return torch.zeros(count)
        return limit * (2 * torch.rand(count, generator=generator) - 1)

    x, y = boxes[:, 0] + boxes[:, 2] * (0.5 + spread(0.08)), boxes[:, 1] + boxes[:, 3] * (0.45 + spread(0.08))
    sides = size * (boxes[:, 2] * boxes[:, 3]).sqrt() * (1 + spread(0.15))
    return PlacementBatch(2 * x / width - 1, 2 * y / height - 1, sides / min(height, width), spread(0.15))


def craft_object_patch(
    detector: nn.Module,
    decoder: str,
    preprocessing: Preprocessing,
    scenes: ObjectScenes,
    attack: ObjectAttack,
    schedule: Schedule | None = None,
    *,
    report: Callable[[Step], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Tensor:
    """Craft one patch over all scenes; return it, (3, side, side), RGB in [0, 1]. Raises `UsageError`."""
    schedule = schedule or Schedule(iterations=250, step=0.03, rule="adam")
    objective = _objective(detector, decoder, preprocessing, scenes, attack)
    shape = (3, attack.side, attack.side)
    return optimise(
        objective, lambda generator: torch.rand(shape, generator=generator), schedule, report=report,
        checkpoint=checkpoint,
    )  # fmt: skip


def object_success(
    detector: nn.Module,
    decoder: str,
    preprocessing: Preprocessing,
    scenes: ObjectScenes,
    attack: ObjectAttack,
    patch: Tensor,
    seed: int = 7000,
) -> tuple[int, int]:
    """Lay a finished patch into every scene, each place drawn anew; return the successes and the scenes."""
    generator = torch.Generator().manual_seed(seed)
    wins = 0
    with torch.no_grad():
        for rows in torch.arange(len(scenes.pictures)).split(attack.batch):
            shown, outputs, boxes = _attacked(detector, preprocessing, scenes, attack, patch, rows, generator)
            scores = class_scores(outputs, decoder)
            share = _loss(scores, attack, _answering(boxes, shown, outputs, decoder))[1]
            wins += round(share * len(rows))
    return wins, len(scenes.pictures)


def _objective(
    detector: nn.Module, decoder: str, preprocessing: Preprocessing, scenes: ObjectScenes, attack: ObjectAttack
) -> Objective:
    palette = torch.tensor(DEFAULT_PALETTE)

    def objective(patch: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        rows = torch.randperm(len(scenes.pictures), generator=generator)[: attack.batch]
        shown, outputs, boxes = _attacked(detector, preprocessing, scenes, attack, patch, rows, generator)
        answering = _answering(boxes, shown, outputs, decoder)
        loss, success = _loss(class_scores(outputs, decoder), attack, answering)
        pattern = attack.smooth * total_variation(patch) + attack.printable * non_printability(patch, palette)
        return Outcome(loss + pattern, success, shown)

    return objective


def _attacked(
    detector: nn.Module, preprocessing: Preprocessing, scenes: ObjectScenes, attack: ObjectAttack,
    patch: Tensor, rows: Tensor, generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:  # fmt: skip
    """Return some scenes with the patch in them, (B, 3, H, W), the detector's outputs of these, and boxes (B, 4).

    The boxes are the objects', of DPatch the patch's own.
    """
    pictures, boxes = scenes.pictures[rows], scenes.boxes[rows]
    shape = (pictures.shape[2], pictures.shape[3])
    if attack.kind == "dpatch":
        places, boxes = _anywhere(len(rows), attack.size, shape, generator)
    else:
        places = place_on(boxes, attack.size, shape, generator)
    gain = 0.8 + 0.4 * torch.rand(len(rows), generator=generator)
    if attack.kind == "camouflage":
        shown, _ = painted(pictures, patch, boxes, gain=gain)
    else:
        shown, _ = apply_patch(pictures, patch, torch.ones(1, attack.side, attack.side), places, gain=gain)
    shown = (shown + 0.02 * torch.randn(shown.shape, generator=generator)).clamp(0, 1)
    outputs: dict[str, Tensor] = detector(_inputs(shown, preprocessing))
    return shown, outputs, boxes


def _answering(boxes: Tensor, shown: Tensor, outputs: dict[str, Tensor], decoder: str) -> Tensor:
    """Return which candidates lie in the boxes (B, 4), so that what is found elsewhere does not count: (B, candidates).

    `shown`: the pictures, (B, 3, H, W).
    """
    size = shown.shape[2], shown.shape[3]
    grid = torch.from_numpy(grid_cells(size))
    if class_scores(outputs, decoder).shape[1] == len(grid):
        centre = ((grid[:, :2] + 0.5) * grid[:, 2:])[None]
    else:  # several anchors a cell, other levels, or queries: where their boxes are says it
        centre = _box_centres(outputs, decoder, size)
    low, high = boxes[:, None, :2], boxes[:, None, :2] + boxes[:, None, 2:]
    return ((centre >= low) & (centre <= high)).all(2)


def _box_centres(outputs: dict[str, Tensor], decoder: str, size: tuple[int, int]) -> Tensor:
    """Return the middle of each candidate's box in pixels of the input, (B, candidates, 2)."""
    known = {name: value.detach().cpu().numpy() for name, value in outputs.items()}
    count = len(next(iter(known.values())))
    boxes = [DECODERS[decoder]({name: value[row : row + 1] for name, value in known.items()}, size).boxes
             for row in range(count)]  # fmt: skip
    corners = torch.from_numpy(np.stack(boxes))
    return (corners[..., :2] + corners[..., 2:]) / 2


def _loss(scores: Tensor, attack: ObjectAttack, answering: Tensor) -> tuple[Tensor, float]:
    """Return what is minimised, and the share of successes; `scores` (B, cells, classes), `answering` (B, cells)."""
    label = _likeliest(scores, answering) if attack.label is None else attack.label
    own = scores[..., label] * answering.to(scores)
    if attack.kind == "dpatch":
        strongest = own.topk(min(5, own.shape[1]), dim=1).values
        return -strongest.clamp_min(1e-6).log().mean(), float((strongest[:, 0] > _FOUND).float().mean())
    strongest = own.topk(min(_STRONGEST, own.shape[1]), dim=1).values
    loss = -(1 - strongest).clamp_min(1e-6).log().mean(1).mean() + strongest[:, 0].mean()
    gone = strongest[:, 0] < _SEEN
    if attack.wanted is None:
        return loss, float(gone.float().mean())
    raised = (scores[..., attack.wanted] * answering.to(own)).topk(5, dim=1).values
    loss = loss - 0.3 * raised.clamp_min(1e-6).log().mean()
    return loss, float((gone & (raised[:, 0] > _SEEN)).float().mean())


def _likeliest(scores: Tensor, answering: Tensor) -> int:
    """Return the class that the patch is taken for most, over the batch: one, for a patch cannot be many at once."""
    return int((scores.detach() * answering[..., None].to(scores)).amax(1).mean(0).argmax())


def _anywhere(
    count: int, size: float, shape: tuple[int, int], generator: torch.Generator
) -> tuple[PlacementBatch, Tensor]:
    """Return places anywhere in the pictures, and their boxes (count, 4); sizes differ by a tenth."""
    height, width = shape
    sides = size * min(height, width) * (0.9 + 0.2 * torch.rand(count, generator=generator))
    left, top = (torch.rand(count, generator=generator) * (whole - sides) for whole in (width, height))
    x, y = 2 * (left + sides / 2) / width - 1, 2 * (top + sides / 2) / height - 1
    places = PlacementBatch(x, y, sides / min(height, width), torch.zeros(count))
    return places, torch.stack([left, top, sides, sides], 1)


def _inputs(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return (B, 3, H, W) RGB in [0, 1] as the detector's input values."""
    pixels = pictures * 255 if preprocessing.order == "rgb" else pictures.flip(1) * 255
    mean, std = (pictures.new_tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (pixels / preprocessing.scale - mean) / std
