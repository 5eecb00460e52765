"""Re-measure the design's table: statistics of TaintRadar against crafted patches, on photographs of a folder.

    python -m benchmarks.detection_table --model ../shared/data/models/mobilenet_v2_imagenet.onnx \
        --images ../shared/data/imagenet --target toaster --json docs/results/detection_table.json

The photographs are split by a seed: one part to craft the patches on, and what the model gets right of the rest to
calibrate (benign), to hold out (benign) and to attack. Thresholds come from the calibrating part alone; the
false-positive rate is measured on the held-out part, the true-positive rate on successful attacks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.photographs import PatchRecipe, Photographs, patch_recipes, split_photographs
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.bench.records import rates_of
from taintwatch_calibration.craft.materials import find_label
from taintwatch_calibration.craft.physical import normaliser
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.calibration_file import Calibration, PaperCalibration, TightCalibration
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import describe, read_labels
from taintwatch_models.onnx_radar import OnnxRadar

RATES = (0.06, 0.02)
Inputs = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One line of the table: a variant's settings, and the statistics that are read from it."""

    name: str
    variant: str
    calibration: Calibration
    statistics: tuple[str, ...]


def rows() -> list[Row]:
    tight, paper = TightCalibration(), PaperCalibration()
    both = ("tight_rank", "tight_margin", "tight_swing", "tight_half")

    def tights(threshold: float, fill: str) -> Row:
        settings = Calibration(tight=replace(tight, saliency_threshold=threshold, fill=fill))
        return Row(f"threshold {threshold}, {fill} fill", "tight", settings, both)

    def papers(fill: str) -> Row:
        settings = Calibration(paper=replace(paper, fill=fill))
        return Row(f"the paper's K=9, {fill} fill", "paper", settings, ("paper_rank",))

    return [papers("noise"), papers("mean"), tights(0.15, "noise"), tights(0.6, "mean"), tights(0.6, "inpaint"),
            tights(0.7, "inpaint"), tights(0.8, "mean"), tights(0.8, "blur"), tights(0.8, "inpaint")]  # fmt: skip


def statistics(radar: OnnxRadar, inputs: Inputs, names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Run all inputs; `tight_half` is the product's score, margin minus half of the margin before."""
    parts: dict[str, list[NDArray[Any]]] = {}
    for start in range(0, len(inputs), 16):
        outputs = dict(radar(inputs[start : start + 16]))
        if "tight_margin" in outputs:
            outputs["tight_half"] = (outputs["tight_margin"] + outputs["tight_swing"]) / 2
        for name in names:
            parts.setdefault(name, []).append(np.asarray(outputs[name], np.float64))
    return {name: np.concatenate(values) for name, values in parts.items()}


@denormals_flushed()
def attack(photographs: Photographs, recipe: PatchRecipe, cache: Cache) -> tuple[Inputs, dict[str, Any]]:
    """Return the model's inputs of the successful attacks, and what is said of the patch."""
    shown = photographs.show(recipe, photographs.patch(recipe, cache))
    inputs: Inputs = normaliser(photographs.radar.info.preprocessing)(shown).numpy()
    labels = [photographs.plain(inputs[start : start + 16])["label"] for start in range(0, len(inputs), 16)]
    fooled = np.concatenate(labels) == recipe.target
    print(f"patch {recipe.name}: {fooled.mean():.1%} of {len(fooled)} placements succeed", flush=True)
    about = {
        "target": recipe.target, "sizes": recipe.sizes, **asdict(recipe.schedule), "attempts": len(fooled),
        "successes": int(fooled.sum()),
    }  # fmt: skip
    return inputs[fooled], about


def measure(photographs: Photographs, row: Row, attacked: Mapping[str, Inputs]) -> list[dict[str, Any]]:
    """Return a line for each statistic of the row and each patch."""
    radar = OnnxRadar(photographs.radar, (row.variant,), row.calibration)
    normalise = photographs.radar.info.preprocessing.normalise
    calibrate, held_out = (
        statistics(radar, normalise(photographs.pixels[part]), row.statistics)
        for part in (photographs.calibrate, photographs.held_out)
    )
    lines = []
    for patch, inputs in attacked.items():
        rates = rates_of((calibrate, held_out), statistics(radar, inputs, row.statistics), RATES)
        for statistic, found in rates.items():
            line = {"settings": row.name, "statistic": statistic, "patch": patch, "auc": found["auc"]}
            lines.append({**line, **{f"at_{rate:.0%}": found["at"][f"{rate:g}"] for rate in RATES}})
    return lines


def _print(table: Sequence[Mapping[str, Any]], row: Row) -> None:
    for statistic in row.statistics:
        lines = [line for line in table if line["settings"] == row.name and line["statistic"] == statistic]
        six, two = ([line[key]["tpr"] for line in lines] for key in ("at_6%", "at_2%"))
        fpr = lines[0]["at_6%"]["fpr"], lines[0]["at_2%"]["fpr"]
        auc = [line["auc"] for line in lines]
        print(
            f"{row.name:32s} {statistic:13s} TPR at 6% {min(six):.2f} to {max(six):.2f} (held-out FPR {fpr[0]:.3f})  "
            f"at 2% {min(two):.2f} to {max(two):.2f} ({fpr[1]:.3f})  AUC {min(auc):.3f} to {max(auc):.3f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of images with a labels.csv")
    parser.add_argument("--labels", type=Path, help="class names; default: imagenet_labels.json beside the model")
    parser.add_argument("--target", default="toaster", help="class name or index that the patches show")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="only so many photographs (for a quick look)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--patches", type=Path, default=Path("build/detection_table"), help="keeps the patches")
    options = parser.parse_args(arguments)
    radar = prepare(options.model, describe(options.model)).radar
    target = find_label(options.target, read_labels(options.labels or options.model.with_name("imagenet_labels.json")))
    photographs = split_photographs(radar, options.images, target, seed=options.seed, limit=options.limit)
    print(f"{radar.info.name}: {photographs.accuracy:.1%} right; {len(photographs.craft)} photographs to craft on, "
          f"{len(photographs.calibrate)} to calibrate, {len(photographs.held_out)} held out, "
          f"{len(photographs.test_images)} to attack", flush=True)  # fmt: skip
    attacked, patches, table = {}, {}, []
    for recipe in patch_recipes(target, options.iterations, options.seed):
        attacked[recipe.name], patches[recipe.name] = attack(photographs, recipe, Cache(options.patches))
    for row in rows():
        table += measure(photographs, row, attacked)
        _print(table, row)
    if options.json:
        about = {"model": radar.info.name, "model_sha256": radar.info.source_sha256, "seed": options.seed}
        write_json(options.json, {**about, "target": target, "patches": patches, **machine(), "rows": table})


if __name__ == "__main__":
    main()
