"""`taintwatch trial report`: one page of a scored trial."""

from __future__ import annotations

from pathlib import Path

import click

from taintwatch_calibration.trial.report import write_report
from taintwatch_calibration.trial.scored import read_trial

__all__ = ["report"]


@click.command()
@click.argument("trial", type=click.Path(path_type=Path))
@click.option("--title", help="Default: the folder's name.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; default: the trial's own.")
def report(trial: Path, title: str | None, out: Path | None) -> None:
    """Make report.html, which needs nothing beside it, and report.json of TRIAL (a folder of `trial score`)."""
    folder = out or (trial if trial.is_dir() else trial.parent)
    page = write_report(read_trial(trial), title or folder.resolve().name, folder)
    click.echo(f"{page}: open it in a browser")
