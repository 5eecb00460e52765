"""Choose `tight`'s threshold on benign streets: `python -m benchmarks.street.thresholds --out CALIBRATION.json`.

What a sign looks like once it is found and cut out differs from the cards that the bundled calibration was chosen on.
Half of the streets choose, the others measure.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks.scripts import run_script
from benchmarks.street.player import play, simulate, street_plan, street_stack
from taintwatch.sources.scene import SceneSettings
from taintwatch_calibration.rates import wilson_interval
from taintwatch_models.bundled import bundled_calibration_path
from taintwatch_models.calibration_file import HeldOut, read_calibration, write_calibration
from taintwatch_models.detection.tail import upper_quantile
from taintwatch_models.records import Prediction

__all__ = ["street_scores", "thresholds"]

_FIRST_SEED = 30_000
"""Of the streets that the threshold is chosen on: no track is counted in these."""
_EVERY = 8  # frames: neighbours are alike
_SECONDS = 3.0


@click.command("thresholds")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The calibration.")
@click.option("--streets", default=160, show_default=True, type=click.IntRange(4), help="Streets of three signs.")
@click.option("--fpr", default=0.01, show_default=True, help="Share of benign crops that may look suspicious.")
def thresholds(out: Path, streets: int, fpr: float) -> None:
    """Choose the threshold for signs that a detector finds in a street, and write the bundled calibration with it."""
    cv2.setNumThreads(1)
    scores = street_scores(_FIRST_SEED, streets)
    chosen, measured = (np.concatenate(scores[part::2]) for part in (0, 1))
    threshold = upper_quantile(chosen, fpr)
    alarms = int((measured > threshold).sum())
    low, high = wilson_interval(alarms, len(measured))
    held_out = HeldOut(len(measured), alarms, alarms / len(measured), low, high)
    known = read_calibration(bundled_calibration_path())
    write_calibration(
        replace(
            known, target_fpr=fpr, benign="signs that the bundled finder cuts out of rendered streets",
            benign_frames=len(chosen), tight=replace(known.tight, threshold=threshold, held_out=held_out),
            gate=None, combination=None,
        ),
        out,
    )  # fmt: skip
    click.echo(json.dumps({"threshold": threshold, "frames": len(chosen), "held_out": [alarms, len(measured)]}))


def street_scores(first: int, streets: int) -> list[np.ndarray]:
    """Return the scores of all signs of each of so many benign streets."""
    stack = street_stack(bundled_calibration_path())
    found = []
    for seed in range(first, first + streets):
        settings = SceneSettings(seed=seed, duration=_SECONDS)
        scene = simulate(street_plan(seed, settings), settings)
        scores = [step.verdicts[0].score for steps in play(stack, scene, f"street-{seed}", _EVERY) for step in steps
                  if isinstance(step.outcome, Prediction)]  # fmt: skip
        found.append(np.array(scores))
    return found


if __name__ == "__main__":
    sys.exit(run_script(thresholds, "thresholds"))
