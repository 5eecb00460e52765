"""`taintwatch check`: pictures on the disk, one line each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taintwatch.csv_rows import csv_row

if TYPE_CHECKING:
    from taintwatch.detector import Detector, PictureVerdict

__all__ = ["check"]

SUSPICIOUS, UNREADABLE = 1, 2


@click.command("check")
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--model", help="Use this ONNX model, plain or prepared, or torchvision:NAME.  [default: bundled]")
@click.option("--detector", help="Judge by combined, tight, paper, cmag or joint.  [default: combined where the model "
              "was learnt, else tight]")  # fmt: skip
@click.option(
    "--target-fpr", type=float, help="combined: use the threshold for this rate, 0.001 or 0.02.  [default: 0.001]"
)
@click.option("--reference", help="combined: use what was learnt here.  [default: MODEL.reference.npz]")
@click.option("--calibration", help="Use these thresholds.  [default: those beside the model]")
@click.option("--preprocessing", help="Read the model's input from this TOML.  [default: MODEL.toml]")
@click.option("--labels", help="Read class names from this .json, or .txt with one name a line.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Run the model there.")  # fmt: skip
@click.option("--overlays", type=click.Path(file_okay=False, path_type=Path),
              help="Write each suspicious picture, its region outlined, into this folder.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
@click.pass_context
def check(
    ctx: click.Context, /, images: tuple[Path, ...], overlays: Path | None, as_json: bool, as_csv: bool, **settings: Any
) -> None:
    """Check IMAGES, files or folders of them, one line each.

    Exit with 1 where a picture is suspicious, with 2 where one could not be read, else with 0.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    from taintwatch.detector import Detector

    files = _files(images)
    detector = Detector.load(**settings)
    printer = _json_line if as_json else _csv_line if as_csv else _line
    status = 0
    if as_csv:
        click.echo(csv_row(_COLUMNS))
    for verdict in _checked(detector, files):
        if verdict is None:
            status = UNREADABLE
            continue
        click.echo(printer(verdict), color=False if os.environ.get("NO_COLOR") else None)
        if verdict.suspicious:
            status = status or SUSPICIOUS
            if overlays is not None:
                _write_overlay(overlays, verdict)
    ctx.exit(status)


def _files(images: tuple[Path, ...]) -> list[Path]:
    """Return the files named, and those below the folders named. Raises `UsageError` for a folder without pictures."""
    from taintwatch.sources.images import IMAGE_SUFFIXES, files_below

    found: list[Path] = []
    for path in images:
        below = files_below(path, IMAGE_SUFFIXES) if path.is_dir() else (path,)
        if not below:
            raise click.UsageError(f"{path} holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
        found += below
    return found


def _checked(detector: Detector, files: list[Path]) -> Iterator[PictureVerdict | None]:
    """Yield each file's verdict; None, having said why, for one that cannot be read."""
    from taintwatch_models.errors import BadFrame

    for file in files:
        try:
            yield detector.check(file)
        except BadFrame as error:
            click.echo(f"taintwatch: {error}", err=True)
            yield None


def _line(verdict: PictureVerdict) -> str:
    mark = click.style("SUSPICIOUS", fg="red", bold=True) if verdict.suspicious else click.style("ok", fg="green")
    padding = " " * (10 - len("SUSPICIOUS" if verdict.suspicious else "ok"))
    words = f"{mark}{padding}  {verdict.file}  {verdict.label_name} ({verdict.confidence:.0%})"
    if verdict.suspicious and verdict.recovered_name is not None:
        words += f", without the region {verdict.recovered_name}"
    words += f"  score {verdict.score:.3g} {'>' if verdict.suspicious else '<='} {verdict.threshold:.3g}"
    if verdict.region is not None:
        x, y, width, height = verdict.region.box
        words += f"  {width}x{height} pixels at {x},{y}"
    if verdict.suspicious and verdict.reason:
        words += f"\n{' ' * 12}{verdict.reason}"
    return words


def _json_line(verdict: PictureVerdict) -> str:
    return json.dumps(verdict.to_json())


_COLUMNS = (
    "file", "label", "label_name", "confidence", "detector", "suspicious", "score", "threshold",
    "x", "y", "width", "height", "recovered_label", "recovered_name", "reason",
)  # fmt: skip


def _csv_line(verdict: PictureVerdict) -> str:
    values = verdict.to_json()
    box = values.pop("box") or [None] * 4
    values |= dict(zip(("x", "y", "width", "height"), box, strict=True))
    return csv_row([values[name] for name in _COLUMNS])


def _write_overlay(folder: Path, verdict: PictureVerdict) -> None:
    """Write the picture with its region outlined, as PNG, under a name that tells files of one name apart."""
    import cv2

    from taintwatch_models.errors import UsageError
    from taintwatch_models.storage import write_atomically

    parts = Path(verdict.to_json()["file"]).with_suffix(".png").parts
    name = "-".join(part for part in parts if part not in ("/", "..", "."))
    _, coded = cv2.imencode(".png", verdict.overlay()[:, :, ::-1])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, coded.tobytes())
    except OSError as error:
        raise UsageError(f"{folder / name} cannot be written: {error.strerror}") from error
