"""The detectors of the square: thresholds from the site's pictures, rates on held-out ones and on attacks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.scorers import RATES, CombinedScorer, PeerScorer, TightScorer
from benchmarks.peers import PEERS, Recoverer
from benchmarks.survey.cells import Cell, attacked_pictures, key_of, share_of
from benchmarks.survey.subject import Pixels, Subject
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.rates import threshold_for
from taintwatch_calibration.results import write_json
from taintwatch_calibration.thresholds import calibrate
from taintwatch_models import detection
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.errors import UsageError
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings

__all__ = ["DETECTORS", "detector_cell"]

_SLOW = ("double_masking_6", "minority_6", "defense_gan")
DETECTORS = ("combined", "tight", "paper", *(name for name in PEERS if name not in _SLOW))
"""The default, both of TaintRadar's variants, and the peers; masks of six along an axis ask up to 666 times a frame,
Defense-GAN descends 400 times."""


class _Scores(Protocol):
    def fit(self, general: Pixels, benign: Pixels) -> Mapping[float, float]: ...

    def score(self, images: Pixels) -> NDArray[np.float64]: ...


class _PaperScorer:
    """TaintRadar's own: the change of rank, at K and the smallest dR that benign frames allow."""

    def __init__(self, subject: Subject) -> None:
        self._radar, self._settings = subject.radar, SessionSettings(threads=1)

    def fit(self, general: Pixels, benign: Pixels) -> Mapping[float, float]:
        """Calibrate K and dR for the larger rate; the smaller one has its own dR."""
        frames = BenignFrames(benign, False, 0, "site")
        calibration, _ = calibrate(self._radar, frames, target_fpr=max(RATES), variants=("paper",))
        self._run = OnnxRadar(self._radar, ("paper",), calibration, self._settings)
        own = self.score(benign)
        return {rate: threshold_for(own, rate) for rate in RATES}

    def score(self, images: Pixels) -> NDArray[np.float64]:
        """Return the change of rank of each picture, (N,)."""
        normalise = self._radar.info.preprocessing.normalise
        parts = [self._run(normalise(images[i : i + 16]))["paper_rank"] for i in range(0, len(images), 16)]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def _scorer(name: str, subject: Subject, work: Path) -> Any:
    if name == "combined":
        stored = work / "references" / f"{subject.name}_{_detector_code()}.npz"
        return CombinedScorer(subject.radar, threads=1, stored=stored)
    if name == "tight":
        return TightScorer(subject.radar, threads=1)
    if name == "paper":
        return _PaperScorer(subject)
    return PeerScorer(name, PEERS[name], subject.radar, threads=1)


def _detector_code() -> str:
    """The default detector's own source: with another, it is measured again."""
    folder = Path(str(detection.__file__)).parent
    return key_of(*(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))))


def detector_cell(
    subject: Subject, name: str, attacks: Sequence[str], held_out: int, work: Path,
    report: Callable[[str], None] = lambda line: None,
) -> Cell:  # fmt: skip
    """Measure one detector on a network and all attacks on it; of what it came to before only what is new is measured.

    A detector that cannot judge this network leaves the reason.
    """
    path = work / "detectors" / f"{subject.name}_{name}.json"
    code = _detector_code() if name == "combined" else ""
    identity = key_of(name, held_out, subject.radar.info.source_sha256, code)
    cell: Cell = {"identity": identity, "network": subject.name, "detector": name, "pictures": {}}
    if path.is_file():
        stored: Cell = json.loads(path.read_text(encoding="utf-8"))
        cell = stored if stored["identity"] == identity else cell
    pictures = {attack: attacked_pictures(subject, attack, work) for attack in attacks}
    keys = {attack: key_of(after.tobytes()) for attack, (_, after, _) in pictures.items()}
    new = {attack: found for attack, found in pictures.items() if cell["pictures"].get(attack) != keys[attack]}
    if "out" in cell or (not new and "fpr" in cell):
        return cell
    report(f"{subject.name}: {name}: learning")
    try:
        _measure(cell, subject, name, new, held_out, work)
        cell["pictures"] |= keys
    except UsageError as error:
        cell["out"] = str(error)
    write_json(path, cell)
    return cell


_Attacks = Mapping[str, tuple[Pixels, Pixels, NDArray[np.bool_]]]


def _measure(cell: Cell, subject: Subject, name: str, pictures: _Attacks, held_out: int, work: Path) -> None:
    """Add to the cell what it lacks: the rates on benign pictures, and what is seen of some attacks."""
    began = time.process_time()
    scorer: _Scores = _scorer(name, subject, work)
    general = general_pictures(subject.preprocessing) if name == "combined" else subject.site[:0]
    thresholds = scorer.fit(general, subject.site)
    if "fpr" not in cell:
        cell["learning_cpu_seconds"] = round(time.process_time() - began, 1)
        began, benign = time.process_time(), subject.held_out[:held_out]
        scores = scorer.score(benign)
        cell["cpu_ms_per_frame"] = round(1000 * (time.process_time() - began) / max(1, len(benign)), 2)
        cell["fpr"] = {f"{rate:g}": share_of(scores > thresholds[rate]) for rate in RATES}
    seen = cell.setdefault("tpr", {})
    for attack, (_, after, success) in pictures.items():
        found = scorer.score(after[success])
        seen[attack] = {f"{rate:g}": share_of(found > thresholds[rate]) for rate in RATES}
    peer = getattr(scorer, "peer", None)
    if isinstance(peer, Recoverer):
        cell["recovery"] = cell.get("recovery", {}) | _recovery(subject, peer, pictures, held_out)


def _recovery(subject: Subject, peer: Recoverer, pictures: _Attacks, held_out: int) -> Cell:
    """Return the accuracy behind the defence, on benign pictures and under each attack, successful or not."""
    few = min(held_out, 60)  # purification is slow
    right = peer.labels(subject.held_out[:few]) == subject.held_out_truth[:few]
    found: Cell = {"benign": share_of(right)}
    plain = subject.labels_of(subject.held_out[:few]) == subject.held_out_truth[:few]
    found["benign_without"] = share_of(plain)
    for attack, (before, after, _) in pictures.items():
        found[attack] = share_of(peer.labels(after) == subject.labels_of(before))
    return found
