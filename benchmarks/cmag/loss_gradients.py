"""What an autoencoder's loss looks at (CMAG, Figs 7 and 8): gradients of SSIM's and of l2's, benign and under FGSM.

    python -m benchmarks.cmag.loss_gradients --data ../shared/data --work DIR --picture docs/images/cmag_gradients.png

Two autoencoders of one shape (MagNet's small one), one trained for 1 - SSIM, one for the squared error, on the same
pictures; the gradient of each one's loss with respect to its input. Beside the picture, `on_object`: which share of the
gradient lies on the object, which is where a Fashion-MNIST picture is not black; `kept`: the correlation of the
gradient's size before and after FGSM at 0.2 on the classifier of `benchmarks.cmag.ablation`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.cmag.ablation import NET_EPOCHS
from benchmarks.cmag.magnet_autoencoder import MagnetAutoencoder
from benchmarks.cmag.tables import say
from benchmarks.cmag.trial_attacks import Attack
from benchmarks.cmag.trial_work import TrialWork
from benchmarks.scripts import run_script
from taintwatch_calibration.cmag.contact_sheet import write_sheet
from taintwatch_calibration.cmag.similarity import StructuralSimilarity
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import denormals_flushed

__all__ = ["gradient_size", "kept", "main", "on_object"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""From what was made and the picture to (B,)."""
_SHOWN, _CELL, _BLACK = 8, 84, 0.05


def losses(side: int) -> dict[str, Loss]:
    """Return the two losses by name."""
    similarity = StructuralSimilarity(side, side)
    return {
        "SSIM": lambda made, wanted: 1 - similarity(made, wanted),
        "l2": lambda made, wanted: (made - wanted).square().mean((1, 2, 3)),
    }


def trained(pictures: NDArray[np.float32], loss: Loss, epochs: int, seed: int) -> MagnetAutoencoder:
    """Train an autoencoder for one loss (Adam 1e-3, batches of 64)."""
    torch.manual_seed(seed)
    model, images = MagnetAutoencoder(pictures.shape[1]), torch.from_numpy(pictures)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), 64):
            value = loss(model(images[rows]), images[rows]).mean()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    return model.eval()


def gradient_size(model: torch.nn.Module, loss: Loss, pictures: Tensor) -> Tensor:
    """Return the absolute gradient of the loss with respect to pictures (B, C, H, W), summed over C: (B, H, W)."""
    seen = pictures.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(model(seen), seen).sum(), seen)
    return gradient.abs().sum(1)


def on_object(sizes: Tensor, pictures: Tensor) -> Tensor:
    """Return the share of gradients (B, H, W) that lies where benign pictures (B, C, H, W) are not black, (B,)."""
    inside = pictures.amax(1) > _BLACK
    return (sizes * inside).sum((1, 2)) / sizes.sum((1, 2)).clamp_min(1e-20)


def kept(before: Tensor, after: Tensor) -> Tensor:
    """Return the correlation over pixels of two gradients' sizes (B, H, W), (B,)."""
    first, second = (part.flatten(1) - part.flatten(1).mean(1, keepdim=True) for part in (before, after))
    correlation: Tensor = (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1)).clamp_min(1e-20)
    return correlation


def _sheet(rows: list[Tensor]) -> NDArray[np.uint8]:
    """Lay rows of pictures (N, H, W) below one another, each picture over its own maximum."""
    import cv2

    lines = []
    for row in rows:
        shares = row[:_SHOWN] / row[:_SHOWN].amax((1, 2), keepdim=True).clamp_min(1e-20)
        cells = [cv2.resize(np.asarray(cell * 255, np.uint8), (_CELL, _CELL), interpolation=cv2.INTER_NEAREST)
                 for cell in shares.numpy()]  # fmt: skip
        lines.append(np.concatenate(cells, 1))
    return np.repeat(np.concatenate(lines)[..., None], 3, 2)


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="The measuring data.")
@click.option("--work", required=True, type=click.Path(path_type=Path, file_okay=False), help="That of the ablation.")
@click.option("--training", default=8192, show_default=True, type=click.IntRange(1), help="Pictures to train on.")
@click.option("--epochs", default=5, show_default=True, type=click.IntRange(1))
@click.option("--count", default=200, show_default=True, type=click.IntRange(1), help="Pictures that are attacked.")
@click.option("--seed", default=0, show_default=True)
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the gradients here.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
@denormals_flushed()
def main(
    data: Path, work: Path, training: int, epochs: int, count: int, seed: int, picture: Path | None,
    document: Path | None,
) -> None:  # fmt: skip
    """Train the two autoencoders and compare what their losses look at."""
    torch.set_num_threads(1)
    trial = TrialWork("fashion", data, work, epochs=NET_EPOCHS["fashion"], seed=seed, report=say)
    made = trial.attacked(Attack("fgsm", 0.2), count)
    benign, attacked = torch.from_numpy(made.originals), torch.from_numpy(made.pictures)
    lines, rows = [benign[:, 0], attacked[:, 0]], list[dict[str, Any]]()
    for name, loss in losses(benign.shape[2]).items():
        model = trained(trial.data.train[:training], loss, epochs, seed)
        before, after = (gradient_size(model, loss, part) for part in (benign, attacked))
        lines += [before, after]
        rows.append({
            "loss": name, "pictures": len(benign), "on_object": round(float(on_object(before, benign).mean()), 4),
            "on_object_attacked": round(float(on_object(after, benign).mean()), 4),
            "kept": round(float(kept(before, after).mean()), 4),
        })  # fmt: skip
        say(str(rows[-1]))
    if picture is not None:
        write_sheet(_sheet(lines), picture)
    if document is not None:
        share = round(float((benign.amax(1) > _BLACK).float().mean()), 4)
        write_json(document, {**machine(), "training": training, "epochs": epochs, "seed": seed,
                              "object_covers": share, "rows": rows})  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_script(main, "cmag.loss_gradients"))
