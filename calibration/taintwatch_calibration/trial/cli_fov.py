"""`taintwatch trial fov`: the camera's field of view."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import click

from taintwatch.sources.factory import open_source
from taintwatch.sources.source import read_through
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.trial.fov import fit_fov
from taintwatch_models.errors import UsageError

__all__ = ["fov"]


@click.command()
@click.argument("source")
@click.option("--sheet", required=True, type=click.Path(path_type=Path), help="PDF of a sheet with a board.")
@click.option("--frames", default=200, show_default=True, type=click.IntRange(4), help="Look at so many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print it as one line of JSON.")
def fov(source: str, sheet: Path, frames: int, as_json: bool) -> None:
    """Measure the horizontal field of view from SOURCE (a video, pictures, a webcam) of a sheet with markers.

    Carry the camera round the sheet meanwhile. `trial record` and `trial score` take the result as --fov.
    """
    corners = read_sheet(sheet).board_corners_from_centre()
    if not corners:
        raise UsageError(f"{sheet}: there are no markers on this sheet; make one with `taintwatch print board`")
    markers = {str(marker): [[x, y] for x, y in points] for marker, points in corners.items()}
    with closing(read_through(open_source(source))) as grabs:
        found = fit_fov((grab.image for grab in islice(grabs, frames)), markers)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    click.echo(
        f"--fov {found.fov_deg:.1f} ({found.views} views up to {found.slant_deg:.0f} degrees, error "
        f"{found.error_px:.2f} pixels; above 1 pixel the lens distorts, and distances near the edge are off)"
    )
