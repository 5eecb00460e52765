"""What an attack of the survey is, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.survey.subject import Pixels, Subject, as_pixels
from taintwatch_calibration.craft.physical import Pictures
from taintwatch_calibration.craft.placement import Placement, apply_patterns

__all__ = ["Attack", "Attacked", "Printed", "Scale", "show_pattern"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: the defaults are the survey's, less is for a test."""

    pictures: int = 40
    """To attack."""
    steps: float = 1.0
    """Of every attack's own iterations, epochs and queries."""
    seed: int = 0

    def share_of_pictures(self, share: float) -> int:
        """Return how many pictures an attack gets that is slow on each, at least 1."""
        return max(1, round(self.pictures * share))

    def of(self, iterations: int) -> int:
        """Return so many steps, at least 1."""
        return max(1, round(iterations * self.steps))


@dataclass(frozen=True, slots=True, eq=False)
class Printed:
    """A pattern that is printed: its colours (3, h, w) in [0, 1], its mask (1, h, w) and where it lies."""

    colours: Tensor
    mask: Tensor
    placement: Placement


@dataclass(frozen=True, slots=True, eq=False)
class Attacked:
    """Pictures before and after, in one order."""

    before: Pixels
    after: Pixels
    own: Tensor
    """(N,): the true labels."""
    target: int | None = None
    """The label to be seen; None: any but the true one."""
    printed: Printed | None = None
    control: Pixels | None = None
    """The same with something harmless in the pattern's place: grey, or what the pattern began as."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What the attack's own paper counts, JSON-ready."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One row of the survey."""

    title: str
    """The paper's name for it, authors and year."""
    kind: Literal["physical", "digital"]
    run: Callable[[Subject, Scale], Attacked]
    published: str
    """The paper's own headline, as the survey or the paper gives it."""
    left_out: str
    """What differs from the paper."""


def show_pattern(
    pictures: Pictures, printed: Printed, *, target: int | None, seed: int,
    control: Tensor | None = None, more: Mapping[str, Any] | None = None,
) -> Attacked:  # fmt: skip
    """Show a pattern on pictures, and grey (or `control`, (3, h, w)) in the same places."""

    def laid(colours: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(9000 + seed)  # the same places for both
        made, _ = apply_patterns(pictures.pixels, colours[None], printed.mask[None], printed.placement, generator)
        return made

    grey = torch.full_like(printed.colours, 0.5) if control is None else control
    return Attacked(
        as_pixels(pictures.pixels), as_pixels(laid(printed.colours)), pictures.own, target, printed,
        as_pixels(laid(grey)), dict(more or {}),
    )  # fmt: skip
