"""One model from attacks to cells; whatever is done is kept in a folder and not done again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.anomaly import Fitted, fit_anomaly
from taintwatch_calibration.bench.controls import control_rates
from taintwatch_calibration.bench.judging import Peer, ProductJudge, time_per_frame
from taintwatch_calibration.bench.making import Attacked, Maker, Report
from taintwatch_calibration.bench.page import Curves
from taintwatch_calibration.bench.plans import AttackPlan, attack_plans
from taintwatch_calibration.bench.records import cells_of, localisation
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.craft.adaptive import differentiable_anomaly, evade_tight, mislead_region
from taintwatch_calibration.craft.physical import DetectorLoss, Model
from taintwatch_calibration.rates import threshold_for
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.storage import write_atomically
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["Evaluation", "EvaluationOptions", "Progress"]

Progress = Callable[[str], None]
_EVADING = 3.0
"""Weight of evading the detector: where a picture is one benign spread too strange it costs as much as three logits."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What varies from one evaluation to another."""

    target_fpr: tuple[float, ...] = (0.01, 0.02, 0.06)
    iterations: int = 120
    batch: int = 12
    placements: int = 1
    most: int = 200
    """Successes that are judged of each attack."""
    peer_most: int = 60
    """Successes that peers judge; of benign pictures each part five times as many."""
    peer_forwards: int = 100
    """Peers that may need more forwards of the classifier for one frame are timed, not run."""
    seed: int = 0


class Evaluation:
    """One subject, one folder."""

    def __init__(
        self,
        subject: Subject,
        options: EvaluationOptions,
        work: Path,
        *,
        peers: Mapping[str, Callable[..., Any]],
        cmag: CmagFile | None = None,
        progress: Progress = lambda what: None,
    ) -> None:
        self.subject, self.options, self._work, self._cmag = subject, options, work / subject.name, cmag
        self._factories, self._progress = peers, progress
        self._pooled: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
        self.plans = attack_plans(
            subject.target, iterations=options.iterations, batch=options.batch, seed=options.seed,
            glasses=subject.faces, trigger=subject.trigger is not None,
        )  # fmt: skip
        self.maker = Maker(
            subject, self._work, evading=self._evading, detector=lambda: self.judge.identity,
            placements=options.placements, most=options.most, seed=options.seed,
        )  # fmt: skip

    @cached_property
    def judge(self) -> ProductJudge:
        """The product's detectors, learnt and calibrated."""
        rate = max(self.options.target_fpr)
        return ProductJudge.of(self.subject, rate, self._work / "judge", cmag=self._cmag, progress=self._progress)

    def _reference(self, *, stolen: bool) -> Fitted:
        """What the anomaly is made of: the site's, or what an attacker learns from the pictures he crafts on."""
        part = self.subject.parts.calibrate if stolen else self.subject.parts.craft
        self._progress("learning what the attacker knows")
        return fit_anomaly(self.subject.radar, BenignFrames(part.pixels, False, 0, self.subject.name), threads=1)

    @cached_property
    def peers(self) -> dict[str, Any]:
        """The peers, fitted on the calibration part."""
        pixels = self.subject.parts.calibrate.pixels
        made = {}
        for name, make in self._factories.items():
            self._progress(f"fitting {name}")
            made[name] = make(self.judge.radar, pixels, threads=1, seed=self.options.seed)
        return made

    def cells(
        self, transfer: Callable[[AttackPlan], Tensor | None], report: Callable[[str], Report]
    ) -> list[dict[str, Any]]:
        """Make every attack, judge it, return all cells. `transfer` gives another model's pattern for a plan."""
        milliseconds, cells = self._times(), []
        for plan in self.plans:
            other = transfer(plan) if plan.way == "transferred" else None
            if plan.way == "transferred" and other is None:
                continue
            self._progress(plan.name)
            attacked = self.maker.attack(plan, other, report(plan.name))
            scores, found = self.scores(plan, attacked)
            self._pooled.setdefault(plan.family, []).append(scores)
            cells += cells_of(
                self.subject.name, plan, attacked, self.benign, scores, self.options.target_fpr, milliseconds, found
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
            for family, several in self._pooled.items()
        }

    def scores(self, plan: AttackPlan, attacked: Attacked) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
        """Return every detector's scores of an attack's successes, and where `default` looked."""
        if not len(attacked.pixels):
            return {name: np.zeros(0) for name in self.benign[0]}, {}
        kept = self._work / "detected" / f"{hashlib.sha256(attacked.pixels.tobytes()).hexdigest()[:16]}.npz"
        detected = self.judge.detect_once(attacked.pixels, kept)
        scores = dict(detected.scores)
        for name in self._affordable if plan.family != "adaptive" else ():  # those are made against ours
            scores[name] = self._peer(name, attacked.pixels[: self.options.peer_most], plan.name)
        return scores, localisation(attacked, detected.label, detected.mask)

    @cached_property
    def _affordable(self) -> tuple[str, ...]:
        """The peers that are run: those that say that they need few forwards."""
        costs = self._kept_costs()
        return tuple(name for name in self._factories if costs[name] <= self.options.peer_forwards)

    def _kept_costs(self) -> dict[str, int]:
        """How many forwards each peer needs at most: kept, so that none is fitted only to be asked."""
        kept = self._work / "peers" / "forwards.json"
        costs: dict[str, int] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        if not set(self._factories) <= set(costs):
            costs |= {name: int(peer.forwards) for name, peer in self.peers.items()}
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, (json.dumps(costs, indent=1) + "\n").encode())
        return costs

    @cached_property
    def benign(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
        """Every detector's scores of the calibration and of the held-out part."""
        sides = []
        for words, own, part in (
            ("calibration", self.judge.calibrate, self.subject.parts.calibrate),
            ("held out", self.judge.held_out, self.subject.parts.held_out),
        ):
            pixels = part.pixels[: 5 * self.options.peer_most]
            sides.append({**own, **{name: self._peer(name, pixels, words) for name in self._affordable}})
        return sides[0], sides[1]

    def _evading(self, name: str, model: Model) -> DetectorLoss:
        """The loss of an attacker who knows the detector, its threshold included."""
        if name == "misleading":
            return mislead_region(model)
        judge, preprocessing = self.judge, self.subject.preprocessing
        threshold = threshold_for(judge.calibrate["default"], 0.02)
        settings = replace(judge.calibration.tight, threshold=threshold)
        anomaly = None
        if isinstance(model, TorchGraph):
            anomaly = differentiable_anomaly(model, self._reference(stolen=name == "stolen"))
        # The score is as large as its weights make it: brought to logits, so that fooling counts as much as silence.
        weigh = 1.0 / max(1.0, settings.anomaly_weight)
        evade = evade_tight(model, preprocessing, settings, anomaly)
        return lambda shown: weigh * _EVADING * evade(shown)

    def _peer(self, name: str, pixels: NDArray[np.uint8], what: str) -> NDArray[np.float64]:
        digest = hashlib.sha256(pixels.tobytes() + self.subject.benign_fingerprint.encode()).hexdigest()[:16]
        kept = self._work / "peers" / f"{name}_{digest}.npy"
        if kept.is_file():
            return np.asarray(np.load(kept, allow_pickle=False), np.float64)
        self._progress(f"{name}: {what}, {len(pixels)} pictures")
        peer: Peer = self.peers[name].scores
        scores = peer(pixels) if len(pixels) else np.zeros(0)
        stream = io.BytesIO()
        np.save(stream, scores, allow_pickle=False)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, stream.getvalue())
        return np.asarray(scores, np.float64)

    def _times(self) -> dict[str, float]:
        kept = self._work / "times.json"
        if kept.is_file():
            times: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
            if set(self._factories) <= set(times):
                return times
        self._progress("timing each detector, one frame at a time")
        peers = {name: peer.scores for name, peer in self.peers.items()}
        times = time_per_frame(self.judge, self.subject.test_images.pixels, peers)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, (json.dumps(times, indent=1) + "\n").encode())
        return times

    def about(self) -> dict[str, Any]:
        """Return what the figures rest on: the model, its pictures, the settings that were chosen."""
        subject, parts = self.subject, self.subject.parts
        counts = {name: len(getattr(parts, name)) for name in ("craft", "calibrate", "held_out", "test_images")}
        info = subject.radar.info
        return {
            "name": subject.name, "about": subject.about, "sha256": info.source_sha256, "head": info.head,
            "target": info.labels[subject.target], "pictures": counts, "wrong_and_skipped": parts.test_images.wrong,
            "calibration": asdict(self.judge.calibration), "ms_per_frame": self._times(),
            "controls": control_rates(subject, self.judge, self.options.target_fpr, self.options.seed),
        }  # fmt: skip
