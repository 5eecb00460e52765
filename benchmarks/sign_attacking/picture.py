"""The ROC picture: one panel for each model, one line for each detector."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from benchmarks.sign_attacking.scoring import DETECTORS, Scores
from taintwatch_calibration.rates import roc
from taintwatch_models.storage import write_atomically

__all__ = ["contact_sheet", "draw_roc"]


def draw_roc(path: Path, models: Mapping[str, tuple[Scores, Scores]], target_fpr: float) -> None:
    """Draw (held-out benign, successful attacks) of each model, false alarms from 0 to 20%."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(models), figsize=(5.2 * len(models), 4.4), squeeze=False, layout="constrained")
    for panel, (name, (benign, attacked)) in zip(axes[0], models.items(), strict=True):
        for detector in (d for d in DETECTORS if d in benign):
            false, true = roc(benign[detector], attacked[detector])
            width = 2.4 if detector == "tight" else 1.2
            panel.step(false, true, where="post", label=detector, linewidth=width)
        panel.axvline(target_fpr, color="grey", linestyle=":", linewidth=1)
        panel.set(title=name, xlim=(0, 0.2), ylim=(0, 1.01), xlabel="false-positive rate per frame (held out)")
        panel.grid(alpha=0.3)
    axes[0][0].set_ylabel("true-positive rate on successful attacks")
    axes[0][-1].legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    plt.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def contact_sheet(path: Path, pixels: NDArray[np.uint8], columns: int = 12) -> None:
    """Write (N, H, W, 3) RGB pictures side by side, three times as large: to look at misses."""
    import cv2

    rows = [pixels[i : i + columns] for i in range(0, len(pixels), columns)]
    blank = np.full_like(pixels[:1], 255)
    full = [np.concatenate([*row, *[blank[0]] * (columns - len(row))], axis=1) for row in rows]
    sheet = np.ascontiguousarray(np.concatenate(full)[:, :, ::-1])
    _, encoded = cv2.imencode(".png", cv2.resize(sheet, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST))
    write_atomically(path, encoded.tobytes())
