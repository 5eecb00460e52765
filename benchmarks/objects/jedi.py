"""Jedi in small (Tarchoun et al., CVPR 2023): a patch is where the picture's local entropy is high.

Jedi slides a kernel over the picture, takes the kernels whose entropy is above a threshold from benign pictures,
completes them to a patch by an autoencoder, and paints them over. Here: the entropy of grey levels in a kernel of 50
pixels of the detector's input (at half its size), its threshold at the same benign rate as the guard's, the kernels
above it filled as the guard fills (Telea). Left out: the autoencoder. Jedi repairs pictures; what alarms here is that
there is anything to repair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters.rank import entropy

from benchmarks.objects.scenes import frames_of
from benchmarks.objects.sites import LEARNT, SITES, Measuring
from benchmarks.objects.trials import Attack, has_effect, laid, printed_patch, wearers_of
from taintwatch.alarm_rates import wilson_interval
from taintwatch_models.detection.tail import upper_quantile
from taintwatch_models.objects.finder import ObjectFinder
from taintwatch_models.objects.guard import Guarded

__all__ = ["JediPeer", "jedi_part"]

_KERNEL = 25  # pixels at half size
_LEARNT_FROM = 60  # frames of a site that the threshold is chosen on

Picture = NDArray[np.uint8]


class JediPeer:
    """A guard of the same call as `ObjectGuard`: what the repaired picture shows, and the largest local entropy."""

    def __init__(self, finder: ObjectFinder, benign: Sequence[Picture], target_fpr: float = 0.005) -> None:
        self._finder = finder
        self._footprint = np.ones((_KERNEL, _KERNEL), np.uint8)
        self.threshold = upper_quantile(np.array([self.entropies(each).max() for each in benign]), target_fpr)
        self.looked = 0

    def entropies(self, image: Picture) -> NDArray[np.float64]:
        """Return the entropy, in bits, around each pixel of half the detector's input."""
        pixels = self._finder.preprocessing.pixels(image)
        half = cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=cv2.INTER_AREA)
        found = entropy(cv2.cvtColor(half, cv2.COLOR_BGR2GRAY), self._footprint)
        return np.asarray(found, np.float64)

    def __call__(self, image: Picture) -> Guarded:
        """Find objects, in the picture with what is above the threshold painted over."""
        values = self.entropies(image)
        score = float(values.max())
        if score <= self.threshold:
            return Guarded(self._finder(image), score, score, (0, 0, 1, 1), None)
        self.looked += 1
        above = cv2.dilate((values > self.threshold).astype(np.uint8), self._footprint)
        pixels = self._finder.preprocessing.pixels(image)
        half = cv2.resize(pixels, above.shape[::-1], interpolation=cv2.INTER_AREA)
        painted = cv2.resize(cv2.inpaint(half, above, 3, cv2.INPAINT_TELEA), pixels.shape[1::-1])
        mask = cv2.resize(above, pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        repaired = np.where(mask[..., None] > 0, painted, pixels)
        outputs = self._finder.run(self._finder.preprocessing.normalise(repaired)[None])
        return Guarded(self._finder.objects(outputs, image.shape), score, score, (0, 0, 1, 1), None)


def jedi_part(
    with_: Measuring, attacks: Callable[[], dict[str, list[Attack]]], count: int, attacked: int,
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Count at all sites with the peer what `site_part` counts with the guard, on fewer frames and the same patches.

    `count`: benign frames of a site; `attacked`: frames of each attack.
    """
    frames, alarms, rows = 0, 0, []
    for site in SITES:
        peer = JediPeer(with_.plain, frames_of(with_.data / SITES[site], _LEARNT_FROM, 0.0, LEARNT))
        later = frames_of(with_.data / SITES[site], count, LEARNT, 1.0)
        frames += len(later)
        alarms += sum(float(peer.entropies(frame).max()) > peer.threshold for frame in later)
        for attack in attacks().get(site, []):
            rows += [{"site": site} | row for row in _rows(peer, with_.plain, later, attack, attacked)]
            say(f"jedi: {rows[-2]}\njedi: {rows[-1]}")
    return {
        "benign_frames": frames, "benign_suspicious": alarms, "benign_frame_fpr": round(alarms / frames, 4),
        "attacks": rows,
    }  # fmt: skip


def _rows(
    peer: JediPeer, plain: ObjectFinder, frames: Sequence[Picture], attack: Attack, most: int
) -> list[dict[str, Any]]:
    """Lay the patch into frames as `trial_rows` does; count what is suspicious, and what the repair brings back."""
    counts = {recorded: dict.fromkeys(("frames", "effective", "alarms", "repaired"), 0) for recorded in (False, True)}
    for index, frame in enumerate(frames):
        before = plain(frame)
        for victim in wearers_of(plain, before, frame, attack):
            for recorded, count in counts.items():
                patch = printed_patch(attack.patch, index) if recorded else attack.patch
                picture = laid(frame, victim, patch, attack).picture
                count["frames"] += 1
                if has_effect(before, plain(picture), victim):
                    guarded = peer(picture)
                    count["effective"] += 1
                    count["alarms"] += guarded.score > peer.threshold
                    count["repaired"] += not has_effect(before, guarded.objects, victim)
        if counts[True]["frames"] >= most:
            break
    return [_row(attack, recorded, **count) for recorded, count in counts.items()]


def _row(attack: Attack, recorded: bool, frames: int, effective: int, alarms: int, repaired: int) -> dict[str, Any]:
    return {
        "attack": attack.name, "recorded": recorded, "frames": frames, "effective": effective,
        "suspicious_of_effective": alarms, "tpr": round(alarms / effective, 4) if effective else None,
        "tpr_interval": [round(value, 4) for value in wilson_interval(alarms, effective)] if effective else None,
        "repaired_of_effective": repaired,
    }  # fmt: skip
