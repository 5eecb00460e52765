"""One network, one detector: false alarms, novelty, patches of all makers, presentations, adaptive attackers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.detection.adaptive import ATTACKERS, FRAMES, craft_adaptive, outcome, outcome_of_frames
from benchmarks.detection.attacks import AttackedPictures
from benchmarks.detection.footage import Clip, alerts_of
from benchmarks.detection.networks import Network, read_folder
from benchmarks.detection.novelty import STRENGTHS, degraded, posters, smaller_or_turned
from benchmarks.detection.presentations import in_motion, present
from benchmarks.detection.prints import busy_prints
from benchmarks.detection.scorers import RATES, CombinedScorer, Scorer
from benchmarks.detection.unoptimised import photographs_of_target
from taintwatch_calibration.results import write_json
from taintwatch_models.detection.detector import CombinedDetector
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.looks import CombinedRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_classifier import RadarClassifier

__all__ = [
    "Counts",
    "cached",
    "count",
    "measure_adaptive",
    "measure_detection",
    "measure_footage",
    "measure_presentations",
]

Record = dict[str, Any]
Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is measured: less for a quick look."""

    held_out: int = 400
    novel: int = 80
    """Pictures of each kind of novelty."""
    presentations: int = 500
    attacked: int = 60
    """Attacked pictures that are presented, of all patches of at least 0.25."""
    successes: int = 20
    """Of each patch at each size, at most, that are scored."""
    frames: int = 150
    """Of each half of a video."""
    steps: int = 120
    """Of an adaptive attacker."""


def cached(path: Path, identity: Sequence[object], make: Callable[[], Any], older: list[str] | None = None) -> Any:
    """Return what `make` returned when it was last called for this identity: from the file, else made and stored.

    `older`: take what is stored for another identity, too, and put its name here.
    """
    key = hashlib.sha256(json.dumps([str(part) for part in identity]).encode()).hexdigest()[:16]
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.get("identity") == key:
            return stored["record"]
        if older is not None:
            older.append(path.stem)
            return stored["record"]
    record = make()
    write_json(path, {"identity": key, "record": record})
    return record


def count(scores: NDArray[np.float64], thresholds: Mapping[float, float]) -> Record:
    """Return how many scores lie above each threshold, with the 95% Clopper-Pearson interval of the share."""
    record: Record = {"n": len(scores)}
    for rate in RATES:
        above = int((scores > thresholds[rate]).sum())
        interval = stats.binomtest(above, len(scores)).proportion_ci(0.95, "exact") if len(scores) else None
        record[f"{rate:g}"] = {
            "count": above,
            "share": above / len(scores) if len(scores) else None,
            "interval": [round(float(interval.low), 5), round(float(interval.high), 5)] if interval else None,
        }
    return record


def measure_detection(
    network: Network,
    scorer: Scorer,
    shown: Iterable[AttackedPictures],
    data: Path,
    counts: Counts,
    report: Callable[[str], None],
) -> Record:
    """Fit the scorer on the site's and the bundled general pictures; return thresholds and cells, JSON-ready."""
    preprocessing = network.radar.info.preprocessing
    side, rng = preprocessing.size[0], np.random.default_rng(7)
    report(f"{scorer.name}: learning")
    thresholds = scorer.fit(general_pictures(preprocessing), network.site)
    cells: list[Record] = []

    def add(kind: str, name: str, pictures: Pictures, **more: Any) -> None:
        report(f"{scorer.name}: {kind}: {name}")
        cells.append({"kind": kind, "name": name, **more, **count(scorer.score(pictures), thresholds)})

    benign = network.held_out[: counts.held_out]
    add("benign", "held out", benign)
    some = benign[: counts.novel]
    photographs = read_folder(data / "general", side)
    add("novelty", "posters", posters(some, photographs, rng))
    prints = busy_prints(len(some), photographs, np.random.default_rng(8))
    add("novelty", "busy prints", posters(some, prints, np.random.default_rng(9)))
    for name, strength in STRENGTHS.items():
        add("novelty", f"degraded, {name}", degraded(some, strength, rng))
    add("novelty", "smaller or turned", smaller_or_turned(some, rng))
    scenes = np.concatenate([read_folder(data / "coco", side), photographs[::4]])
    add("novelty", "other scenes", scenes[: counts.novel])
    for each in shown:
        name = f"{each.patch}, {each.size:g}"
        about = {"maker": each.maker, "size": each.size, "attempts": each.attempts, "successes": len(each.successes)}
        add("attack", name, each.successes[: counts.successes], **about)
    return {
        "network": network.name, "dataset": network.dataset, "head": network.radar.info.head,
        "accuracy": network.accuracy, "detector": scorer.name, "site": len(network.site),
        "thresholds": {f"{rate:g}": value for rate, value in thresholds.items()}, "cells": cells,
    }  # fmt: skip


def measure_footage(
    network: Network, scorer: CombinedScorer, clips: Mapping[str, Clip], rate: float, report: Callable[[str], None]
) -> list[Record]:
    """Learn on the first half of each clip, in time; count suspicious frames and alerts of the second half."""
    cells = []
    preprocessing = network.radar.info.preprocessing
    general = general_pictures(preprocessing)
    for name, clip in clips.items():
        report(f"{scorer.name}: later footage: {name}")
        thresholds = scorer.fit(general, clip.frames[: clip.half], footage=True)
        alerts = alerts_of(clip, *_daemon(network, scorer, rate), bgr=preprocessing.order == "bgr")
        found = count(scorer.score(clip.frames[clip.half :]), thresholds)
        seconds = round((len(clip.frames) - clip.half) * clip.period_s, 1)
        cells.append({"kind": "novelty", "name": f"later: {name}", **found, "alerts": alerts, "seconds": seconds})
    return cells


def _daemon(
    network: Network, scorer: CombinedScorer, rate: float
) -> tuple[RadarClassifier, tuple[CombinedDetector, ...]]:
    """The classifier and the detectors as the daemon runs them; `scorer` is fitted."""
    radar, reference = network.radar, scorer.reference
    if reference is None:
        raise ValueError("the scorer was not fitted yet")
    run = CombinedRadar(radar, reference, SessionSettings(device="cpu", threads=1))
    return RadarClassifier(run), (CombinedDetector(reference, rate, radar.info.labels, radar.info.preprocessing),)


def measure_presentations(
    network: Network, scorer: CombinedScorer, pictures: Pictures, attacked: Pictures, rate: float
) -> Record:
    """Show benign pictures and attacked ones through the daemon's pipeline; `scorer` is fitted.

    An attack counts where it lasts: what no longer gives the still picture's label in half of the first ten frames,
    shaken and noisy as they are, is no attack before a camera any more. How many fade so is said beside it.
    """
    daemon = _daemon(network, scorer, rate)
    shown = present(pictures, *daemon)
    alerts = sum(each.alert_after is not None for each in shown)
    interval = stats.binomtest(alerts, len(pictures)).proportion_ci(0.95, "exact")
    held = present(attacked, *daemon) if len(attacked) else []
    labels = network.labels_of(attacked) if len(attacked) else ()
    lasting = [each for each, label in zip(held, labels, strict=True) if each.keeps(int(label))]
    after = [each.alert_after for each in lasting]
    return {
        "shown": len(pictures), "alerts": alerts, "with_a_suspicious_frame": sum(each.suspicious > 0 for each in shown),
        "suspicious_frames": sum(each.suspicious for each in shown),
        "interval": [round(float(interval.low), 5), round(float(interval.high), 5)],
        "attacked": len(after), "faded": len(held) - len(after),
        "alert_after": sorted(frame for frame in after if frame is not None),
    }  # fmt: skip


def measure_adaptive(
    network: Network, scorer: CombinedScorer, thresholds: Mapping[float, float], counts: Counts,
    device: str, report: Callable[[str], None],
) -> list[Record]:  # fmt: skip
    """Craft each attacker's patches against the fitted detector; return what fools the network, and what unseen."""
    if scorer.reference is None:
        raise ValueError("the scorer was not fitted yet")
    records = []
    for attacker in ATTACKERS:
        pictures = craft_adaptive(
            network, scorer.reference, attacker, thresholds[RATES[0]],
            steps=counts.steps * (4 if attacker.scene else 1), device=device, report=report,
        )  # fmt: skip
        if attacker.shaken:
            success, scores = _before_a_camera(network, scorer, pictures)
        else:
            success, scores = network.labels_of(pictures) == network.targets[0], scorer.score(pictures)
        judged = outcome_of_frames if attacker.shaken else outcome
        found = {f"{rate:g}": judged(success, scores, thresholds[rate]) for rate in RATES}
        records.append({"attacker": attacker.name, "size": attacker.size, **found})
        report(f"{attacker.name}: {found}")
    plain = photographs_of_target(network, scorer, thresholds)
    report(f"photographs of the target: {plain}")
    return [*records, *plain]


def _before_a_camera(
    network: Network, scorer: CombinedScorer, pictures: Pictures
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Hold each attacked picture before a camera; return target or not, and the score, (attempts, frames) each."""
    frames = []
    for index, picture in enumerate(pictures):
        seen = in_motion(picture, np.random.default_rng([11, index]))
        frames += [frame[:, :, ::-1] for frame in seen[:: len(seen) // FRAMES][:FRAMES]]
    shown = np.stack(frames)
    success = network.labels_of(shown) == network.targets[0]
    return success.reshape(-1, FRAMES), scorer.score(shown).reshape(-1, FRAMES)
