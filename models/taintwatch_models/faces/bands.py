"""What is measured on an aligned face: the statistics of its critical region, and of horizontal bands.

A band is where glasses, the brim of a hat or a mask would lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.faces.face_file import Scale
from taintwatch_models.onnx_radar import RadarOutputs

__all__ = [
    "BANDS",
    "BAND_SHARE",
    "BandEvidence",
    "Bands",
    "band_evidence",
    "band_rows",
    "combined",
    "fill_bands",
    "region_statistics",
]

BANDS = 8
BAND_SHARE = 0.25
"""Height of a band, as a share of the face's."""


def band_rows(height: int, bands: int = BANDS, share: float = BAND_SHARE) -> tuple[slice, ...]:
    """Return the rows of `bands` equally spaced, overlapping bands; the first touches the top, the last the bottom."""
    tall = max(1, round(height * share))
    starts = np.linspace(0, height - tall, bands).round().astype(int)
    return tuple(slice(int(start), int(start) + tall) for start in starts)


def fill_bands(inputs: NDArray[np.float32], fill: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each input with each band filled: (B, 3, H, W) and a fill (1 or B, 3, H, W) to (B, BANDS, 3, H, W)."""
    rows = band_rows(inputs.shape[2])
    filled = np.repeat(inputs[:, None], len(rows), axis=1)
    for index, band in enumerate(rows):
        filled[:, index, :, band] = np.broadcast_to(fill, inputs.shape)[:, :, band]
    return filled


Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From inputs (B, 3, H, W) to logits (B, people)."""


@dataclass(frozen=True, slots=True)
class BandEvidence:
    """How a face's name changes where its bands are filled, one at a time."""

    margin: float
    """Largest, over the bands, of the largest other logit minus the name's own."""
    swing: float
    """That minus the same before the fill."""
    band: int
    """Which band that was."""
    runner_up: int
    """The largest other label with that band filled."""


class Bands:
    """Fills the bands of faces and looks at their names again: one batched forward of `BANDS` for each face."""

    def __init__(self, logits: Logits, fill: NDArray[np.float32]) -> None:
        """`fill` (1, 3, H, W), input values: the mean face."""
        self._logits, self._fill = logits, fill

    def __call__(self, inputs: NDArray[np.float32], before: NDArray[np.float32]) -> tuple[BandEvidence, ...]:
        """`inputs` (B, 3, H, W), `before` (B, people) their logits."""
        filled = fill_bands(inputs, self._fill)
        after = self._logits(filled.reshape(-1, *inputs.shape[1:])).reshape(len(inputs), BANDS, -1)
        return tuple(band_evidence(*pair) for pair in zip(before, after, strict=True))


def band_evidence(before: NDArray[np.float32], after: NDArray[np.float32]) -> BandEvidence:
    """Judge one face by its logits before, (people,), and with each band filled, (bands, people)."""
    label = int(before.argmax())
    others = np.delete(np.arange(len(before)), label)
    margins = after[:, others].max(axis=1) - after[:, label]
    band = int(margins.argmax())
    earlier = float(before[others].max() - before[label])
    runner_up = int(others[after[band, others].argmax()])
    return BandEvidence(float(margins[band]), float(margins[band]) - earlier, band, runner_up)


def region_statistics(outputs: RadarOutputs, index: int) -> dict[str, float]:
    """Take the statistics of `tight`'s region from one row of a radar's outputs."""
    return {
        "margin": float(outputs["tight_margin"][index]),
        "swing": float(outputs["tight_swing"][index]),
        "saliency_concentration": float(outputs["saliency_concentration"][index]),
    }


def combined(statistics: Mapping[str, float], scales: tuple[Scale, ...]) -> float:
    """Return the largest statistic, each on its benign scale: 0 is the benign median, 1 where few benign faces lie."""
    return max((statistics[scale.statistic] - scale.centre) / scale.spread for scale in scales)
