"""What detectors say of pictures: the product's, and peers, each as one score; thresholds are chosen on benign ones."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.paper_thresholds import LABEL_COUNTS, choose_paper, paper_ranks
from taintwatch_calibration.thresholds import tight_outputs, weigh_anomaly
from taintwatch_models.calibration_file import Calibration, PaperCalibration, read_calibration, write_calibration
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.cmag.runner import CmagRunner, reduce_pictures
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.graph.anomaly import ANOMALY
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile, read_radar, write_radar
from taintwatch_models.storage import write_atomically

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


@dataclass(frozen=True, eq=False)
class ProductJudge:
    """The product's detectors of one model, with everything chosen on its benign calibration part."""

    radar: RadarFile
    """With the anomaly that was learnt."""
    calibration: Calibration
    calibrate: Mapping[str, NDArray[np.float64]]
    held_out: Mapping[str, NDArray[np.float64]]
    run: OnnxRadar
    cmag: CmagRunner | None

    @classmethod
    def of(
        cls,
        subject: Subject,
        target_fpr: float,
        kept: Path,
        *,
        cmag: CmagFile | None = None,
        threads: int = 1,
        progress: Callable[[str], None] = lambda what: None,
    ) -> ProductJudge:
        """Learn, weigh and choose as `taintwatch calibrate thresholds --learn` does. `target_fpr`: the rate for K.

        What is learnt lies in the folder `kept` and is not learnt again.
        """
        judge = _learnt(subject, target_fpr, kept, cmag, threads, progress)
        own, held = _read_scores(kept / "benign.npz", judge.identity) or ({}, {})
        if not held:
            progress("scoring benign pictures")
            held = dict(judge.detect(subject.parts.held_out.pixels).scores)
            # Frames that it was learnt from are judged as if it had not seen them, where that makes a difference.
            own = dict(judge.detect(subject.parts.calibrate.pixels).scores) | dict(judge.calibrate)
            _write_scores(kept / "benign.npz", judge.identity, own, held)
        return replace(judge, calibrate=own, held_out=held)

    @cached_property
    def identity(self) -> str:
        """Tells it from any other."""
        whole = self.radar.proto.SerializeToString() + repr((self.calibration, self.cmag is not None)).encode()
        return hashlib.sha256(whole).hexdigest()

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

    def detect_once(self, pixels: NDArray[np.uint8], kept: Path) -> Detected:
        """The same, kept in a file."""
        found = _read_scores(kept, self.identity)
        if found is not None:
            scores, where = found
            return Detected(scores, where["label"].astype(np.int64), where["mask"].astype(np.bool_))
        detected = self.detect(pixels)
        _write_scores(kept, self.identity, detected.scores, {"label": detected.label, "mask": detected.mask})
        return detected

    def _batch(self, pixels: NDArray[np.uint8]) -> Detected:
        outputs = self.run(self.radar.info.preprocessing.normalise(pixels))
        tight = self.calibration.tight
        scores = {
            "default": tight_scores_of(outputs, tight),
            "tight": tight_scores_of(outputs, replace(tight, anomaly_weight=0.0)),
            "paper": outputs["paper_rank"].astype(np.float64),
            "anomaly": outputs[ANOMALY].astype(np.float64),
        }
        if self.cmag is not None:
            pictures = reduce_pictures(pixels, self.cmag.info.size)
            rebuilt = self.cmag(outputs["features"], outputs["logits"], pictures)
            scores["cmag"] = np.asarray(rebuilt[self.cmag.outputs[0]], np.float64)
        return Detected(scores, outputs["tight_label"], outputs["tight_mask"])


def _learnt(
    subject: Subject,
    target_fpr: float,
    kept: Path,
    cmag: CmagFile | None,
    threads: int,
    progress: Callable[[str], None],
) -> ProductJudge:
    """Return the judge without its benign scores, but for those of frames that it was learnt from."""
    part, path = subject.parts.calibrate, kept / "learnt.radar.onnx"
    identity = f"{subject.benign_fingerprint} {subject.tight} {target_fpr:g}"
    own = _read_scores(kept / "learnt.npz", identity)
    if own is None or not path.is_file():
        benign = BenignFrames(part.pixels, footage=False, bad=0, description=subject.name)
        progress("learning what benign maps look like")
        fitted = fit_anomaly(subject.radar, benign, threads=threads)
        outputs = tight_outputs(fitted.radar, benign, subject.tight, fitted.scores, threads, _silent)
        tight = weigh_anomaly(outputs, subject.tight)
        progress("choosing K for the paper's variant")
        counts = sorted({min(count, subject.radar.info.classes) for count in LABEL_COUNTS})
        ranks = paper_ranks(fitted.radar, benign, PaperCalibration(), counts, threads=threads, progress=_silent)
        paper = choose_paper(ranks, target_fpr, PaperCalibration()).chosen
        kept.mkdir(parents=True, exist_ok=True)
        write_radar(fitted.radar, path)
        write_calibration(Calibration(tight=tight, paper=paper), kept / "calibration.json")
        own = {"default": tight_scores_of(outputs, tight), "anomaly": fitted.scores}, {}
        _write_scores(kept / "learnt.npz", identity, *own)
    radar, calibration = read_radar(path), read_calibration(kept / "calibration.json")
    run = OnnxRadar(
        radar, ("tight", "paper"), calibration, features=cmag is not None, session=SessionSettings(threads=threads)
    )
    runner = None
    if cmag is not None:
        wanted = tuple(name for name in ("novelty", "distance", "error") if name in cmag.info.statistics)[:1]
        runner = CmagRunner(cmag, wanted or cmag.info.statistics[:1], threads=threads)
    return ProductJudge(radar, calibration, own[0], {}, run, runner)


def _silent(what: str, done: int, total: int) -> None:
    pass


def _write_scores(
    path: Path, identity: str, own: Mapping[str, NDArray[np.float64]], held: Mapping[str, NDArray[Any]]
) -> None:
    arrays = {f"{side}:{name}": value for side, of in (("own", own), ("held", held)) for name, value in of.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, identity=np.array(identity), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, stream.getvalue())


def _read_scores(
    path: Path, identity: str
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]] | None:
    """Return what was kept under this identity; None where there is nothing, or something else."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as kept:
        if str(kept["identity"]) != identity:
            return None
        sides = (
            {name.partition(":")[2]: kept[name] for name in kept.files if name.startswith(s)} for s in ("own", "held")
        )
        own, held = sides
        return own, held


def time_per_frame(
    judge: ProductJudge, pixels: NDArray[np.uint8], peers: Mapping[str, Peer], repeat: int = 15
) -> dict[str, float]:
    """Return each detector's median milliseconds for one frame, one at a time, with its classifier's forward.

    `plain` is the classifier alone, to compare with.
    """
    info, settings = judge.radar.info, judge.calibration
    inputs = [info.preprocessing.normalise(pixels[row % len(pixels)][None]) for row in range(repeat)]
    margin = Calibration(tight=replace(settings.tight, anomaly_weight=0.0))
    runs: dict[str, Callable[[int], object]] = {}
    for name, variants, calibration in (
        ("plain", (), None), ("default", ("tight",), settings), ("tight", ("tight",), margin),
        ("paper", ("paper",), settings),
    ):  # fmt: skip
        runs[name] = _on(OnnxRadar(judge.radar, variants, calibration, session=SessionSettings(threads=1)), inputs)
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
