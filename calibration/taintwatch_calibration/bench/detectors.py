"""The product's detectors of one model, calibrated on its benign pictures, and what they say of others."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.bench.records import Scores
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.benign import BenignFrames, batches_of
from taintwatch_calibration.paper_thresholds import LABEL_COUNTS, choose_paper, ranks_of_pixels
from taintwatch_calibration.thresholds import tight_outputs, weigh_anomaly
from taintwatch_models.calibration_file import Calibration, PaperCalibration, read_calibration, write_calibration
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.cmag.runner import CmagRunner, reduce_pictures
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile, read_radar, write_radar

__all__ = ["LEARNT", "PLAIN", "BenchDetectors", "Detected", "calibrate_detectors", "paper_of", "time_per_frame"]

PLAIN = ("tight", "paper")
"""TaintRadar's detectors, for which nothing is learnt."""
LEARNT = ("default", "tight", "paper", "anomaly")
"""The same, and those that know what benign maps look like."""
_CMAG = ("novelty", "distance", "error")
"""The statistics that stand for CMAG, the best first."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """What the product says of some pictures."""

    scores: Scores
    """For each detector, (N,)."""
    label: NDArray[np.int64]
    """(N,): what is on top after `tight`'s region was filled."""
    mask: NDArray[np.bool_]
    """(N, height, width): that region."""


@dataclass(frozen=True, eq=False)
class BenchDetectors:
    """The product's detectors of one model, with everything chosen on its benign calibration part."""

    radar: RadarFile
    """With the anomaly, where it was learnt."""
    calibration: Calibration
    names: tuple[str, ...]
    """`PLAIN` or `LEARNT`; `cmag` comes with its runner."""
    run: OnnxRadar
    cmag: CmagRunner | None = None
    calibrate: Scores = field(default_factory=dict)
    """Of the benign pictures that thresholds are chosen on."""
    held_out: Scores = field(default_factory=dict)

    @cached_property
    def identity(self) -> str:
        """Tells it from any other."""
        settings = (self.calibration, self.names, self.cmag is not None)
        return hashlib.sha256(self.radar.proto.SerializeToString() + repr(settings).encode()).hexdigest()

    def detect(self, pixels: NDArray[np.uint8]) -> Detected:
        """Judge pictures (N, height, width, 3) in the model's channel order."""
        found = [
            self._batch(pixels[start : start + len(inputs)], inputs)
            for start, inputs in batches_of(pixels, self.radar.info.preprocessing)
        ]
        if not found:
            size = self.radar.info.preprocessing.size
            return Detected({}, np.zeros(0, np.int64), np.zeros((0, *size), np.bool_))
        return Detected(
            {name: np.concatenate([part.scores[name] for part in found]) for name in found[0].scores},
            np.concatenate([part.label for part in found]),
            np.concatenate([part.mask for part in found]),
        )

    def detect_once(self, pixels: NDArray[np.uint8], cache: Cache) -> Detected:
        """The same, kept in `cache`."""

        def detect() -> dict[str, NDArray[Any]]:
            found = self.detect(pixels)
            return {**found.scores, "label": found.label, "mask": found.mask}

        digest = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
        found = cache.arrays(f"detected/{digest}", (self.identity,), detect)
        label, mask = found.pop("label"), found.pop("mask")
        return Detected(found, label.astype(np.int64), mask.astype(np.bool_))

    def _batch(self, pixels: NDArray[np.uint8], inputs: NDArray[np.float32]) -> Detected:
        outputs, tight = self.run(inputs), self.calibration.tight
        scores: dict[str, NDArray[np.float64]] = {}
        if "default" in self.names:
            scores["default"] = tight_scores_of(outputs, tight)
        scores["tight"] = tight_scores_of(outputs, replace(tight, anomaly_weight=0.0))
        scores["paper"] = outputs["paper_rank"].astype(np.float64)
        if "anomaly" in self.names:
            scores["anomaly"] = outputs[ANOMALY].astype(np.float64)
        if self.cmag is not None:
            pictures = reduce_pictures(pixels, self.cmag.info.size)
            rebuilt = self.cmag(outputs["features"], outputs["logits"], pictures)
            scores["cmag"] = np.asarray(rebuilt[self.cmag.outputs[0]], np.float64)
        return Detected(scores, outputs["tight_label"], outputs["tight_mask"])


def calibrate_detectors(
    subject: Subject,
    target_fpr: float,
    cache: Cache,
    *,
    names: tuple[str, ...] = LEARNT,
    cmag: CmagFile | None = None,
    threads: int = 1,
    progress: Progress = lambda what: None,
) -> BenchDetectors:
    """Choose on the benign calibration part, score it and the held-out part; no attack is looked at.

    `LEARNT` are learnt and weighed as `taintwatch calibrate thresholds --learn` does; `target_fpr` is the rate for
    `paper`'s K. What is chosen lies in `cache` and is not chosen again.
    """
    parts = subject.parts
    choose = _learnt if "default" in names else _unlearnt
    radar, calibration, own = choose(subject, target_fpr, cache, threads, progress)
    outputs = PLAIN if cmag is None else (*PLAIN, "features")
    run = OnnxRadar(radar, outputs, calibration, SessionSettings(threads=threads))
    runner = None
    if cmag is not None:
        wanted = tuple(name for name in _CMAG if name in cmag.info.statistics)[:1]
        runner = CmagRunner(cmag, wanted or cmag.info.statistics[:1], threads=threads)
    detectors = BenchDetectors(radar, calibration, names, run, runner)

    def score(part: str, pixels: NDArray[np.uint8]) -> Scores:
        identity = (detectors.identity, subject.benign_fingerprint)
        return cache.arrays(f"detectors/{part}", identity, lambda: dict(detectors.detect(pixels).scores))

    progress("scoring benign pictures")
    # Frames that it was learnt from are judged as if it had not seen them, where that makes a difference.
    calibrate = {**score("calibrate", parts.calibrate.pixels), **own}
    return replace(detectors, calibrate=calibrate, held_out=score("held_out", parts.held_out.pixels))


def paper_of(radar: RadarFile, pixels: NDArray[np.uint8], target_fpr: float, *, threads: int = 1) -> PaperCalibration:
    """Return the paper's K and dR for benign pixels (N, height, width, 3)."""
    ranks = ranks_of_pixels(radar, pixels, PaperCalibration(), LABEL_COUNTS, threads=threads)
    return choose_paper(ranks, target_fpr, PaperCalibration()).chosen


def _unlearnt(
    subject: Subject, target_fpr: float, cache: Cache, threads: int, progress: Progress
) -> tuple[RadarFile, Calibration, Scores]:
    """Return the model as it is, and what is chosen for it."""

    def choose() -> dict[str, Any]:
        progress("choosing K for the paper's variant")
        return asdict(paper_of(subject.radar, subject.parts.calibrate.pixels, target_fpr, threads=threads))

    paper = cache.document("detectors/paper", (subject.benign_fingerprint, target_fpr), choose)
    settings = PaperCalibration(**{**paper, "held_out": None})
    return subject.radar, Calibration(tight=subject.tight, paper=settings), {}


def _learnt(
    subject: Subject, target_fpr: float, cache: Cache, threads: int, progress: Progress
) -> tuple[RadarFile, Calibration, Scores]:
    """Return the model with its anomaly, what is chosen, and the scores of those frames that it was learnt from."""
    folder = cache.folder / "detectors"
    model, settings = folder / "learnt.radar.onnx", folder / "calibration.json"

    def learn() -> Mapping[str, NDArray[Any]]:
        pixels = subject.parts.calibrate.pixels
        benign = BenignFrames(pixels, footage=False, bad=0, description=subject.name)
        progress("learning what benign maps look like")
        fitted = fit_anomaly(subject.radar, benign, threads=threads)
        outputs = tight_outputs(fitted.radar, benign, subject.tight, fitted.scores, threads, _unsaid)
        tight = weigh_anomaly(outputs, subject.tight)
        progress("choosing K for the paper's variant")
        paper = paper_of(fitted.radar, pixels, target_fpr, threads=threads)
        folder.mkdir(parents=True, exist_ok=True)
        write_radar(fitted.radar, model)
        write_calibration(Calibration(tight=tight, paper=paper), settings)
        return {"default": tight_scores_of(outputs, tight), "anomaly": fitted.scores}

    if not (model.is_file() and settings.is_file()):
        (folder / "learnt.npz").unlink(missing_ok=True)  # what goes with them
    own = cache.arrays("detectors/learnt", (subject.benign_fingerprint, subject.tight, target_fpr), learn)
    return read_radar(model), read_calibration(settings), own


def _unsaid(what: str, done: int, total: int) -> None:
    pass


def time_per_frame(detectors: BenchDetectors, pixels: NDArray[np.uint8], repeat: int = 15) -> dict[str, float]:
    """Return each detector's median milliseconds for one frame, one at a time, with its classifier's forward.

    `plain` is the classifier alone, to compare with.
    """
    info, settings = detectors.radar.info, detectors.calibration
    inputs = [info.preprocessing.normalise(pixels[row % len(pixels)][None]) for row in range(repeat)]
    margin = Calibration(tight=replace(settings.tight, anomaly_weight=0.0))
    variants: Sequence[tuple[str, tuple[str, ...], Calibration | None]] = (
        ("plain", (), None), ("default", ("tight",), settings), ("tight", ("tight",), margin),
        ("paper", ("paper",), settings),
    )  # fmt: skip
    return {
        name: _median_ms(OnnxRadar(detectors.radar, run, chosen, session=SessionSettings(threads=1)), inputs)
        for name, run, chosen in variants
    }


def _median_ms(run: Callable[[NDArray[np.float32]], object], frames: Sequence[NDArray[np.float32]]) -> float:
    run(frames[0])
    taken = []
    for frame in frames:
        begun = time.perf_counter()
        run(frame)
        taken.append((time.perf_counter() - begun) * 1000)
    return round(float(np.median(taken)), 3)
