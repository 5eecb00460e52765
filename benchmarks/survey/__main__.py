"""Measure the survey: `python -m benchmarks.survey --help`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.scripts import run_script
from benchmarks.survey.attacks import ATTACKS, WORN, Scale
from benchmarks.survey.cells import attack_cell, network_cell, stored_cells
from benchmarks.survey.detectors import DETECTORS, detector_cell
from benchmarks.survey.loading import SUBJECTS, load_subject
from benchmarks.survey.rows import ROWS
from benchmarks.survey.subject import Subject
from benchmarks.survey.summary import page
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json, write_text
from taintwatch_calibration.torch_tuning import denormals_flushed, keep_freed_memory
from taintwatch_models.errors import UsageError

__all__ = ["SQUARE", "command"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_DIGITAL = tuple(name for name, attack in ATTACKS.items() if attack.kind == "digital")
_PRINTED = tuple(name for name in ATTACKS if name not in _DIGITAL and name not in WORN)
_QUICK = ("combined", "tight", "lgs", "squeezing", "magnet", "watermarking", "patchguard", "sac")
_FEW_QUERIES = ("fgsm", "pgd", "cw", "mdi2_fgsm", "pbba")

SQUARE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "signs_vgg": ((*_PRINTED, *_DIGITAL), DETECTORS),
    "objects_14": (("adversarial_patch", "ps_gan", "bias_patch", "das", "pgd", "mdi2_fgsm"), _QUICK),
    "signs_robust": (("adversarial_patch", *_FEW_QUERIES), ("combined",)),
    "signs_denoising": (("adversarial_patch", *_FEW_QUERIES), ("combined",)),
    "signs_ensemble": (("adversarial_patch", *_FEW_QUERIES), ("combined",)),
    "faces": (WORN, ("combined", "tight", "paper", "lgs", "watermarking")),
}
"""The chosen square: all attacks and detectors on one network; on a second one, whose head pools globally, the attacks
that are printed and the detectors that are cheap; on the robust ones what they defend against; faces what is worn."""


@click.command()
@click.option("--data", default="../shared/data", show_default=True, type=_FOLDER, help="The measuring data.")
@click.option("--zoo", "zoo_folder", default="build/bench/zoo", show_default=True, type=_FOLDER,
              help="Folder of the networks; those that are missing are trained.")  # fmt: skip
@click.option("--network", "networks", multiple=True, help="Measure only these networks; default: all of the square.")
@click.option("--only", multiple=True, help="Only these attacks and detectors; detectors alone: on all attacks.")
@click.option("--pictures", default=40, show_default=True, type=click.IntRange(2), help="Pictures in each cell.")
@click.option("--steps", default=1.0, show_default=True, type=click.FloatRange(0, 10, min_open=True),
              help="Share of every attack's own steps.")  # fmt: skip
@click.option("--held-out", default=200, show_default=True, type=click.IntRange(8), help="Benign pictures for the FPR.")
@click.option("--seed", default=0, show_default=True, help="Seed of all random numbers.")
@click.option("--as-stored", is_flag=True, help="Judge the attacks in --work at whatever scale they have; make none.")
@click.option("--stored", is_flag=True, help="Measure nothing new: tables of what is in --work.")
@click.option("--keep", type=_FOLDER, help="Write printed patterns here, for `taintwatch print attack`.")
@click.option(
    "--work", default="build/survey", show_default=True, type=_FOLDER, help="Cells that are measured already."
)
@click.option("--json", "document", type=_FILE, help="Write all cells and rows here.")
@click.option("--markdown", type=_FILE, help="Write the tables here.")
def command(
    data: Path, zoo_folder: Path, networks: tuple[str, ...], only: tuple[str, ...], pictures: int, steps: float,
    held_out: int, seed: int, as_stored: bool, stored: bool, keep: Path | None, work: Path, document: Path | None,
    markdown: Path | None,
) -> None:  # fmt: skip
    """Attack the networks of the square in every way, judge all of it by every detector, and write the tables.

    What is measured is stored in --work: a stopped run goes on, and --only adds to what is there.
    """
    _check(networks, only)
    torch.set_num_threads(1)
    keep_freed_memory()
    scale, began = Scale(pictures, steps, seed), time.monotonic()

    def report(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s {line}", err=True)

    cells: dict[str, list[dict[str, Any]]] = {"networks": [], "attacks": [], "detectors": []}
    for name in networks or SQUARE:
        if stored:
            found = _stored(name, work)
        else:
            subject = load_subject(name, data, zoo_folder, seed=seed, report=report)
            found = _measure(subject, only, None if as_stored else scale, held_out, work, keep, report)
        for kind in cells:
            cells[kind] += found[kind]
    result = {
        **machine(), "pictures": pictures, "steps": steps, "held_out": held_out, "seed": seed, **cells,
        "rows": [asdict(row) for row in ROWS],
    }  # fmt: skip
    if document is not None:
        write_json(document, result)
    text = page(result)
    if markdown is not None:
        write_text(markdown, text)
    click.echo(text)


def _measure(
    subject: Subject,
    only: tuple[str, ...],
    scale: Scale | None,
    held_out: int,
    work: Path,
    keep: Path | None,
    report: Any,
) -> dict[str, list[dict[str, Any]]]:
    attacks, detectors = SQUARE[subject.name]
    named = [name for name in attacks if name in only]
    chosen = named or ([] if only and not set(only) & set(detectors) else list(attacks))
    found: dict[str, list[dict[str, Any]]] = {"networks": [network_cell(subject, work)], "attacks": [], "detectors": []}
    if scale is None:
        found["attacks"] = stored_cells(work / "attacks", subject.name, chosen)
        chosen = [cell["attack"] for cell in found["attacks"]]
    else:
        found["attacks"] = _attacked(subject, chosen, scale, work, keep, report)
    for name in detectors:
        if not only or name in only:
            found["detectors"].append(detector_cell(subject, name, chosen, held_out, work, report))
    return found


def _attacked(
    subject: Subject, names: list[str], scale: Scale, work: Path, keep: Path | None, report: Any
) -> list[dict[str, Any]]:
    cells = []
    with denormals_flushed():
        for name in names:
            report(f"{subject.name}: {name}")
            cells.append(attack_cell(subject, name, scale, work, keep=keep))
            success = cells[-1]["success"]
            report(f"{subject.name}: {name}: {success['count']} of {success['n']}")
    return cells


def _stored(name: str, work: Path) -> dict[str, list[dict[str, Any]]]:
    attacks, detectors = SQUARE[name]
    return {
        "networks": stored_cells(work / "networks", name, ()),
        "attacks": stored_cells(work / "attacks", name, attacks),
        "detectors": stored_cells(work / "detectors", name, detectors),
    }


def _check(networks: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Raise `UsageError` for a name that the survey does not have."""
    for name in networks:
        if name not in SUBJECTS:
            raise UsageError(f"the survey has no network '{name}'; it has {', '.join(SUBJECTS)}")
    for name in only:
        if name not in ATTACKS and name not in DETECTORS:
            raise UsageError(
                f"the survey has no attack or detector '{name}'; it has {', '.join((*ATTACKS, *DETECTORS))}"
            )


if __name__ == "__main__":
    sys.exit(run_script(command, "survey"))
