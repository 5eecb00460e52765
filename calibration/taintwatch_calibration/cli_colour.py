"""`taintwatch calibrate colour`: what a printer and a camera do to colours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

__all__ = ["colour"]


@click.command()
@click.argument("photo", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", help="Name of printer, paper and camera, for people; default: the photo's.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Default: <photo>.colour.json beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as one line of JSON.")
def colour(photo: Path, name: str | None, out: Path | None, as_json: bool) -> None:
    """Fit a colour profile to a PHOTO of the printed chart (`taintwatch print chart`).

    Crafting takes its palette of printable colours from it, and the simulator prints with it.
    """
    import numpy as np

    from taintwatch.sources.colour_profile import chart_colours, write_profile
    from taintwatch_calibration.colour.fit import fit_profile, held_out_differences
    from taintwatch_calibration.colour.photo import chart_photo, read_chart

    seen = read_chart(chart_photo(photo), str(photo))
    sent = np.array(chart_colours())
    profile = replace(fit_profile(sent, seen, name or photo.stem), chart=photo.name)
    held_out = held_out_differences(sent, seen)
    target = out or photo.with_suffix(".colour.json")
    write_profile(profile, target)
    if as_json:
        figures = {"mean": profile.residual, "worst": profile.residual_worst, "held_out": float(held_out.mean())}
        click.echo(json.dumps({"file": str(target), "ciede2000": figures}))
        return
    click.echo(
        f"{target}: CIEDE2000 of {len(sent)} colours {profile.residual:.2f} on average, {profile.residual_worst:.2f} "
        f"at worst; {held_out.mean():.2f} on colours that were left out of the fit"
    )
