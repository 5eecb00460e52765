"""`taintwatch trial grid`: TaintRadar's Table II for any prepared model."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from taintwatch_calibration.progress import bars
from taintwatch_models.errors import UsageError

__all__ = ["grid"]

_PATCHES = (".npy", ".png")


@click.command()
@click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model.")
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of labelled pictures.")
@click.option("--labels", type=click.Path(path_type=Path), help="CSV (file, class_index); default: IMAGES/labels.csv.")
@click.option("--class-names", help="The model's class names: a JSON list or a text file.")
@click.option("--preprocessing", help="The model's TOML; default: the one beside it.")
@click.option("--target", default="toaster", show_default=True, help="Class that the patches show, name or index.")
@click.option("--attack", type=click.Choice(["patch"]), default="patch", show_default=True, help="Craft this attack.")
@click.option("--patches", type=click.Path(path_type=Path), help="Ready-made ones: a folder (PNG, NPY), or "
              "ImageNet-Patch's patches.gz, of which those for --target are shown.")  # fmt: skip
@click.option("--fpr", "target_fpr", multiple=True, type=float, default=(0.06, 0.02), show_default=True,
              help="Target false-positive rates; the first is the table's.")  # fmt: skip
@click.option("--iterations", default=300, show_default=True, type=click.IntRange(min=1), help="Steps for each patch.")
@click.option(
    "--placements", default=1, show_default=True, type=click.IntRange(min=1), help="Attacks on each test image."
)
@click.option("--cmag", type=click.Path(path_type=Path), help="CMAG's reconstructors, to judge by them too.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder that is resumed.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Also write the table here.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Also write it as Markdown here.")
@click.option("--seed", default=0, show_default=True, help="Seed of the split, the patches and the places.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="CPU threads.")
def grid(
    model: str | None,
    images: Path,
    labels: Path | None,
    class_names: str | None,
    preprocessing: str | None,
    target: str,
    attack: str,
    patches: Path | None,
    target_fpr: tuple[float, ...],
    iterations: int,
    placements: int,
    cmag: Path | None,
    out: Path,
    document: Path | None,
    markdown: Path | None,
    seed: int,
    device: str,
    threads: int,
) -> None:
    """Craft patches over batch sizes, sizes and places, show them on pictures, and judge what succeeds.

    36 cells: batch size 1, 4, 16; crafted at a single size or at several; shown at 0.2, 0.3, 0.4 of the side; in the
    bottom right corner or anywhere. The pictures that the model gets right are split four ways: to craft on, to choose
    thresholds with, to measure false alarms on, to attack. Interrupted, it goes on where it was.
    """
    import torch

    from taintwatch_calibration.bench.cache import Cache
    from taintwatch_calibration.bench.detection import check_rates
    from taintwatch_calibration.bench.detectors import PLAIN, calibrate_detectors
    from taintwatch_calibration.bench.grid_table import grid_table
    from taintwatch_calibration.bench.imagenet_patch import write_patches
    from taintwatch_calibration.bench.patch_grid import Grid, GridOptions
    from taintwatch_calibration.bench.split import split
    from taintwatch_calibration.bench.subjects import Subject
    from taintwatch_calibration.craft.materials import find_label, load_classifier, pick_device, read_pictures
    from taintwatch_calibration.results import write_json, write_text
    from taintwatch_calibration.torch_tuning import keep_freed_memory
    from taintwatch_models.cmag.file import read_cmag

    check_rates(target_fpr)
    ready = [] if patches is not None and patches.suffix == ".gz" else _ready_made(patches)
    started = time.monotonic()
    torch.set_num_threads(threads)
    keep_freed_memory()
    console = Console(stderr=True)
    radar = load_classifier(model, preprocessing, class_names)
    reconstructors = read_cmag(cmag, radar.info) if cmag is not None else None
    label = find_label(target, radar.info.labels)
    if patches is not None and patches.suffix == ".gz":
        ready = write_patches(patches, label, radar.info.labels, out / "patches")
    pictures = read_pictures(images, radar, labels)
    parts = split(pictures, label, seed)
    console.print(
        f"{radar.info.name}: {len(pictures)} pictures right, {pictures.wrong} wrong and skipped; {len(parts.craft)} to "
        f"craft on, {len(parts.calibrate)} to calibrate, {len(parts.held_out)} held out, "
        f"{len(parts.test_images)} to attack"
    )
    subject = Subject(radar.info.name, radar, parts, label)
    detectors = calibrate_detectors(
        subject, max(target_fpr), Cache(out), names=PLAIN, cmag=reconstructors, threads=threads, progress=console.print
    )
    options = GridOptions(label, iterations, placements, seed, pick_device(device))
    records = _records(Grid(subject, detectors, options, target_fpr, out), ready, console)
    names = list(detectors.held_out)
    result = _document(subject, options, detectors, pictures, records, target_fpr, time.monotonic() - started)
    for path in (out / "grid.json", *([document] if document else [])):
        write_json(path, result)
    if markdown is not None:
        write_text(markdown, grid_table(result["cells"], names))
    _show(Console(), records, names, target_fpr[0])
    click.echo(f"written to {document or out / 'grid.json'}")


def _ready_made(folder: Path | None) -> list[Path]:
    """Return the patches in a folder. Raises `UsageError` where there is none."""
    if folder is None:
        return []
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in _PATCHES) if folder.is_dir() else []
    if not found:
        raise UsageError(f"--patches {folder}: no such folder, or no PNG or NPY file in it")
    return found


def _records(grid: Any, ready: list[Path], console: Console) -> list[dict[str, Any]]:
    from taintwatch_calibration.bench.patch_grid import PATCH_SIZES, Cell, all_cells

    jobs: list[tuple[Path | None, Cell]] = [(None, cell) for cell in all_cells()]
    if ready:
        shown = [Cell(0, "ready", size, place) for place in ("bottom-right", "random") for size in PATCH_SIZES]
        jobs = [(path, cell) for path in ready for cell in shown]
    records = []
    with bars(console) as bar:
        task = bar.add_task("cells", total=len(jobs))
        for path, cell in jobs:
            name = (
                f"{path.name if path else f'batch {cell.batch_size} {cell.sizes}'} {cell.patch_size:g} {cell.position}"
            )

            def on_step(step: Any, name: str = name) -> None:
                text = f"{name}: step {step.iteration}, loss {step.loss:.2f}, success {step.success:.0%}"
                bar.update(task, description=text)

            bar.update(task, description=name)
            record = grid.ready_made(path, cell) if path is not None else grid.cell(cell, on_step)
            records.append(record)
            bar.update(task, advance=1)
            if not console.is_terminal:
                console.print(f"{name}: {record['successes']} of {record['attempts']} succeed")
    return records


def _document(
    subject: Any, options: Any, detectors: Any, pictures: Any, records: list[dict[str, Any]],
    target_fpr: tuple[float, ...], seconds: float,
) -> dict[str, Any]:  # fmt: skip
    from taintwatch_calibration.bench.grid_table import grid_rows
    from taintwatch_calibration.bench.patch_grid import MULTIPLE, RESOLUTION, ROTATION_DEGREES
    from taintwatch_calibration.machine import machine

    info, chosen = subject.radar.info, detectors.calibration
    return {
        **machine(),
        "model": info.name,
        "model_sha256": info.source_sha256,
        "options": {**asdict(options), "target_name": info.labels[options.target], "target_fpr": list(target_fpr)},
        "crafting": {"multiple_sizes": MULTIPLE, "resolution": RESOLUTION, "rotation_degrees": ROTATION_DEGREES},
        "calibration": {"tight": asdict(chosen.tight), "paper": asdict(chosen.paper)},
        "pictures": {
            "right": len(pictures), "wrong_skipped": pictures.wrong, "unreadable": pictures.unreadable,
            **subject.parts.counts,
        },
        "seconds_of_the_last_run": round(seconds, 1),
        "cells": grid_rows(records, list(detectors.held_out), target_fpr[0]),
    }  # fmt: skip


def _show(console: Console, records: list[dict[str, Any]], names: list[str], target_fpr: float) -> None:
    heads = [f"{name}: TPR (FPR)" for name in names]
    table = Table("patch", "size", "position", "success", *heads)
    for record in records:
        patch = record.get("patch") or f"batch {record['batch_size']}, {record['sizes']}"
        row = [patch, f"{record['patch_size']:g}", record["position"], f"{record['success_rate']:.1%}"]
        for name in names:
            found = record["detectors"].get(name)
            at = found["at"][f"{target_fpr:g}"] if found else None
            row.append(f"{at['tpr']:.3f} ({at['fpr']:.3f})" if at else "none succeeds")
        table.add_row(*row)
    console.print(table)
