"""Measure detection on the reference models: `python -m benchmarks.detection --help`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.detection.reference import TRANSFERS, reference_names, reference_subject
from benchmarks.peers import PEERS
from benchmarks.scripts import run_script
from taintwatch_calibration.bench.evaluation import Evaluation, EvaluationOptions
from taintwatch_calibration.bench.plans import AttackPlan
from taintwatch_calibration.bench.run import Outputs, check_rates, require_drawing, run_bench
from taintwatch_calibration.bench.subjects import Subject
from taintwatch_calibration.torch_tuning import keep_freed_memory
from taintwatch_models.bundled import bundled_path
from taintwatch_models.cmag.file import read_cmag
from taintwatch_models.errors import UsageError

__all__ = ["command", "peers_named"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_TRANSFERRED = "patch 0.35"


@click.command()
@click.option("--data", required=True, type=_FOLDER, help="The measuring data.")
@click.option("--reference", multiple=True, help="Only these reference models; default: all.")
@click.option("--peer", "peers", multiple=True, help="Detector of the literature to compare with, or 'all'.")
@click.option("--peers-on", multiple=True, help="Only on these models; default: all. They cost more than all the rest.")
@click.option("--fpr", "target_fpr", multiple=True, type=float, default=(0.01, 0.02, 0.06), show_default=True,
              help="Target false-positive rates per frame.")  # fmt: skip
@click.option("--iterations", default=120, show_default=True, type=click.IntRange(1), help="Steps for each patch.")
@click.option("--batch", default=12, show_default=True, type=click.IntRange(1), help="Pictures in each step.")
@click.option("--peer-pictures", default=60, show_default=True, type=click.IntRange(20),
              help="Successes of each attack that peers judge, and a fifth of the benign pictures.")  # fmt: skip
@click.option("--peer-forwards", default=100, show_default=True, help="Time, but do not run, peers that need more.")
@click.option("--seed", default=0, show_default=True, help="Of everything: splits, attacks, places.")
@click.option("--work", default="build/bench", show_default=True, type=_FOLDER, help="Cache of what is made.")
@click.option("--json", "document", type=_FILE, help="Write all cells here.")
@click.option("--markdown", type=_FILE, help="Write tables of it here.")
@click.option("--html", "page", type=_FILE, help="HTML report; default: WORK/detection.html.")
def command(
    data: Path,
    reference: tuple[str, ...],
    peers: tuple[str, ...],
    peers_on: tuple[str, ...],
    target_fpr: tuple[float, ...],
    iterations: int,
    batch: int,
    peer_pictures: int,
    peer_forwards: int,
    seed: int,
    work: Path,
    document: Path | None,
    markdown: Path | None,
    page: Path | None,
) -> None:
    """Attack the reference models in every way that the bench knows, and score every detector on what succeeds."""
    check_rates(target_fpr)
    unknown = [name for name in reference if name not in reference_names()]
    if unknown:
        raise UsageError(f"there is no reference model '{unknown[0]}'; there are {', '.join(reference_names())}")
    factories = peers_named(peers)
    require_drawing()
    torch.set_num_threads(1)
    keep_freed_memory()
    started, console = time.monotonic(), Console(stderr=True)
    options = EvaluationOptions(
        target_fpr, iterations, batch, peer_most=peer_pictures, peer_forwards=peer_forwards, seed=seed
    )
    made: dict[str, Evaluation] = {}

    def evaluation(name: str) -> Evaluation:
        def report(what: str) -> None:
            console.print(f"[dim]{time.monotonic() - started:6.0f} s[/] {name}: {what}", highlight=False)

        if name not in made:
            subject: Subject = reference_subject(name, data, work, seed=seed, report=console.print)
            cmag = read_cmag(bundled_path("signs.cmag.onnx")) if name == "bundled" else None
            used = factories if not peers_on or name in peers_on else {}
            made[name] = Evaluation(subject, options, work, peers=used, cmag=cmag, progress=report)
        return made[name]

    def transfer(each: Evaluation, plan: AttackPlan) -> Tensor | None:
        name = TRANSFERS.get(each.subject.name)
        if name is None:
            return None
        other = evaluation(name)
        return other.maker.values(next(p for p in other.plans if p.name == _TRANSFERRED))

    def models() -> Iterator[Evaluation]:
        yield from map(partial(evaluation), reference or reference_names())

    outputs = Outputs(page or work / "detection.html", document, markdown)
    run_bench(models(), options, outputs, console, transfer)
    click.echo(f"written to {outputs}")


def peers_named(names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    """Return the makers of the named peers; 'all': of every one. Raises `UsageError` for an unknown one."""
    unknown = [name for name in names if name not in PEERS and name != "all"]
    if unknown:
        raise UsageError(f"there is no peer '{unknown[0]}'; there are {', '.join(PEERS)}")
    return {name: make for name, make in PEERS.items() if name in names or "all" in names}


if __name__ == "__main__":
    sys.exit(run_script(command, "detection"))
