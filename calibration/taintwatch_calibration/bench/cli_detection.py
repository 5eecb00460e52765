"""`taintwatch bench detection`: models, attacks and detectors side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

if TYPE_CHECKING:
    from taintwatch_calibration.bench.evaluation import Evaluation
    from taintwatch_calibration.bench.plans import AttackPlan
    from taintwatch_calibration.bench.subjects import Subject
    from taintwatch_calibration.craft.engine import Step

__all__ = ["detection"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_TRANSFERRED = "patch 0.35"


@click.command()
@click.option("--data", type=_FOLDER, help="The measuring data, for the reference models.")
@click.option(
    "--reference", multiple=True, help="A reference model; default: all, where neither --model nor --subject."
)
@click.option("--model", type=_FILE, help="A model of your own, with --images.")
@click.option("--images", type=_FOLDER, help="Labelled pictures for --model (labels.csv beside them).")
@click.option("--target", help="Class that targeted attacks on --model show, name or index.")
@click.option("--subject", "subjects", multiple=True, type=_FOLDER, help="Folder of a model with its pictures.")
@click.option("--cmag", type=_FILE, help="CMAG's reconstructors of --model, to judge by them too.")
@click.option("--peers", type=_FOLDER, help="Package of other detectors to compare with: benchmarks/peers.")
@click.option("--peer", "wanted", multiple=True, help="Only these of them.")
@click.option("--peers-on", multiple=True, help="Only on these models; default: all. They cost more than all the rest.")
@click.option("--fpr", "target_fpr", multiple=True, type=float, default=(0.01, 0.02, 0.06), show_default=True,
              help="Target false-positive rates per frame.")  # fmt: skip
@click.option("--iterations", default=120, show_default=True, type=click.IntRange(1), help="Steps for each patch.")
@click.option("--batch", default=12, show_default=True, type=click.IntRange(1), help="Pictures in each step.")
@click.option("--peer-pictures", default=60, show_default=True, type=click.IntRange(20),
              help="Successes of each attack that peers judge, and a fifth of the benign pictures.")  # fmt: skip
@click.option(
    "--peer-forwards", default=100, show_default=True, help="Peers that need more for a frame are only timed."
)
@click.option("--seed", default=0, show_default=True, help="Of everything: splits, attacks, places.")
@click.option("--work", default="build/bench", show_default=True, type=_FOLDER, help="What is made is kept here.")
@click.option("--json", "document", type=_FILE, help="Write all cells here.")
@click.option("--markdown", type=_FILE, help="Write tables of it here.")
@click.option("--html", "page", type=_FILE, help="Page to look at; default: WORK/detection.html.")
def detection(
    data: Path | None,
    reference: tuple[str, ...],
    model: Path | None,
    images: Path | None,
    target: str | None,
    subjects: tuple[Path, ...],
    cmag: Path | None,
    peers: Path | None,
    wanted: tuple[str, ...],
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
    """Attack models in every way that the bench knows, and score every detector on what succeeds.

    Thresholds are chosen on benign calibration pictures, false alarms measured on held-out ones. Whatever is made is
    kept in --work: a run that was stopped goes on where it was.
    """
    import torch

    from taintwatch_calibration.bench.evaluation import Evaluation, EvaluationOptions
    from taintwatch_calibration.bench.peers import peer_factories
    from taintwatch_calibration.torch_tuning import keep_freed_memory
    from taintwatch_models.cmag.file import read_cmag

    for rate in target_fpr:
        if not 0 < rate <= 0.5:
            raise UsageError(f"--fpr must be above 0 and at most 0.5, not {rate:g}")
    if (model is None) != (images is None) or (model is not None and target is None):
        raise UsageError("--model, --images and --target belong together")
    _drawing()
    factories = peer_factories(peers, wanted)
    torch.set_num_threads(1)
    keep_freed_memory()
    started, console = time.monotonic(), Console(stderr=True)
    options = EvaluationOptions(
        target_fpr, iterations, batch, peer_most=peer_pictures, peer_forwards=peer_forwards, seed=seed
    )
    made: dict[str, Evaluation] = {}

    def evaluation(subject: Subject) -> Evaluation:
        def told(what: str) -> None:
            console.print(f"[dim]{time.monotonic() - started:6.0f} s[/] {subject.name}: {what}", highlight=False)

        reconstructors = _bundled_cmag() if subject.name == "bundled" else None
        if cmag is not None and model is not None:
            reconstructors = read_cmag(cmag)
        if subject.name not in made:
            with_peers = factories if not peers_on or subject.name in peers_on else {}
            made[subject.name] = Evaluation(
                subject, options, work, peers=with_peers, cmag=reconstructors, progress=told
            )
        return made[subject.name]

    def named(name: str) -> Evaluation:
        from taintwatch_calibration.bench.reference import reference_subject

        if name not in made:
            if data is None:
                raise UsageError(f"the reference model '{name}' needs the measuring data: give its folder with --data")
            evaluation(reference_subject(name, data, work, seed=seed, report=console.print))
        return made[name]

    chosen: list[Callable[[], Evaluation]] = [partial(named, name) for name in _references(reference, model, subjects)]
    chosen += [partial(lambda folder: evaluation(_subject(folder)), folder) for folder in subjects]
    if model is not None and images is not None:
        chosen.append(lambda: evaluation(_own(model, images, str(target), seed)))
    results = [(each := make(), _cells(each, named, console)) for make in chosen]
    result = _document(results, options)
    _write(result, results, document, page or work / "detection.html")
    if markdown is not None:
        from taintwatch_calibration.bench.table import markdown_tables

        markdown.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(markdown, markdown_tables(result, 0.02 if 0.02 in target_fpr else target_fpr[0]).encode())
    _show(result["cells"], 0.02 if 0.02 in target_fpr else target_fpr[0])
    click.echo(f"written to {page or work / 'detection.html'}{f' and {document}' if document else ''}")


def _drawing() -> None:
    """Raises `UsageError` where the pictures could not be drawn, which would otherwise be found out at the end."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError("the pictures need matplotlib: pip install 'taintwatch[bench]'") from None
    mpl.use("Agg")


def _references(given: tuple[str, ...], model: Path | None, subjects: tuple[Path, ...]) -> tuple[str, ...]:
    from taintwatch_calibration.bench.reference import reference_names

    unknown = [name for name in given if name not in reference_names()]
    if unknown:
        raise UsageError(f"there is no reference model '{unknown[0]}'; there are {', '.join(reference_names())}")
    return given if given or model is not None or subjects else reference_names()


def _subject(folder: Path) -> Subject:
    from taintwatch_calibration.bench.subject_file import read_subject

    return read_subject(folder)


def _own(model: Path, images: Path, target: str, seed: int) -> Subject:
    from taintwatch_calibration.bench.subjects import from_folder
    from taintwatch_calibration.craft.materials import load_classifier

    radar = load_classifier(str(model))
    return from_folder(radar.info.name, radar, images, target, seed=seed, about=f"{model}; pictures of {images}")


def _bundled_cmag() -> Any:
    from taintwatch_models.bundled import bundled_path
    from taintwatch_models.cmag.file import read_cmag

    return read_cmag(bundled_path("signs.cmag.onnx"))


def _cells(each: Evaluation, named: Callable[[str], Evaluation], console: Console) -> list[dict[str, Any]]:
    from taintwatch_calibration.bench.reference import TRANSFERS

    def transfer(plan: AttackPlan) -> Any:
        name = TRANSFERS.get(each.subject.name)
        if name is None:
            return None
        other = named(name)
        return other.maker.values(next(p for p in other.plans if p.name == _TRANSFERRED))

    def report(attack: str) -> Callable[[Step], None]:
        last = [time.monotonic()]

        def told(step: Step) -> None:
            if time.monotonic() - last[0] > 20:
                last[0] = time.monotonic()
                console.print(
                    f"         {each.subject.name}: {attack}: step {step.iteration}, success {step.success:.0%}"
                )

        return told

    return each.cells(transfer, report)


def _document(results: Iterable[tuple[Evaluation, list[dict[str, Any]]]], options: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from taintwatch_calibration.machine import machine

    results = list(results)
    return {
        **machine(),
        "options": asdict(options),
        "models": [each.about() for each, _ in results],
        "cells": [cell for _, cells in results for cell in cells],
    }


def _write(result: dict[str, Any], results: Any, document: Path | None, page: Path) -> None:
    from taintwatch_calibration.bench.page import draw_roc, html_page

    families: dict[str, dict[str, Any]] = {}
    for each, _ in results:
        for family, curves in each.curves().items():
            families.setdefault(family, {})[each.subject.name] = curves
    pictures = {
        f"ROC: {family.replace('_', ' ')}": draw_roc(models, family.replace("_", " "))
        for family, models in families.items()
    }
    rates = result["options"]["target_fpr"]
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, html_page(result, pictures, 0.02 if 0.02 in rates else rates[0]).encode())
    if document is not None:
        document.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(document, (json.dumps(result, indent=1) + "\n").encode())
        write_atomically(document.with_suffix(".png"), next(iter(pictures.values())))


def _show(cells: list[dict[str, Any]], rate: float) -> None:
    from taintwatch_calibration.bench.page import worst

    detectors = list(dict.fromkeys(cell["detector"] for cell in cells))
    table = Table("worst cell of", *detectors, title=f"TPR at {rate:.0%} target false alarms")
    for family in dict.fromkeys(cell["attack_family"] for cell in cells):
        found = (worst(cells, family, detector, rate) for detector in detectors)
        table.add_row(family, *(f"{cell['tpr']:.1%} ({cell['fpr']:.1%})" if cell else "-" for cell in found))
    Console().print(table)
