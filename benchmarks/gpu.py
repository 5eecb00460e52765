"""What a GPU makes of the checks, on large networks: each provider and precision, against targets. See gpu.sh.

    python -m benchmarks.gpu --json docs/results/gpu.json --table docs/results/gpu.md
    python -m benchmarks.gpu --dry-run

VGG16 and ResNet50 have random weights, which is enough for time. Every way of running is compared with the CPU's
labels and masks first. What fails, or is not measured for want of time, is a sentence in the table. The exit status is
0 only where everything was measured and every target was met.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.scripts import run_main
from benchmarks.speed.timing import interleaved, percentiles
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.errors import TaintwatchError
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.graph.verification import check_inputs
from taintwatch_models.model_description import describe
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, gpu_present
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.storage import write_atomically

__all__ = ["TARGETS", "Way", "main", "ways"]

TARGETS = {"tight_ms": 3.0, "paper_ms": 5.0, "frames_per_second": 2000.0}
"""Median at batch 1 of the fastest way, and checked frames (`tight`) a second at batch 32."""
PAPER = "TaintRadar's authors: 79 ms a frame, VGG16 on an RTX 2080 Ti (INFOCOM 2021)"
_CUDA, _TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
_LARGEST = 32


@dataclass(frozen=True, slots=True)
class Way:
    """One way of running a network."""

    name: str
    session: SessionSettings


def ways(*, dry: bool) -> tuple[Way, ...]:
    """Return the ways to measure, the most wanted first. All go through IO binding, as they do in use.

    `dry`: on the CPU, which has no graphs to record; its pixels are normalised in the graph as on a GPU.
    """
    if dry:
        plain = SessionSettings(device="cpu", threads=1)
        bound = replace(plain, bound=True, pixels=True)
        return Way("CPU, float32", plain), Way("CPU, float32, bound", bound), Way("CPU, float16", replace(
            bound, precision="float16"
        ))  # fmt: skip
    cuda = SessionSettings(device="cuda", require_device=True)
    tensorrt = SessionSettings(providers=(_TENSORRT, _CUDA), require_device=True, precision="float16")
    half = replace(cuda, precision="float16")
    return (
        Way("CUDA, float32", cuda),
        Way("CUDA, float16, graph", replace(half, cuda_graph=True)),
        Way("TensorRT, float16, graph", replace(tensorrt, cuda_graph=True)),
        Way("CUDA, float32, graph", replace(cuda, cuda_graph=True)),
        Way("CUDA, float16", half),
        Way("TensorRT, float16", tensorrt),
    )


def export(name: str, side: int, folder: Path) -> Path:
    """Export a torchvision network with random weights, with a dynamic batch."""
    import torch
    import torchvision

    from benchmarks.architectures.exports import EXPORTERS

    torch.manual_seed(0)
    path = folder / f"{name}.onnx"
    EXPORTERS["legacy"](torchvision.models.get_model(name, weights=None).eval(), side, path)
    return path


def measure(radar: RadarFile, way: Way, rounds: int, largest: int) -> dict[str, Any]:
    """Compare a way with the CPU, and time it; JSON-ready. Raises `TaintwatchError`."""
    found: dict[str, Any] = {"labels_agree": _agreement(radar, way)}
    for batch in (1, largest):
        session = replace(way.session, batch=batch)
        pixels = np.random.default_rng(0).integers(0, 256, (batch, *radar.info.preprocessing.size, 3), np.uint8)
        names = {"plain": (), "tight": ("tight",), "paper": ("paper",)}
        calls = {name: _call(OnnxRadar(radar, variants, session=session), pixels) for name, variants in names.items()}
        times = interleaved(calls, rounds)
        found[f"batch{batch}"] = {name: percentiles(values) for name, values in times.items()}
        found[f"batch{batch}"]["frames_per_second"] = round(1e3 * batch / float(np.median(times["tight"])), 1)
    return found


def _call(radar: OnnxRadar, pixels: NDArray[np.uint8]) -> Callable[[], Any]:
    inputs = pixels if radar.takes_pixels else radar.info.preprocessing.normalise(pixels)
    return lambda: radar(inputs)


def _agreement(radar: RadarFile, way: Way) -> float:
    """Return the share of eight pictures to which it gives the CPU's label, one at a time."""
    pixels = np.clip((check_inputs(radar.info.preprocessing, 8) + 1) * 127.5, 0, 255).astype(np.uint8)
    pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    expected = OnnxRadar(radar, ("tight",), session=SessionSettings(device="cpu"))
    given = OnnxRadar(radar, ("tight",), session=replace(way.session, batch=1))
    same = [_call(given, one[None])()["label"][0] == _call(expected, one[None])()["label"][0] for one in pixels]
    return float(np.mean(same))


def run(
    models: Sequence[Path], *, dry: bool, minutes: float, rounds: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[dict[str, Any]]:
    """Yield a row for each model and way; one that failed, or for which no time was left, says so as `failure`."""
    end = clock() + 60 * minutes
    for model in models:
        radar, refused = None, ""
        try:
            radar = prepare(model, describe(model)).radar
        except TaintwatchError as error:
            refused = str(error)
        for way in ways(dry=dry):
            row: dict[str, Any] = {"model": model.stem, "way": way.name}
            if radar is None:
                row["failure"] = refused
            elif clock() > end:
                row["failure"] = "not measured: no time was left"
            else:
                try:
                    row |= measure(radar, way, rounds, _LARGEST if not dry else 2)
                except TaintwatchError as error:
                    row["failure"] = str(error)
            yield row


def verdicts(rows: Sequence[dict[str, Any]], largest: int) -> dict[str, dict[str, Any]]:
    """Return for each model its best figures beside the targets, and whether they are met."""
    found: dict[str, dict[str, Any]] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model and "failure" not in row]
        if not own:
            found[model] = dict.fromkeys(TARGETS) | {"met": False}
            continue
        best = {
            "tight_ms": min(row["batch1"]["tight"]["p50"] for row in own),
            "paper_ms": min(row["batch1"]["paper"]["p50"] for row in own),
            "frames_per_second": max(row[f"batch{largest}"]["frames_per_second"] for row in own),
        }
        met = all(best[name] <= TARGETS[name] for name in ("tight_ms", "paper_ms"))
        found[model] = {**best, "met": met and best["frames_per_second"] >= TARGETS["frames_per_second"]}
    return found


def table(rows: Sequence[dict[str, Any]], largest: int) -> str:
    """Return a Markdown table: medians in milliseconds at batch 1, and checked frames a second."""
    lines = [
        f"| network | way | plain | `tight` | `paper`, K = 9 | `tight` at batch {largest} |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        start = f"| {row['model']} | {row['way']} | "
        if "failure" in row:
            lines.append(f"{start}{row['failure']} | | | |")
            continue
        one = row["batch1"]
        cells = [f"{one[name]['p50']:.2f} ms" for name in ("plain", "tight", "paper")]
        lines.append(f"{start}{' | '.join(cells)} | {row[f'batch{largest}']['frames_per_second']:.0f} frames/s |")
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="*", type=Path, help="ONNX files; default: VGG16 and ResNet50, random weights"
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=7.0, help="no way is begun after so long")
    parser.add_argument("--dry-run", action="store_true", help="go through all steps on the CPU with a small network")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit status."""
    options = _options(arguments)
    if not options.dry_run and not gpu_present():
        print("gpu: this machine shows no NVIDIA GPU; run it where there is one, or try --dry-run", file=sys.stderr)
        return 2
    ort.set_default_logger_severity(4)
    dry, largest, rows = options.dry_run, 2 if options.dry_run else _LARGEST, []
    with tempfile.TemporaryDirectory() as folder:
        models = options.models
        if not models:
            wanted = [("squeezenet1_1", 64)] if dry else [("vgg16", 224), ("resnet50", 224)]
            models = [export(name, side, Path(folder)) for name, side in wanted]
        for row in run(models, dry=dry, minutes=options.minutes, rounds=2 if dry else options.rounds):
            rows.append(row)
            print(table([row], largest).splitlines()[-1], flush=True)
            _write(options, rows, largest)
    found = verdicts(rows, largest)
    for model, best in found.items():
        print(f"{model}: {best}; targets {TARGETS}; {PAPER}")
    if dry:
        return int(any("failure" in row for row in rows))
    return int(any("failure" in row for row in rows) or not all(best["met"] for best in found.values()))


def _write(options: argparse.Namespace, rows: Sequence[dict[str, Any]], largest: int) -> None:
    """Write what there is so far: a run that is cut short leaves it."""
    document = {
        **machine(), "dry_run": options.dry_run, "targets": TARGETS, "paper": PAPER,
        "models": verdicts(rows, largest), "rows": rows,
    }  # fmt: skip
    if options.json is not None:
        write_json(options.json, document)
    if options.table is not None:
        write_atomically(options.table, (table(rows, largest) + "\n").encode())


if __name__ == "__main__":
    sys.exit(run_main(main, "gpu"))
