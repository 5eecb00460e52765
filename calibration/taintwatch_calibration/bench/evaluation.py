"""One model from attacks to cells; whatever is done is kept in a folder and not done again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.anomaly import Fitted, fit_anomaly
from taintwatch_calibration.bench.attacks import Attacked, AttackMaker, Report
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.bench.controls import control_rates
from taintwatch_calibration.bench.detectors import BenchDetectors, calibrate_detectors, time_per_frame
from taintwatch_calibration.bench.page import Curves
from taintwatch_calibration.bench.plans import attack_plans
from taintwatch_calibration.bench.records import Benign, Scores, cells_of, localisation
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.craft.adaptive import differentiable_anomaly, evade_tight, mislead_region
from taintwatch_calibration.craft.physical import DetectorLoss, Model
from taintwatch_calibration.rates import threshold_for
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["Evaluation", "EvaluationOptions", "Progress"]

Progress = Callable[[str], None]
_EVADING = 3.0
"""Weight of evading the detector: where a picture is one benign spread too anomalous it costs as much as three
logits."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What varies from one evaluation to another."""

    target_fpr: tuple[float, ...] = (0.01, 0.02, 0.06)
    iterations: int = 120
    batch: int = 12
    placements: int = 1
    most: int = 200
    """Successes that are judged of each attack."""
    seed: int = 0


class Evaluation:
    """One subject, one folder."""

    def __init__(
        self,
        subject: Subject,
        options: EvaluationOptions,
        work: Path,
        *,
        cmag: CmagFile | None = None,
        progress: Progress = lambda what: None,
    ) -> None:
        self.subject, self.options, self._cmag, self._progress = subject, options, cmag, progress
        self._cache = Cache(work / subject.name)
        self._scores: dict[str, list[Scores]] = {}
        self.plans = attack_plans(
            subject.target, iterations=options.iterations, batch=options.batch, seed=options.seed,
            glasses=subject.faces,
        )  # fmt: skip
        self.maker = AttackMaker(
            subject, self._cache, evading=self._evading, detector=lambda: self.detectors.identity,
            placements=options.placements, most=options.most, seed=options.seed,
        )  # fmt: skip

    @cached_property
    def detectors(self) -> BenchDetectors:
        """The product's detectors, learnt and calibrated."""
        rate = max(self.options.target_fpr)
        return calibrate_detectors(self.subject, rate, self._cache, cmag=self._cmag, progress=self._progress)

    @property
    def benign(self) -> Benign:
        """Every detector's scores of the calibration and of the held-out part."""
        return self.detectors.calibrate, self.detectors.held_out

    def cells(self, report: Callable[[str], Report]) -> list[dict[str, Any]]:
        """Make every attack, judge it, return all cells. `report` gives what is told the steps of an attack."""
        cells = []
        for plan in self.plans:
            self._progress(plan.name)
            attacked = self.maker.attack(plan, report(plan.name))
            scores, found = self.scores(attacked)
            self._scores.setdefault(plan.family, []).append(scores)
            cells += cells_of(
                self.subject.name, plan, attacked, self.benign, scores, self.options.target_fpr, self.times, found
            )
        return cells

    def curves(self) -> dict[str, Curves]:
        """Return, for each family of attacks that was judged, each detector's benign and attacked scores."""
        own, held = self.benign
        return {
            family: {
                name: (np.concatenate([own[name], held[name]]), np.concatenate([scores[name] for scores in several]))
                for name in own
                if all(name in scores for scores in several)
            }
            for family, several in self._scores.items()
        }

    def scores(self, attacked: Attacked) -> tuple[Scores, dict[str, Any]]:
        """Return every detector's scores of an attack's successes, and where `default` looked."""
        if not len(attacked.pixels):
            nothing: NDArray[np.float64] = np.zeros(0)
            return dict.fromkeys(self.benign[0], nothing), {}
        detected = self.detectors.detect_once(attacked.pixels, self._cache)
        return detected.scores, localisation(attacked, detected.label, detected.mask)

    def _evading(self, name: str, model: Model) -> DetectorLoss:
        """The loss of an attacker who knows the detector, its threshold included."""
        if name == "misleading":
            return mislead_region(model)
        detectors, preprocessing = self.detectors, self.subject.preprocessing
        threshold = threshold_for(detectors.calibrate["default"], 0.02)
        settings = replace(detectors.calibration.tight, threshold=threshold)
        anomaly = None
        if isinstance(model, TorchGraph):
            anomaly = differentiable_anomaly(model, self._reference(stolen=name == "stolen"))
        # The score is as large as its weights make it: brought to logits, so that fooling counts as much as evading.
        weigh = 1.0 / max(1.0, settings.anomaly_weight)
        evade = evade_tight(model, preprocessing, settings, anomaly)
        return lambda shown: weigh * _EVADING * evade(shown)

    def _reference(self, *, stolen: bool) -> Fitted:
        """What the anomaly is made of: the site's, or what an attacker learns from the pictures he crafts on."""
        part = self.subject.parts.calibrate if stolen else self.subject.parts.craft
        self._progress("learning what the attacker knows")
        return fit_anomaly(self.subject.radar, BenignFrames(part.pixels, False, 0, self.subject.name), threads=1)

    @cached_property
    def times(self) -> dict[str, float]:
        """Each detector's milliseconds for a frame."""

        def measure() -> dict[str, float]:
            self._progress("timing each detector, one frame at a time")
            return time_per_frame(self.detectors, self.subject.test_images.pixels)

        times: dict[str, float] = self._cache.document("times", (self.detectors.identity,), measure)
        return times

    def about(self) -> dict[str, Any]:
        """Return what the figures rest on: the model, its pictures, the settings that were chosen."""
        subject, info = self.subject, self.subject.radar.info
        return {
            "name": subject.name, "about": subject.about, "sha256": info.source_sha256, "head": info.head,
            "target": info.labels[subject.target], "pictures": subject.parts.counts,
            "wrong_and_skipped": subject.test_images.wrong, "calibration": asdict(self.detectors.calibration),
            "ms_per_frame": self.times,
            "controls": control_rates(subject, self.detectors, self.options.target_fpr, self.options.seed),
        }  # fmt: skip
