"""Real exports of detectors, weights at random, read by the daemon's decoders: `python -m benchmarks.objects.layouts`.

What a library itself makes of a picture is compared with what the exported file gives by way of `ObjectFinder`, and
what ONNX Runtime gives with what `TorchDetector` does. Weights are random: this measures layouts, not detection.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.objects.detector_exports import EXPORTS, Export, settled
from benchmarks.scripts import run_script
from taintwatch_calibration.craft.object_attacks import class_scores
from taintwatch_calibration.machine import machine
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.objects.decoders import Decoded
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.torch_detector import TorchDetector
from taintwatch_models.storage import write_atomically

__all__ = ["compared_export", "layouts"]

_COMPARED = 10  # of the surest boxes


@click.command("layouts")
@click.option("--model", "chosen", multiple=True, type=click.Choice(list(EXPORTS)), help="Only this; repeat for more.")
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
def layouts(chosen: Sequence[str], out: Path | None, threads: int) -> None:
    """Export detectors of torchvision and transformers, and compare what is read of the files with what these say."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore")  # the exporters' own, of traced shapes
    rows = []
    for name in chosen or EXPORTS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"model": name} | compared_export(EXPORTS[name], Path(folder) / "model.onnx"))
        click.echo(str(rows[-1]), err=True)
    text = json.dumps({"models": rows, "machine": machine()}, indent=1)
    click.echo(text)
    if out is not None:
        write_atomically(out, (text + "\n").encode())


def compared_export(export: Export, path: Path) -> dict[str, Any]:
    """Export a random detector to `path`; return how far what is read of it is from what its library finds."""
    torch.manual_seed(0)
    model = settled(export.make(), export.side)
    labels = path.with_suffix(".json")
    labels.write_text(json.dumps(export.labels))
    picture = np.random.default_rng(0).integers(0, 256, (export.side, export.side, 3), np.uint8)
    export.write(model, path)
    finder = ObjectFinder(FinderSettings(str(path), str(labels), confidence=0.0, device="cpu", threads=1))
    inputs = finder.preprocessing([picture])
    outputs = finder.run(inputs)
    with torch.no_grad():
        expected = export.answer(model, torch.from_numpy(inputs))
    return {"decoder": finder.decoder} | _compared(finder.decode(outputs), expected) | _with_torch(finder, inputs)


def _compared(found: Decoded, expected: Decoded) -> dict[str, Any]:
    """Return how far the library's surest boxes are from the nearest that were read, with their labels; pixels, scores.

    Random weights give many boxes one score: their order says nothing.
    """
    apart = []
    for box, score, label in zip(*_surest(expected), strict=True):
        same = found.labels == label
        distances = np.abs(found.boxes[same] - box).max(1)
        scores = np.abs(found.scores[same] - score)
        nearest = int((distances + 1e3 * scores).argmin()) if len(distances) else -1
        apart.append((distances[nearest], scores[nearest]) if nearest >= 0 else (1e6, 1.0))
    worst = np.max(apart, axis=0) if apart else np.zeros(2)
    return {
        "boxes": len(expected.scores),
        "box_difference": round(float(worst[0]), 4),
        "score_difference": round(float(worst[1]), 6),
    }


def _surest(found: Decoded) -> Decoded:
    order = np.argsort(-found.scores, kind="stable")[:_COMPARED]
    return Decoded(found.boxes[order], found.scores[order], found.labels[order])


def _with_torch(finder: ObjectFinder, inputs: NDArray[np.float32]) -> dict[str, Any]:
    """Say whether attacks can be crafted, and how far Torch's outputs are from the runtime's, sorted each."""
    try:
        detector, given = TorchDetector(finder.proto), torch.from_numpy(inputs).requires_grad_()
        found = detector(given)
        scores = class_scores(found, finder.decoder)
    except TaintwatchError as error:
        return {"crafted_on": False, "reason": str(error)}
    (slope,) = torch.autograd.grad(scores.amax(), [given])
    expected = finder.run(inputs)
    worst = max(_apart(value, expected[name]) for name, value in found.items())
    return {"crafted_on": bool(slope.abs().max() > 0), "torch_difference": round(worst, 5)}


def _apart(value: Tensor, expected: NDArray[Any]) -> float:
    """Return the largest difference of the sorted values: queries of equal score may change places."""
    ours, theirs = np.sort(value.detach().numpy(), None), np.sort(expected, None)
    return float(np.abs(ours - theirs).max())


if __name__ == "__main__":
    sys.exit(run_script(layouts, "layouts"))
