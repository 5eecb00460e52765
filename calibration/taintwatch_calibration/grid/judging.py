"""What detectors say of pictures: the product's own scores, thresholds from benign pictures alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.benign import batches_of
from taintwatch_calibration.grid.parts import Parts
from taintwatch_calibration.paper_thresholds import LABEL_COUNTS, choose_paper, ranks_of_pixels
from taintwatch_calibration.rates import area_under_roc, operating_point
from taintwatch_models.calibration_file import Calibration, PaperCalibration, TightCalibration
from taintwatch_models.cmag.file import CmagFile
from taintwatch_models.cmag.runner import CmagRunner, reduce_pictures
from taintwatch_models.detectors import tight_scores_of
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

__all__ = ["Judge", "Scores"]

Scores = Mapping[str, NDArray[np.float64]]
"""Each detector's score of each picture; larger is more suspicious."""


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """The detectors of one model with settings chosen on benign pictures, and their benign scores."""

    radar: OnnxRadar
    calibration: Calibration
    runner: CmagRunner | None
    target_fpr: tuple[float, ...]
    chosen_on: Scores
    held_out: Scores

    @classmethod
    def of(
        cls,
        radar: RadarFile,
        parts: Parts,
        target_fpr: Sequence[float],
        *,
        tight: TightCalibration | None = None,
        cmag: CmagFile | None = None,
        threads: int = 1,
        progress: Callable[[str], None] = lambda what: None,
    ) -> Judge:
        """Choose K for `paper` (dR comes with each target rate) and score the benign parts."""
        progress("choosing K for the paper's variant")
        paper = PaperCalibration()
        ranks = ranks_of_pixels(radar, parts.calibrate.pixels, paper, LABEL_COUNTS, threads=threads)
        chosen = choose_paper(ranks, max(target_fpr), paper).chosen
        settings = Calibration(tight=tight or TightCalibration(), paper=chosen)
        both = OnnxRadar(
            radar, ("tight", "paper"), settings, features=cmag is not None, session=SessionSettings(threads=threads)
        )
        runner = None
        if cmag is not None:
            wanted = tuple(name for name in ("novelty", "distance", "error") if name in cmag.info.statistics)[:1]
            runner = CmagRunner(cmag, wanted or cmag.info.statistics[:1], threads=threads)
        judge = cls(both, settings, runner, tuple(target_fpr), {}, {})
        progress("scoring benign pictures")
        benign = [judge.scores(part.pixels) for part in (parts.calibrate, parts.held_out)]
        return replace(judge, chosen_on=benign[0], held_out=benign[1])

    def scores(self, pixels: NDArray[np.uint8]) -> Scores:
        """Score pictures (N, height, width, 3) in the model's order."""
        found = _run(self.radar, pixels)
        scores = {
            "tight": tight_scores_of(found, self.calibration.tight),
            "paper": found["paper_rank"].astype(np.float64),
        }
        if self.runner is not None:
            pictures = reduce_pictures(pixels, self.runner.info.size)
            outputs = self.runner(found["features"], found["logits"], pictures)
            scores["cmag"] = np.asarray(outputs[self.runner.outputs[0]], np.float64)
        return scores

    def rates(self, attacked: Scores) -> dict[str, dict[str, Any]]:
        """Return for each detector its rates on attacked pictures, at each target rate, and the ROC area."""
        found: dict[str, dict[str, Any]] = {}
        for name, scores in attacked.items():
            benign = (self.chosen_on[name], self.held_out[name])
            at = {f"{rate:g}": asdict(operating_point(*benign, scores, rate)) for rate in self.target_fpr}
            found[name] = {"auc": area_under_roc(np.concatenate(benign), scores), "at": at}
        return found


def _run(radar: OnnxRadar, pixels: NDArray[np.uint8], **overrides: NDArray[Any]) -> dict[str, NDArray[Any]]:
    parts: dict[str, list[NDArray[Any]]] = {}
    for _, inputs in batches_of(pixels, radar.info.preprocessing):
        for name, value in radar(inputs, **overrides).items():
            if not name.endswith("_mask"):
                parts.setdefault(name, []).append(value)
    return {name: np.concatenate(values) for name, values in parts.items()}
