"""AdvHat with its own loss (Komkov and Petiushko, 2019): the cosine of embeddings, and total variation.

    min  cos(e(x'), e_own) + w TV(sticker)

x' is the face with a sticker on its forehead, bent off the plane (`placement.bent`), over small changes of pose and
light; e_own is the wearer's enrolled embedding, ArcFace's in the paper. Evaluated as in the paper: the cosine before
and after, and whether the face is still recognised. What grey does in the same place is said too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.survey.attacks.base import Attacked, Printed, Scale
from benchmarks.survey.faces import face_embedding
from benchmarks.survey.subject import Subject, as_pixels
from taintwatch_calibration.craft.engine import Outcome, Schedule, optimise
from taintwatch_calibration.craft.losses import total_variation
from taintwatch_calibration.craft.placement import Placement, apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask

__all__ = ["PLACEMENT", "cosine_to_own", "embedding_hat"]

PLACEMENT = Placement(((0.5, 0.14),), (0.7,), rotation_degrees=3.0, shift=0.01, scale=0.04, light=0.1, bend=0.5)
_SIDE, _TOGETHER = 64, 4


def cosine_to_own(embeddings: Tensor, anchors: Tensor, own: Tensor) -> Tensor:
    """Return the cosine of embeddings (B, D) to the anchors (people, D) of `own` (B,): (B,)."""
    return F.cosine_similarity(embeddings, anchors[own])


def embedding_hat(subject: Subject, scale: Scale) -> Attacked:
    """Craft a sticker for each picture of the first wearers."""
    embed, anchors = face_embedding(subject)
    chosen, mask = subject.to_attack(scale.share_of_pictures(0.5)), shape_mask("band", _SIDE)[None]
    made, stickers = [], []
    for index in range(len(chosen)):
        picture, own = chosen.pixels[index : index + 1], chosen.own[index : index + 1]

        def objective(
            values: Tensor, generator: torch.Generator, progress: float, picture: Tensor = picture, own: Tensor = own
        ) -> Outcome:
            worn, _ = apply_patterns(picture.expand(_TOGETHER, -1, -1, -1), values, mask, PLACEMENT, generator)
            embeddings, label = embed(worn), own.expand(_TOGETHER)
            loss = cosine_to_own(embeddings, anchors, label).mean() + 0.1 * total_variation(values, mask)
            return Outcome(loss, float(((embeddings @ anchors.T).argmax(1) != label).float().mean()))

        schedule = Schedule(scale.of(60), 0.03, "adam", seed=scale.seed + index)
        stickers.append(optimise(objective, lambda g: torch.rand(1, 3, _SIDE, _SIDE, generator=g), schedule))
        made.append(_wear(picture, stickers[-1], mask, index))
    grey = [_wear(chosen.pixels[i : i + 1], torch.full_like(stickers[i], 0.5), mask, i) for i in range(len(chosen))]
    with torch.no_grad():
        cosines = {
            name: round(float(cosine_to_own(embed(pixels), anchors, chosen.own).mean()), 4)
            for name, pixels in (("before", chosen.pixels), ("grey", torch.cat(grey)), ("after", torch.cat(made)))
        }
    return Attacked(
        as_pixels(chosen.pixels), as_pixels(torch.cat(made)), chosen.own, None,
        Printed(stickers[0][0], mask[0], PLACEMENT), as_pixels(torch.cat(grey)), {"cosine_to_own": cosines},
    )  # fmt: skip


def _wear(picture: Tensor, sticker: Tensor, mask: Tensor, index: int) -> Tensor:
    generator = torch.Generator().manual_seed(5000 + index)
    return F.hardtanh(apply_patterns(picture, sticker, mask, PLACEMENT, generator)[0], 0.0, 1.0)
