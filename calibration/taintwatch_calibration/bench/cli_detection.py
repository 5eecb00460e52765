"""`taintwatch bench detection`: attacks on a model of the user's own, and what the detectors make of them."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from taintwatch_models.errors import UsageError

__all__ = ["detection"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--model", type=_FILE, help="The model to attack, with --images and --target.")
@click.option("--images", type=_FOLDER, help="Labelled pictures for --model (labels.csv beside them).")
@click.option("--target", help="Class that targeted attacks on --model show, name or index.")
@click.option("--subject", "subjects", multiple=True, type=_FOLDER, help="Folder of a model with its pictures.")
@click.option("--cmag", type=_FILE, help="CMAG's reconstructors of --model, to judge by them too.")
@click.option("--fpr", "target_fpr", multiple=True, type=float, default=(0.01, 0.02, 0.06), show_default=True,
              help="Target false-positive rates per frame.")  # fmt: skip
@click.option("--iterations", default=120, show_default=True, type=click.IntRange(1), help="Steps for each patch.")
@click.option("--batch", default=12, show_default=True, type=click.IntRange(1), help="Pictures in each step.")
@click.option("--seed", default=0, show_default=True, help="Seed of splits, attacks and places.")
@click.option("--work", default="build/bench", show_default=True, type=_FOLDER, help="Cache of what is made.")
@click.option("--json", "document", type=_FILE, help="Write all cells here.")
@click.option("--csv", "spreadsheet", type=_FILE, help="Write them as CSV here, one cell a line.")
@click.option("--markdown", type=_FILE, help="Write tables of it here.")
@click.option("--html", "page", type=_FILE, help="HTML report; default: WORK/detection.html.")
def detection(
    model: Path | None,
    images: Path | None,
    target: str | None,
    subjects: tuple[Path, ...],
    cmag: Path | None,
    target_fpr: tuple[float, ...],
    iterations: int,
    batch: int,
    seed: int,
    work: Path,
    document: Path | None,
    spreadsheet: Path | None,
    markdown: Path | None,
    page: Path | None,
) -> None:
    """Attack a model in every way that the bench knows, and score every detector on what succeeds.

    Choose thresholds on benign calibration pictures, count false alarms on held-out ones. A run that was stopped goes
    on where it was.
    """
    import torch

    from taintwatch_calibration.bench.detection import Outputs, check_rates, require_drawing, run_bench
    from taintwatch_calibration.bench.evaluation import Evaluation, EvaluationOptions
    from taintwatch_calibration.bench.subject_file import read_subject
    from taintwatch_calibration.bench.subjects import Subject, from_folder
    from taintwatch_calibration.craft.materials import load_classifier
    from taintwatch_calibration.torch_tuning import keep_freed_memory
    from taintwatch_models.cmag.file import read_cmag

    check_rates(target_fpr)
    if len({model is None, images is None, target is None}) > 1:
        raise UsageError("--model, --images and --target belong together")
    if model is None and not subjects:
        raise UsageError("give --model with --images and --target, or --subject")
    require_drawing()
    torch.set_num_threads(1)
    keep_freed_memory()
    started, console = time.monotonic(), Console(stderr=True)
    options = EvaluationOptions(target_fpr, iterations, batch, seed=seed)

    def evaluation(subject: Subject, reconstructors: Path | None = None) -> Evaluation:
        def report(what: str) -> None:
            console.print(f"[dim]{time.monotonic() - started:6.0f} s[/] {subject.name}: {what}", highlight=False)

        runner = read_cmag(reconstructors) if reconstructors is not None else None
        return Evaluation(subject, options, work, cmag=runner, progress=report)

    models = [evaluation(read_subject(folder)) for folder in subjects]
    if model is not None and images is not None and target is not None:
        radar = load_classifier(str(model))
        about = f"{model}; pictures of {images}"
        models.append(evaluation(from_folder(radar.info.name, radar, images, target, seed=seed, about=about), cmag))
    outputs = Outputs(page or work / "detection.html", document, markdown, spreadsheet)
    run_bench(models, options, outputs, console)
    click.echo(f"written to {outputs}")
