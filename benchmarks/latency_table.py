"""What the checks cost on ten architectures: `python -m benchmarks.latency` for each, a table and curves.

    python -m benchmarks.latency_table [--json docs/results/latency.json] [--only NAME]

Networks are torchvision's with random weights, exported with a dynamic batch at 224 x 224 pixels; any ONNX files can be
measured with them (--models). Ratios are those of processor time on one thread. A run goes on where an earlier one
stopped. Beside the JSON stand the curves, as SVG and PNG.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch
import torchvision

from benchmarks.architectures.exports import EXPORTERS
from benchmarks.architectures.torch_networks import TorchNetwork, lively
from benchmarks.latency import FOOTAGE, measure_model
from benchmarks.scripts import run_main
from benchmarks.speed.latency_picture import draw
from benchmarks.speed.ratios import CHECKS
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.model_files import ModelSettings, SecondLookLimits

__all__ = ["main", "table"]

CLASSES = 20
NETWORKS = (
    "resnet18", "resnet50", "densenet121", "googlenet", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0",
    "squeezenet1_1", "regnet_y_400mf", "convnext_tiny",
)  # fmt: skip


def _networks(side: int) -> Iterator[TorchNetwork]:
    for name in NETWORKS:
        more: dict[str, Any] = {"init_weights": True} if name == "googlenet" else {}
        make = partial(torchvision.models.get_model, name, weights=None, num_classes=CLASSES, **more)
        yield TorchNetwork("torchvision", name, side, make)


def table(rows: Sequence[dict[str, Any]], batch: int) -> str:
    """Return a Markdown table of the ratios to the best plain forward at one batch size, with their quartiles."""
    lines = [
        f"| batch {batch} | ms | file's forward | " + " | ".join(f"`{name}`" for name in CHECKS) + " |",
        "|---|---|---|" + "---|" * len(CHECKS),
    ]
    for row in rows:
        found = row["cpu"][f"batch{batch}"]
        file = found.get("plain_file_ms")
        cells = [f"{row['name']}, {row['input'][0]} px", f"{found['plain_best_ms']:.2f}"]
        cells.append("" if file is None else f"{file / found['plain_best_ms']:.2f} x")
        for name in CHECKS:
            low, high = found[name]["ratio_best_quartiles"]
            cells.append(f"{found[name]['ratio_best']:.2f} ({low:.2f} to {high:.2f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("docs/results/latency.json"))
    parser.add_argument("--only", help="networks whose name contains this")
    parser.add_argument("--models", nargs="*", default=(), help="ONNX files that are measured too; `bundled`: ours")
    parser.add_argument("--side", type=int, default=224, help="pixels of the torchvision networks' input")
    parser.add_argument("--footage", type=Path, default=FOOTAGE)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--share", type=float, default=SecondLookLimits().share)
    parser.add_argument("--draw", action="store_true", help="only draw and print what was measured")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not in the file yet; write it after each network, draw, and print the tables."""
    options = _options(arguments)
    options.gated = False
    ort.set_default_logger_severity(4)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = json.loads(options.json.read_text())["rows"] if options.json.is_file() else []
    if not options.draw:
        for name, found in _rows(options, {row["name"] for row in rows}):
            rows.append({"name": name, **found})
            document = {**machine(), "rows": rows}
            write_json(options.json, document)
    if rows:
        draw(options.json, {"rows": rows})
        print("\n\n".join(table(rows, batch) for batch in (1, 4, 16)))


def _rows(options: argparse.Namespace, done: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for model in options.models:
        name = Path(model).stem
        if name not in done:
            yield name, _measure(ModelSettings(path=None if model == "bundled" else model), options, name)
    for network in _networks(options.side):
        if network.name in done or (options.only and options.only not in network.name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{network.name}.onnx"
            EXPORTERS["legacy"](lively(network), options.side, path)
            yield network.name, _measure(ModelSettings(path=str(path)), options, network.name)


def _measure(settings: ModelSettings, options: argparse.Namespace, name: str) -> dict[str, Any]:
    print(f"{name}, load {os.getloadavg()[0]:.1f}", flush=True)
    return measure_model(settings, options)


if __name__ == "__main__":
    sys.exit(run_main(main, "latency_table"))
