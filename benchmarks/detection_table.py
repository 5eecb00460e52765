"""Re-measure the design's table: statistics of TaintRadar against crafted patches, on photographs of a folder.

    python -m benchmarks.detection_table --model ../shared/data/models/mobilenet_v2_imagenet.onnx \
        --images ../shared/data/imagenet --target toaster --json docs/results/detection_table.json

The photographs are split three ways by a seed: one part to craft the patches on, and what the model gets right of the
rest to calibrate (benign), to hold out (benign) and to attack. Thresholds come from the calibrating part alone; the
false-positive rate is measured on the held-out part, the true-positive rate on successful attacks.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taintwatch.sources.images import read_image
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.physical import Pattern, craft_patterns, label_pictures, normaliser
from taintwatch_calibration.craft.placement import Placement, apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_calibration.machine import machine
from taintwatch_calibration.rates import area_under_roc, operating_point
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.calibration_file import Calibration, PaperCalibration, TightCalibration
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_source import describe
from taintwatch_models.onnx_classifier import OnnxRadar
from taintwatch_models.preprocessing import read_labels
from taintwatch_models.torch_graph import TorchGraph

MASK = shape_mask("square", 96)[None]


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
        return Row(
            f"threshold {threshold}, {fill} fill",
            "tight",
            Calibration(tight=replace(tight, saliency_threshold=threshold, fill=fill)),
            both,
        )

    def papers(fill: str) -> Row:
        return Row(
            f"the paper's K=9, {fill} fill", "paper", Calibration(paper=replace(paper, fill=fill)), ("paper_rank",)
        )

    return [papers("noise"), papers("mean"), tights(0.15, "noise"), tights(0.6, "mean"), tights(0.6, "inpaint"),
            tights(0.7, "inpaint"), tights(0.8, "mean"), tights(0.8, "blur"), tights(0.8, "inpaint")]  # fmt: skip


def read_photographs(folder: Path, side: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return centre crops, (N, side, side, 3) RGB uint8, and their labels."""
    pictures, labels = [], []
    with (folder / "labels.csv").open(newline="") as stream:
        for line in csv.DictReader(stream):
            image = read_image(folder / line["file"])
            top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            pictures.append(image[top : top + side, left : left + side, ::-1])
            labels.append(int(line["class_index"]))
    return np.stack(pictures), np.array(labels)


def statistics(radar: OnnxRadar, inputs: NDArray[np.float32], names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
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
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of images with a labels.csv")
    parser.add_argument("--labels", type=Path, help="class names; default: imagenet_labels.json beside the model")
    parser.add_argument("--target", default="toaster", help="class name or index that the patches show")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="only so many photographs (for a quick look)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--patches", type=Path, help="folder that keeps the patches between runs")
    options = parser.parse_args()
    prepared = prepare(options.model, describe(options.model, None, None))
    preprocessing, info = prepared.radar.info.preprocessing, prepared.radar.info
    names = read_labels(options.labels or options.model.with_name("imagenet_labels.json"))
    target = int(options.target) if options.target.isdigit() else names.index(options.target)
    pictures, truth = read_photographs(options.images, preprocessing.size[0])
    if options.limit:
        pictures, truth = pictures[: options.limit], truth[: options.limit]
    order = np.random.default_rng(options.seed).permutation(len(pictures))
    crafting, rest = order[: len(order) // 5], order[len(order) // 5 :]
    plain = OnnxRadar(prepared.radar, ())
    inputs = preprocessing.normalise(pictures)
    said = np.concatenate([plain(inputs[i : i + 16])["label"] for i in range(0, len(inputs), 16)])
    rest = rest[(said[rest] == truth[rest]) & (truth[rest] != target)]
    calibrate, held, test_images = np.array_split(rest, 3)
    print(f"{info.name}: {np.mean(said == truth):.1%} right; {len(crafting)} photographs to craft on, "
          f"{len(calibrate)} to calibrate, {len(held)} held out, {len(test_images)} to attack", flush=True)  # fmt: skip
    model = TorchGraph(prepared.plain, prepared.split)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    recipes = {
        "single size 0.35": ((0.35,), options.seed),
        "sizes 0.25-0.45": ((0.25, 0.3, 0.35, 0.4, 0.45), 2),
    }
    attacked: dict[str, NDArray[np.float32]] = {}
    patches: dict[str, Any] = {}
    for name, (sizes, seed) in recipes.items():
        pattern = Pattern(target, Placement(sizes=sizes))
        schedule = Schedule(options.iterations, 0.05, "adam", decay="none", box="sigmoid", seed=seed)
        patch = _patch(model, pixels[crafting], preprocessing, (pattern, schedule), name, options.patches)
        generator = torch.Generator().manual_seed(1000 + seed)
        images, _ = apply_patterns(pixels[test_images], patch[None], MASK, pattern.placement, generator)
        batch = normaliser(preprocessing)(images).numpy()
        fooled = np.concatenate([plain(batch[i : i + 16])["label"] for i in range(0, len(batch), 16)]) == target
        attacked[name] = batch[fooled]
        patches[name] = {
            "target": target,
            "sizes": sizes,
            **asdict(schedule),
            "attempts": len(fooled),
            "successes": int(fooled.sum()),
        }
        print(f"patch {name}: {fooled.mean():.1%} of {len(fooled)} placements succeed", flush=True)
    table = []
    for row in rows():
        radar = OnnxRadar(prepared.radar, (row.variant,), row.calibration)
        benign = {
            k: statistics(radar, inputs[v], row.statistics) for k, v in (("calibrate", calibrate), ("held", held))
        }
        for name, batch in attacked.items():
            found = statistics(radar, batch, row.statistics)
            for statistic in row.statistics:
                line: dict[str, Any] = {"settings": row.name, "statistic": statistic, "patch": name}
                scores = (benign["calibrate"][statistic], benign["held"][statistic], found[statistic])
                line["auc"] = area_under_roc(np.concatenate(scores[:2]), scores[2])
                for target_fpr in (0.06, 0.02):
                    line[f"at_{target_fpr:.0%}"] = asdict(operating_point(*scores, target_fpr))
                table.append(line)
        _print(table, row)
    if options.json:
        document = {
            "model": info.name,
            "model_sha256": info.source_sha256,
            "seed": options.seed,
            "target": target,
            "patches": patches,
            **machine(),
            "rows": table,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n")


def _patch(
    model: TorchGraph, pixels: Tensor, preprocessing: Any, recipe: tuple[Pattern, Schedule], name: str,
    folder: Path | None,
) -> Tensor:  # fmt: skip
    # the file's name holds the budget, so that a patch of another one is never taken for this
    kept = folder / f"{name.replace(' ', '_')}_{recipe[1].iterations}_{recipe[1].seed}.pt" if folder else None
    if kept is not None and kept.is_file():
        loaded: Tensor = torch.load(kept, weights_only=True)
        return loaded
    start = time.monotonic()

    def report(step: Step) -> None:
        if step.iteration % 25 == 0:
            total = recipe[1].iterations
            left = (time.monotonic() - start) / step.iteration * (total - step.iteration)
            print(f"  {name}: {step.iteration}/{total} loss {step.loss:.2f} fooled {step.success:.0%}, "
                  f"{left:.0f} s left", file=sys.stderr, flush=True)  # fmt: skip

    pictures = label_pictures(model, pixels, preprocessing)
    patch = craft_patterns(model, pictures, preprocessing, MASK, *recipe, report=report)[0]
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(patch, kept)
    return patch


def _print(table: list[dict[str, Any]], row: Row) -> None:
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


if __name__ == "__main__":
    main()
