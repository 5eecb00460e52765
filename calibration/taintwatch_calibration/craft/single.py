"""What attacks on single pictures leave behind: every attacked picture, and how faint the change is."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from taintwatch_calibration.cmag.similarity import StructuralSimilarity
from taintwatch_calibration.craft.attack_folder import as_picture, whole
from taintwatch_calibration.craft.measure import measure
from taintwatch_calibration.craft.session import Session

__all__ = ["Faintness", "faintness", "finish"]


@dataclasses.dataclass(frozen=True, slots=True)
class Faintness:
    """How little pictures were changed, means over them."""

    l2: float
    """Euclidean length of the change, pixels in [0, 1]."""
    linf: float
    """Largest change of a value, of 1."""
    ssim: float
    """Structural similarity with the original; 1 is equal."""
    changed: float
    """Share of pixels that are not the same."""


def faintness(before: Tensor, after: Tensor) -> Faintness:
    """Compare pictures (N, 3, H, W) in [0, 1]. Raises `UsageError` where they are below 11 pixels."""
    change = after - before
    similarity = StructuralSimilarity(*before.shape[2:]).to(before)
    alike = [similarity(before[i : i + 16], after[i : i + 16]) for i in range(0, len(before), 16)]
    return Faintness(
        l2=float(change.flatten(1).norm(dim=1).mean()),
        linf=float(change.abs().flatten(1).amax(1).mean()),
        ssim=float(torch.cat(alike).mean()),
        changed=float((change.abs().amax(1) > 0.5 / 255).float().mean()),
    )


def finish(session: Session, kind: str, made: Tensor, recipe: Any, *, masks: Tensor | None = None) -> dict[str, Any]:
    """Judge attacked pictures (N, 3, H, W), write the folder, return what was found."""
    made = whole(made).cpu()
    pictures = session.pictures(session.usable)
    measured = measure(session.product, made, session.usable.labels.tolist(), session.target, held_out=False)
    faint = dataclasses.asdict(faintness(pictures.pixels.cpu(), made))
    files = []
    for index, name in enumerate(session.usable.names):
        stem = f"{index:04d}_{name.rpartition('.')[0] or name}"
        files.append(session.folder.picture(f"pictures/{stem}.png", as_picture(made[index])))
        if masks is not None:
            files.append(session.folder.picture(f"masks/{stem}.png", as_picture(masks[index])))
    session.folder.contact(made)
    settings = (
        dataclasses.asdict(recipe) if dataclasses.is_dataclass(recipe) and not isinstance(recipe, type) else recipe
    )
    session.folder.recipe(
        {"attack": {"kind": kind}, **session.tables(), "settings": settings, "files": {"pictures": files},
         "faintness": faint, "measured": dataclasses.asdict(measured)}
    )  # fmt: skip
    session.folder.finish()
    return session.summary(kind, measured, faintness=faint)
