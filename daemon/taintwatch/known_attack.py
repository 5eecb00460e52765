"""The bundled model judges the bundled attack before it is trusted: a start, or a reload, that blinds it is refused."""

from __future__ import annotations

from taintwatch.demo.play import parse_play
from taintwatch_models.errors import CalibrationError
from taintwatch_models.loading import LoadedModel
from taintwatch_models.records import Frame, Prediction, Verdict, read_only

__all__ = ["require_known_attack"]

SCENE = "sim:?attack=on-sign&camera=plain&pace=0&width=320&height=240"
BENIGN, ATTACKED = (20, 120), (50, 60, 75)  # frames of it
NEAR = 0.8
"""What an attack must reach of the threshold: one for a low false-positive rate is above single frames of it."""
TRIED = ("combined", "tight")
"""Detectors that see this attack frame by frame; the others need the vote, or look for another kind."""


def require_known_attack(model: LoadedModel) -> None:
    """Raise `CalibrationError` where a detector passes by a known attack, or takes the scene without it for one.

    `model`: the bundled one, with whatever calibration and reference it was given.
    """
    play = parse_play(SCENE).play
    frames = [Frame("self-test", index, read_only(play.render(index)), 0, 0) for index in (*BENIGN, *ATTACKED)]
    predictions = {frame.index: outcome for frame in frames for outcome in model.classifier([frame])}
    for detector in model.detectors:
        if detector.name not in TRIED:
            continue
        verdicts = {index: detector(found) for index, found in predictions.items() if isinstance(found, Prediction)}
        attacked = [verdicts[index] for index in ATTACKED if index in verdicts]
        benign = [verdicts[index] for index in BENIGN if index in verdicts]
        if not any(verdict.score >= verdict.threshold - (1 - NEAR) * abs(verdict.threshold) for verdict in attacked):
            raise CalibrationError(
                f"the detector '{detector.name}' is blind: it does not see the attack that comes with the bundled "
                f"model{_scores(attacked)}. Its calibration or reference is damaged or not for it; take the bundled one"
            )
        if benign and all(verdict.suspicious for verdict in benign):
            raise CalibrationError(
                f"the detector '{detector.name}' calls a plain scene an attack{_scores(benign)}. Its calibration or "
                "reference is damaged or not for the bundled model; take the bundled one"
            )


def _scores(verdicts: list[Verdict]) -> str:
    if not verdicts:
        return ""
    best = max(verdicts, key=lambda verdict: verdict.score)
    return f" (score {best.score:.3g}, threshold {best.threshold:.3g})"
