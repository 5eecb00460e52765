"""The picture of the attacks on signs: what each score finds of them at one rate of false alarms, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import MARKS, new_figure, save
from benchmarks.sign_attacks.scores import DETECTORS

__all__ = ["draw"]


def draw(path: Path, document: dict[str, Any]) -> None:
    """Draw beside `path`, as SVG and PNG: the true-positive rate on strong attacks, a mark for each model."""
    figure, panel = new_figure(figsize=(8.4, 3.6))
    models = document["models"]
    for index, (name, model) in enumerate(models.items()):
        found = [model["strong_attacks"][detector] for detector in DETECTORS]
        rates = np.array([each["tpr"] for each in found])
        low, high = np.array([each["tpr_interval"] for each in found]).T
        places = np.arange(len(DETECTORS)) + 0.22 * (index - (len(models) - 1) / 2)
        label = f"{name}: {found[0]['attacks']} attacks"
        panel.errorbar(rates, places, xerr=[rates - low, high - rates], fmt=MARKS[index], capsize=3, label=label)
    panel.set_yticks(range(len(DETECTORS)), DETECTORS)
    panel.invert_yaxis()
    panel.set(xlim=(-0.02, 1.02), xlabel=f"true-positive rate at a target of {document['target_fpr']:.0%} false alarms "
              "a frame (95% Wilson)", title="strong attacks that succeed")  # fmt: skip
    panel.grid(axis="x", alpha=0.3)
    panel.legend(loc="lower center", fontsize=8)
    save(figure, path)
