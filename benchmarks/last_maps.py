"""Which value of a network shows best where its label rests: the choice of last maps, measured.

    python -m benchmarks.last_maps --data ../shared/data --work build/bench --json docs/results/last_maps.json

A transformer's region map may be read from the tokens of any of its last blocks: of the residual stream, or behind the
norm that the block's attention reads. For each, patches of `python -m benchmarks.detection` (which crafts them) are
shown on test pictures. Measured where they succeed: the overlap (IoU) of `tight`'s mask with the patch, at two saliency
thresholds; the share of the mask that lies on the patch; the area under the ROC curve of the margin swing against
benign pictures, and the share of attacks whose swing exceeds that of 98% of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.attacks import SIZES
from benchmarks.detection.networks import Network, load_network
from benchmarks.makers.library import Patch, patches_of
from benchmarks.makers.placement import apply_at, random_placement
from taintwatch_calibration.machine import machine
from taintwatch_models.fills import mean_fill, noise_fill
from taintwatch_models.graph.grid import Grid, GridFinder
from taintwatch_models.graph.plain_model import PlainModel, plain_model
from taintwatch_models.graph.radar import build_radar
from taintwatch_models.graph.split import find_split, split_at
from taintwatch_models.model_source import read_source
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import attach
from taintwatch_models.storage import write_atomically

__all__ = ["Choice", "choices", "measure"]

_THRESHOLDS = (0.5, 0.8)
_ON_CPU = SessionSettings(device="cpu", threads=1)

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """One value that the maps may be."""

    name: str
    """Of the value in the graph."""
    layers_behind: int
    """Learnt layers (convolutions, products with weights) that the gradient crosses from the logits."""
    grid: Grid
    default: bool


def choices(model: PlainModel, most: int = 5) -> list[Choice]:
    """Return the last values of a network that all goes through (or all but a block's skip), nearest the logits first.

    Those alone that lie behind a sum or a norm: what a block gives, and what its layers read.
    """
    finder, default = GridFinder(model), find_split(model)[1].layer
    grid = finder.last_grid()
    shape, found, behind = model.shapes[grid.value], list[Choice](), 0
    chosen = finder.before_attention(grid) if finder.reads_one_token(grid) else grid
    for place in reversed(range(len(finder.nodes))):
        node = finder.nodes[place]
        value, alive = node.output[0], finder.alive[place]
        whole = alive == {value} and node.op_type == "Add"
        normed = len(alive) == 2 and value in alive and node.op_type == "LayerNormalization"
        if model.shapes.get(value) == shape and (whole or normed):
            found.append(Choice(value, behind, replace(chosen, value=value), value == default))
        behind += node.op_type in ("Conv", "Gemm", "MatMul") and any(i in model.constants for i in node.input[1:2])
    return found[:most]


def _radar(network: Network, choice: Choice) -> OnnxRadar:
    """Prepare a network with its maps at one choice."""
    if network.path is None:
        raise ValueError("the bundled network's graph is prepared already")
    plain, split = split_at(plain_model(read_source(network.path)), choice.grid)
    info = network.radar.info
    fills = {
        "tight": mean_fill(info.preprocessing),
        "paper": noise_fill(info.preprocessing, np.random.default_rng(0)),
    }
    file = attach(
        build_radar(plain, split, fills),
        replace(info, maps=split.maps, channels=split.channels, cells=(split.height, split.width)),
    )
    return OnnxRadar(file, ("tight",), session=_ON_CPU)


def _attacks(
    network: Network, patches: Mapping[str, Patch], pictures_of_each: int, successes: int
) -> Iterator[tuple[NDArray[np.uint8], Masks]]:
    """Yield the pictures that each patch at each size succeeds on, (n, H, W, 3), and where it lies, (n, H, W)."""
    for index, (_, patch) in enumerate(sorted(patches.items())):
        for size in SIZES:
            rng = np.random.default_rng([0, index, round(100 * size)])
            test = network.test[:pictures_of_each]
            places = [random_placement(test, size, rng) for _ in test]
            pictures = apply_at(test, patch.pixels, places)
            rows = np.flatnonzero(network.labels_of(pictures) == patch.target)[:successes]
            if len(rows):
                white = np.full((8, 8, 3), 255, np.uint8)
                covered = apply_at(np.zeros_like(pictures[rows]), white, [places[row] for row in rows])
                yield pictures[rows], covered[..., 0] > 127


def measure(
    network: Network, patches: Mapping[str, Patch], *, benign: int, shown_on: int, successes: int
) -> list[dict[str, Any]]:
    """Return one row for each choice of maps, JSON-ready."""
    if network.path is None:
        return []
    shown = list(_attacks(network, patches, shown_on, successes))
    pictures = np.concatenate([pair[0] for pair in shown])
    covered = np.concatenate([pair[1] for pair in shown])
    normalise = network.radar.info.preprocessing.normalise
    attacked, quiet = normalise(pictures), normalise(network.held_out[:benign])
    rows = []
    for choice in choices(plain_model(read_source(network.path))):
        radar = _radar(network, choice)
        calm = _run(radar, quiet, 0.8)[1]
        found = {t: _run(radar, attacked, t) for t in _THRESHOLDS}
        masks, swings = found[0.8]
        row: dict[str, Any] = {
            "network": network.name, "maps": choice.name, "chosen": choice.default,
            "layers_behind": choice.layers_behind, "attacks": len(pictures), "benign": len(calm),
            "tpr_at_2_percent": round(float((swings > np.quantile(calm, 0.98)).mean()), 3),
            "auc": round(float((swings[:, None] > calm[None]).mean()), 3),
            "mask_on_patch": round(float(((masks & covered).sum((1, 2)) / masks.sum((1, 2)).clip(1)).mean()), 3),
        }  # fmt: skip
        row |= {f"iou_{t}": round(float(_overlap(found[t][0], covered).mean()), 3) for t in _THRESHOLDS}
        rows.append(row)
        print(row, flush=True)
    return rows


def _no_pictures() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64)  # nothing is crafted here


def _run(radar: OnnxRadar, inputs: NDArray[np.float32], threshold: float) -> tuple[Masks, NDArray[np.float64]]:
    """Masks (N, H, W) and margin swings (N,)."""
    given = np.array(threshold, np.float32)
    parts = [radar(inputs[start : start + 16], tight_saliency_threshold=given) for start in range(0, len(inputs), 16)]
    return np.concatenate([p["tight_mask"] for p in parts]), np.concatenate([p["tight_swing"] for p in parts])


def _overlap(masks: Masks, covered: Masks) -> NDArray[np.float64]:
    both, either = (masks & covered).sum((1, 2)), (masks | covered).sum((1, 2))
    return np.asarray(both / np.maximum(either, 1))


def main() -> None:
    """Measure the networks that are named, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["vit", "convnext"])
    parser.add_argument("--data", type=Path, required=True, help="the measuring data's folder")
    parser.add_argument("--work", type=Path, required=True, help="the folder of the detection bench")
    parser.add_argument("--json", type=Path, default=Path("last_maps.json"))
    parser.add_argument("--shown-on", type=int, default=40, help="test pictures that each patch is shown on")
    parser.add_argument("--successes", type=int, default=4, help="successes of each patch at each size that count")
    parser.add_argument("--benign", type=int, default=150, help="benign pictures")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.networks:
        network = load_network(name, options.data, options.work, report=print)
        patches = patches_of(
            name, network.radar, _no_pictures, network.targets, options.work / "patches", print, craft=False,
            device="cpu",
        )  # fmt: skip
        rows += measure(network, patches, benign=options.benign, shown_on=options.shown_on, successes=options.successes)
        write_atomically(options.json, (json.dumps({**machine(), "rows": rows}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
