"""What a change is worth inside and outside of the region (FCRs, appendix A), and PGD at a given length (FCRs).

    python -m benchmarks.published.strengths --model MODEL.onnx --images FOLDER --count 64 --json r.json

FGSM moves every value by e1 in the region of the true class (Grad-CAM above 0.2 of its maximum) and by e2 elsewhere:
the paper's ResNet-18 on CIFAR-10 loses about as much by 0.03 inside alone as by 0.03 everywhere.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.scripts import run_script
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.craft.attack_folder import whole
from taintwatch_calibration.craft.digital import digital_attack
from taintwatch_calibration.craft.materials import differentiable, load_classifier, read_pictures, to_pictures
from taintwatch_calibration.craft.physical import Model, normaliser
from taintwatch_calibration.craft.region import soft_mask
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["PUBLISHED", "main", "two_strengths"]

PUBLISHED: dict[tuple[float, float], tuple[float | None, float | None]] = {
    (0.03, 0.0): (35.12, 33.47),
    (0.03, 0.01): (36.43, 34.17),
    (0.03, 0.03): (38.71, 35.24),
    (0.03, 0.05): (40.34, 36.07),
    (0.05, 0.0): (None, 40.58),
    (0.05, 0.03): (48.65, 42.23),
    (0.05, 0.05): (49.92, 43.21),
    (0.08, 0.05): (59.62, None),
}
"""(e1, e2) to the attack's success in percent on CIFAR-10: VGG-11, ResNet-18."""
_LENGTHS = (0.5, 1.0, 2.0, 4.0)


def two_strengths(
    model: Model, preprocessing: Preprocessing, pixels: Tensor, own: Tensor, inside: float, outside: float,
    threshold: float = 0.2,
) -> Tensor:  # fmt: skip
    """Return FGSM's pictures (B, 3, H, W): moved by `inside` in the region of `own` (B,), by `outside` elsewhere."""
    normalise = normaliser(preprocessing, pixels.device)
    region = (soft_mask(model, normalise(pixels), own, threshold) > 0).to(pixels)
    leaf = pixels.clone().requires_grad_(True)
    loss = F.cross_entropy(model.head(model.maps(normalise(leaf))).double(), own, reduction="sum")
    (slope,) = torch.autograd.grad(loss, leaf)
    return (pixels + (inside * region + outside * (1 - region)) * slope.sign()).clamp(0, 1)


@click.command()
@click.option("--model", required=True, help="ONNX file.")
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of labelled pictures.")
@click.option("--count", default=64, show_default=True, help="Pictures, of those that the model gets right.")
@click.option("--seed", default=0, show_default=True, help="Seed of the pictures.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here.")
def main(model: str, images: Path, count: int, seed: int, document: Path | None) -> None:
    """Attack the same pictures with two strengths, and with PGD of several lengths."""
    torch.set_num_threads(1)
    radar = load_classifier(model)
    right = read_pictures(images, radar, most=round(count * 1.3), seed=seed)
    chosen = right.subset(np.arange(min(count, len(right))))
    pictures, network, info = to_pictures(chosen, radar.info.preprocessing), differentiable(radar), radar.info
    normalise = normaliser(info.preprocessing)

    def row(name: str, made: Tensor, **more: Any) -> dict[str, Any]:
        with torch.no_grad():
            seen = torch.cat([network(normalise(part)).argmax(1) for part in whole(made).split(16)])
        wins = int((seen != pictures.own).sum())
        length = float((whole(made) - pictures.pixels).flatten(1).norm(dim=1).mean())
        click.echo(f"{name:24s} {wins} of {len(seen)}, l2 {length:.2f}")
        interval = wilson_interval(wins, len(seen))
        return {"attack": name, "successes": wins, "attempts": len(seen), "interval": interval, "l2": length, **more}

    rows = []
    for (inside, outside), published in PUBLISHED.items():
        parts = zip(pictures.pixels.split(16), pictures.own.split(16), strict=True)
        made = torch.cat([two_strengths(network, info.preprocessing, *part, inside, outside) for part in parts])
        rows.append(row(f"FGSM {inside:g} / {outside:g}", made, published=published))
    for length in _LENGTHS:
        settings = {"norm": 2, "eps": length, "eps_step": length / 8, "max_iter": 20}
        made = digital_attack("pgd", network, pictures, info.preprocessing, info.classes, settings=settings)
        rows.append(row(f"PGD, l2 {length:g}", made))
    if document is not None:
        document.parent.mkdir(parents=True, exist_ok=True)
        result = {**machine(), "model": info.name, "seed": seed, "rows": rows}
        write_json(document, result)


if __name__ == "__main__":
    sys.exit(run_script(main, "published.strengths"))
