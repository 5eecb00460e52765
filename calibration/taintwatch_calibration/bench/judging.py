"""What detectors say of pictures: the product's, and peers, each as one score; thresholds are chosen on benign ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.strangeness import Fitted, fit_strangeness
from taintwatch_calibration.thresholds import LABEL_COUNTS, choose_paper, paper_ranks, tight_outputs, weigh_strangeness
from taintwatch_models.calibration_file import Calibration, PaperCalibration
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.cmag.runner import CmagRunner, reduce_pictures
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.graph.strangeness import STRANGENESS
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.radar_file import RadarFile

__all__ = ["Detected", "Peer", "ProductJudge", "time_per_frame"]

_BATCH = 16

Peer = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""From pixels (N, height, width, 3) to scores (N,); larger is more suspicious."""


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """What the product says of some pictures."""

    scores: Mapping[str, NDArray[np.float64]]
    """For each detector, (N,)."""
    label: NDArray[np.int64]
    """(N,): what is on top after `tight`'s region was filled."""
    mask: NDArray[np.bool_]
    """(N, height, width): that region."""


@dataclass(frozen=True, slots=True, eq=False)
class ProductJudge:
    """The product's detectors of one model, with everything chosen on its benign calibration part."""

    radar: RadarFile
    """With the strangeness that was learnt."""
    calibration: Calibration
    calibrate: Mapping[str, NDArray[np.float64]]
    held_out: Mapping[str, NDArray[np.float64]]
    fitted: Fitted
    run: OnnxRadar
    cmag: CmagRunner | None

    @classmethod
    def of(
        cls,
        subject: Subject,
        accepted: float,
        *,
        cmag: CmagFile | None = None,
        threads: int = 1,
        progress: Callable[[str], None] = lambda what: None,
    ) -> ProductJudge:
        """Learn, weigh and choose as `taintwatch calibrate thresholds --learn` does. `accepted`: the rate for K."""
        part = subject.parts.calibrate
        benign = BenignFrames(part.pixels, footage=False, bad=0, description=subject.name)
        progress("learning what benign maps look like")
        fitted = fit_strangeness(subject.radar, benign, threads=threads)
        silent = lambda what, done, total: None  # noqa: E731
        outputs = tight_outputs(fitted.radar, benign, subject.tight, fitted.scores, threads, silent)
        tight = weigh_strangeness(outputs, subject.tight)
        progress("choosing K for the paper's variant")
        counts = sorted({min(count, subject.radar.info.classes) for count in LABEL_COUNTS})
        ranks = paper_ranks(fitted.radar, benign, PaperCalibration(), counts, threads=threads, progress=silent)
        paper = choose_paper(ranks, accepted, PaperCalibration()).chosen
        settings = Calibration(tight=tight, paper=paper)
        run = OnnxRadar(fitted.radar, ("tight", "paper"), settings, features=cmag is not None, threads=threads)
        runner = None
        if cmag is not None:
            wanted = tuple(name for name in ("novelty", "distance", "error") if name in cmag.info.statistics)[:1]
            runner = CmagRunner(cmag, wanted or cmag.info.statistics[:1], threads=threads)
        judge = cls(fitted.radar, settings, {}, {}, fitted, run, runner)
        progress("scoring benign pictures")
        own = dict(judge.detect(part.pixels).scores)
        own["default"] = tight_scores_of(outputs, tight)  # as if the reference had not seen them
        held = judge.detect(subject.parts.held_out.pixels).scores
        return replace(judge, calibrate=own, held_out=held)

    def detect(self, pixels: NDArray[np.uint8]) -> Detected:
        """Judge pictures (N, height, width, 3) in the model's channel order."""
        found = [self._batch(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]
        size = self.radar.info.preprocessing.size
        if not found:
            return Detected({}, np.zeros(0, np.int64), np.zeros((0, *size), np.bool_))
        names = found[0].scores
        return Detected(
            {name: np.concatenate([part.scores[name] for part in found]) for name in names},
            np.concatenate([part.label for part in found]),
            np.concatenate([part.mask for part in found]),
        )

    def _batch(self, pixels: NDArray[np.uint8]) -> Detected:
        outputs = self.run(self.radar.info.preprocessing.normalise(pixels))
        tight = self.calibration.tight
        scores = {
            "default": tight_scores_of(outputs, tight),
            "tight": tight_scores_of(outputs, replace(tight, strangeness_weight=0.0)),
            "paper": outputs["paper_rank"].astype(np.float64),
            "strangeness": outputs[STRANGENESS].astype(np.float64),
        }
        if self.cmag is not None:
            pictures = reduce_pictures(pixels, self.cmag.info.size)
            rebuilt = self.cmag(outputs["features"], outputs["logits"], pictures)
            scores["cmag"] = np.asarray(rebuilt[self.cmag.outputs[0]], np.float64)
        return Detected(scores, outputs["tight_label"], outputs["tight_mask"])


def time_per_frame(
    judge: ProductJudge, pixels: NDArray[np.uint8], peers: Mapping[str, Peer], repeat: int = 15
) -> dict[str, float]:
    """Return each detector's median milliseconds for one frame, one at a time, with its classifier's forward.

    `plain` is the classifier alone, to compare with.
    """
    info, settings = judge.radar.info, judge.calibration
    inputs = [info.preprocessing.normalise(pixels[row % len(pixels)][None]) for row in range(repeat)]
    margin = Calibration(tight=replace(settings.tight, strangeness_weight=0.0))
    runs: dict[str, Callable[[int], object]] = {}
    for name, variants, calibration in (
        ("plain", (), None), ("default", ("tight",), settings), ("tight", ("tight",), margin),
        ("paper", ("paper",), settings),
    ):  # fmt: skip
        runs[name] = _on(OnnxRadar(judge.radar, variants, calibration, threads=1), inputs)
    for name, peer in peers.items():
        runs[name] = _on(peer, [pixels[row % len(pixels)][None] for row in range(repeat)])
    return {name: _median_ms(run, repeat) for name, run in runs.items()}


def _on(run: Callable[[NDArray[Any]], object], frames: list[NDArray[Any]]) -> Callable[[int], object]:
    return lambda row: run(frames[row])


def _median_ms(run: Callable[[int], object], repeat: int) -> float:
    run(0)
    taken = []
    for row in range(repeat):
        begun = time.perf_counter()
        run(row)
        taken.append((time.perf_counter() - begun) * 1000)
        if sum(taken) > 20_000:  # a peer that masks hundreds of times: fewer frames will do
            break
    return round(float(np.median(taken)), 3)
