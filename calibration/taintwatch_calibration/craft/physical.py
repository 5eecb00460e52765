"""Attacks that are printed: one pattern or several for many pictures. Each kind is a setting of one objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from taintwatch.sources.colour_profile import ColourProfile
from taintwatch_calibration.camera_model.variation import CameraVariation, printed, simulate_camera
from taintwatch_calibration.craft.engine import Checkpoint, Outcome, Schedule, Step, optimise
from taintwatch_calibration.craft.losses import (
    CLASSIFIED,
    DEFAULT_PALETTE,
    change_norm,
    lead,
    non_printability,
    total_variation,
)  # fmt: skip
from taintwatch_calibration.craft.placement import Placement, PlacementBatch, apply_patterns
from taintwatch_models.errors import UsageError
from taintwatch_models.preprocessing import Preprocessing

__all__ = [
    "AttackedBatch",
    "DetectorLoss",
    "Model",
    "Pattern",
    "PhysicalObjective",
    "Pictures",
    "craft_patterns",
    "craft_values",
    "label_pictures",
    "normaliser",
    "plain_pattern",
    "show_pattern",
    "start_values",
    "succeeds",
]


class Model(Protocol):
    """A differentiable classifier that can be cut at its last maps: `TorchGraph`, or a small one in a test."""

    def maps(self, inputs: Tensor) -> Tensor: ...

    def head(self, maps: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """What an attack is crafted on."""

    pixels: Tensor
    """(N, 3, H, W), RGB in [0, 1], as the classifier sees them."""
    own: Tensor
    """(N,): the label that the classifier gives each without the attack."""
    places: PlacementBatch | None = None
    """Where the pattern lies in each, for pictures of one known scene; None: as the pattern's placement says."""

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True, eq=False)
class AttackedBatch:
    """One step's attacked pictures, for what else is to be minimised."""

    inputs: Tensor
    """(B, 3, H, W), normalised."""
    maps: Tensor
    logits: Tensor
    own: Tensor
    target: Tensor | None
    covered: Tensor
    """(B, 1, H, W) in [0, 1]."""
    progress: float
    """How far the run is, 0 to 1."""


DetectorLoss = Callable[[AttackedBatch], Tensor]
"""What a detector that the attacker knows adds to the loss, a scalar."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is crafted and how it is judged."""

    target: int | None
    """The label to be seen (impersonation); None: any but the right one (dodging)."""
    placement: Placement = field(default_factory=Placement)
    batch: int = 16
    """Pictures in each step."""
    loss: str = "softmax"
    """One of `CLASSIFIED`."""
    lead: float = 5.0
    """Logits by which the wanted label should lead before the loss `lead` is content."""
    smoothness: float = 0.0
    """Weight of the total variation."""
    printability: float = 0.0
    """Weight of the non-printability score."""
    norm: float = 0.0
    """Weight of the length of the change: RP2's `lambda |M * delta|_p`, with p = 2, over the root of what it covers."""
    nps_rule: str = "nearest"
    """`nearest` or the paper's `product`; see `non_printability`."""
    palette: tuple[tuple[float, float, float], ...] = DEFAULT_PALETTE
    camera: CameraVariation | None = None
    """Light, blur and noise of the camera; None: none."""
    profile: ColourProfile | None = None
    """What the printer and the camera make of colours; None: nothing."""
    ink: tuple[float, float] = (0.0, 1.0)
    """Darkest and brightest value that is used."""

    def __post_init__(self) -> None:
        """Raises `UsageError` for what cannot be."""
        if self.batch < 1:
            raise UsageError(f"a step needs at least 1 picture, not {self.batch}")
        if self.loss not in CLASSIFIED:
            raise UsageError(f"there is no loss {self.loss!r}; choose one of {', '.join(CLASSIFIED)}")

    def inked(self, values: Tensor) -> Tensor:
        """Return values in [0, 1] as the colours that are sent to the printer."""
        low, high = self.ink
        return low + (high - low) * values


def succeeds(label: Tensor, own: Tensor, target: int | None) -> Tensor:
    """Return which labels (B,) are what the attacker wants."""
    return label != own if target is None else label == target


def start_values(masks: Tensor) -> Callable[[torch.Generator], Tensor]:
    """Return what makes the first values for masks (P, 1, h, w): uniform noise, (P, 3, h, w)."""
    count, _, height, width = masks.shape
    return lambda generator: torch.rand(count, 3, height, width, generator=generator).to(masks.device)


def show_pattern(
    pixels: Tensor,
    values: Tensor,
    masks: Tensor,
    pattern: Pattern,
    generator: torch.Generator,
    known: PlacementBatch | None = None,
) -> tuple[Tensor, Tensor]:
    """Return pictures (B, 3, H, W) as the camera sees them with a pattern, and what it covers, (B, 1, H, W).

    `values` (P, 3, h, w) in [0, 1], `masks` (P, 1, h, w); it lies where `known` says, else where `generator` draws.
    """
    laid, covered = _on_pictures(pixels, values, masks, pattern, generator, known)
    return _seen(laid, pattern, generator), covered


def _on_pictures(
    pixels: Tensor, values: Tensor, masks: Tensor, pattern: Pattern, generator: torch.Generator,
    known: PlacementBatch | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `show_pattern`, before the camera."""
    colours = pattern.inked(values)
    if pattern.profile is not None:
        colours = printed(colours, pattern.profile)
    return apply_patterns(pixels, colours, masks, pattern.placement, generator, known)


def _seen(laid: Tensor, pattern: Pattern, generator: torch.Generator) -> Tensor:
    return laid if pattern.camera is None else simulate_camera(laid, pattern.camera, generator)


class PhysicalObjective:
    """From a pattern's values, (P, 3, h, w) in [0, 1], to loss and success on one random batch of pictures."""

    def __init__(
        self,
        model: Model,
        pictures: Pictures,
        preprocessing: Preprocessing,
        masks: Tensor,
        pattern: Pattern,
        detector: DetectorLoss | None = None,
    ) -> None:
        """`masks` (P, 1, h, w). Raises `UsageError` where there is no picture to craft on, or a mask covers nothing."""
        if not len(pictures):
            raise UsageError("there is no picture to craft on: the classifier gets none right, or all show the target")
        if not bool(masks.flatten(1).any(1).all()):
            raise UsageError("a mask covers nothing; give one with an area")
        self._model, self._pictures, self._pattern, self._detector = model, pictures, pattern, detector
        self._masks = masks.to(pictures.pixels.device)
        self._normalise = normaliser(preprocessing, pictures.pixels.device)
        self._palette = torch.tensor(pattern.palette)

    def __call__(self, values: Tensor, generator: torch.Generator, progress: float) -> Outcome:
        pattern = self._pattern
        rows = torch.randint(len(self._pictures), (pattern.batch,), generator=generator).to(self._masks.device)
        own = self._pictures.own[rows]
        target = None if pattern.target is None else torch.full_like(own, pattern.target)
        known = None if self._pictures.places is None else self._pictures.places.rows(rows.cpu())
        pixels = self._pictures.pixels[rows]
        laid, covered = _on_pictures(pixels, values, self._masks, pattern, generator, known)
        batch = _seen(laid, pattern, generator)
        inputs = self._normalise(batch)
        maps = self._model.maps(inputs)
        logits = self._model.head(maps)
        loss = self._classified(logits, own, target).mean() + self._printing(values)
        if pattern.norm:
            loss = loss + pattern.norm * change_norm(pixels, laid, covered).mean()
        if self._detector is not None:
            loss = loss + self._detector(AttackedBatch(inputs, maps, logits, own, target, covered, progress))
        success = succeeds(logits.argmax(1), own, pattern.target).float().mean()
        return Outcome(loss, float(success), batch.detach())

    def show(
        self, pixels: Tensor, values: Tensor, generator: torch.Generator, known: PlacementBatch | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return pictures (B, 3, H, W) as the camera sees them with the attack, and what it covers, (B, 1, H, W)."""
        return show_pattern(pixels, values, self._masks, self._pattern, generator, known)

    def _classified(self, logits: Tensor, own: Tensor, target: Tensor | None) -> Tensor:
        if self._pattern.loss == "lead":
            return lead(logits, own, target, enough=self._pattern.lead)
        return CLASSIFIED[self._pattern.loss](logits, own, target)

    def _printing(self, values: Tensor) -> Tensor:
        pattern, cost = self._pattern, values.new_zeros(())
        if pattern.smoothness:
            cost = cost + pattern.smoothness * total_variation(values, self._masks)
        if pattern.printability:
            score = non_printability(values, self._palette, self._masks, rule=pattern.nps_rule)
            cost = cost + pattern.printability * score
        return cost


def craft_values(
    model: Model,
    pictures: Pictures,
    preprocessing: Preprocessing,
    masks: Tensor,
    pattern: Pattern,
    schedule: Schedule,
    *,
    detector: DetectorLoss | None = None,
    report: Callable[[Step], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Tensor:
    """Craft patterns for masks (P, 1, h, w), evading `detector` too; return their values (P, 3, h, w) in [0, 1].

    `pattern.inked` makes colours of them. Raises `UsageError` as `PhysicalObjective` and `optimise` do.
    """
    objective = PhysicalObjective(model, pictures, preprocessing, masks, pattern, detector)
    start = start_values(masks.to(pictures.pixels.device))
    return optimise(objective, start, schedule, report=report, checkpoint=checkpoint)


def craft_patterns(
    model: Model,
    pictures: Pictures,
    preprocessing: Preprocessing,
    masks: Tensor,
    pattern: Pattern,
    schedule: Schedule,
    *,
    report: Callable[[Step], None] | None = None,
) -> Tensor:
    """Craft patterns for masks (P, 1, h, w) with no detector in the loss; return their colours (P, 3, h, w) in [0, 1].

    Raises `UsageError` as `craft_values` does.
    """
    return pattern.inked(craft_values(model, pictures, preprocessing, masks, pattern, schedule, report=report))


@torch.no_grad()
def label_pictures(model: Model, pixels: Tensor, preprocessing: Preprocessing) -> Pictures:
    """Return pictures (N, 3, H, W), RGB in [0, 1], with the labels that `model` itself gives them."""
    normalise = normaliser(preprocessing, pixels.device)
    own = [model.head(model.maps(normalise(chunk))).argmax(1) for chunk in torch.split(pixels, 32)]
    return Pictures(pixels, torch.cat(own))


def normaliser(preprocessing: Preprocessing, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """Return the map from RGB in [0, 1], (B, 3, H, W), to the model's inputs."""
    mean = torch.tensor(preprocessing.mean, device=device).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(3, 1, 1)
    gain = 255.0 / preprocessing.scale
    swap = preprocessing.order == "bgr"

    def normalise(rgb: Tensor) -> Tensor:
        return ((rgb.flip(1) if swap else rgb) * gain - mean) / std

    return normalise


def plain_pattern(pattern: Pattern) -> dict[str, Any]:
    """Return the pattern's settings for a recipe, the colour profile by its name."""
    table = {field.name: getattr(pattern, field.name) for field in fields(pattern)}
    table["profile"] = None if pattern.profile is None else pattern.profile.name
    if not pattern.printability:
        del table["palette"]
    return table
