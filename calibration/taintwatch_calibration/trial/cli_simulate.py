"""`taintwatch trial simulate`: the matrix, without printer and camera."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from taintwatch_calibration.progress import counted
from taintwatch_calibration.trial.matrix import Matrix, lights, numbers
from taintwatch_calibration.trial.simulate import SimulationSettings, misfit, simulate_matrix
from taintwatch_models.errors import UsageError

__all__ = ["simulate"]

_PDF = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--sheet", required=True, type=_PDF, help="PDF of the object with a board (`taintwatch print board`).")
@click.option("--attack", type=_PDF, help="PDF whose patch is cut out and stuck on; none: the sheet is all there is.")
@click.option(
    "--control", type=_PDF, help="PDF of the benign match, stuck on in the same place; none: no control clips."
)
@click.option("--at", default="0.5,0.5", show_default=True, help="Place of its middle, in the object's size.")
@click.option("--aim", default="0.5,0.5", show_default=True, help="Place of the object's middle in the picture.")
@click.option("--distances", default="0.2,0.25,0.3,0.35", show_default=True, help="Metres.")
@click.option("--angles", default="0,15,30", show_default=True, help="Degrees.")
@click.option(
    "--lights", "light_names", default="office,dim", show_default=True, help="office, corridor, street, dim, plain."
)
@click.option("--profile", default="generic", show_default=True, help="Colour profile: a file, generic or none.")
@click.option("--background", type=click.Path(path_type=Path), help="Picture behind the sheet; default: a street.")
@click.option("--truth", help="The object's right label, its name or number; default: what the sheet knows.")
@click.option(
    "--target", help="The label that the attack wants; default: what its sheet says, else any wrong one counts."
)
@click.option("--seconds", default=2.0, show_default=True, type=float, help="Length of each clip.")
@click.option("--lead", default=1.0, show_default=True, type=float, help="Seconds before the attack comes, on top.")
@click.option("--fps", default=15.0, show_default=True, type=float, help="Frames a second.")
@click.option("--size", default="640x480", show_default=True, help="Size of the pictures, pixels.")
@click.option("--fov", default=55.0, show_default=True, type=float, help="Horizontal field of view, degrees.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31), help="Seed of shake and noise.")
@click.option(
    "--workers", default=0, show_default=True, type=click.IntRange(0), help="Processes; 0: one for each core."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the clips.")
def simulate(
    sheet: Path, attack: Path | None, control: Path | None, at: str, aim: str, distances: str, angles: str,
    light_names: str,
    profile: str, background: Path | None, truth: str | None, target: str | None, seconds: float, lead: float,
    fps: float, size: str, fov: float, seed: int, workers: int, out: Path,
) -> None:  # fmt: skip
    """Rasterise printed sheets and simulate clips of them over distances, angles and lights, with known poses.

    Clips that are there already are kept: an interrupted run goes on where it was.
    """
    width, height = _size(size)
    setting = SimulationSettings(
        str(sheet),
        None if attack is None else str(attack),
        None if control is None else str(control),
        at=_place(at, "--at"),
        aim=_place(aim, "--aim"),
        profile=profile,
        background=None if background is None else str(background),
        width=width, height=height, fov_deg=fov, fps=fps, seconds=seconds, lead_s=lead,
        truth=_label(truth), target=_label(target), seed=seed,
    )  # fmt: skip
    matrix = Matrix(numbers(distances, "--distances"), numbers(angles, "--angles"), lights(light_names))
    warning = misfit(setting, matrix)
    if warning is not None:
        click.echo(f"warning: {warning}", err=True)
    with counted(Console(stderr=True), "simulating") as progress:
        videos = simulate_matrix(setting, matrix, out, workers=workers, progress=progress)
    click.echo(f"{out}: {len(videos)} clips of {len(matrix.cells)} places; score them with `taintwatch trial score`")


def _size(words: str) -> tuple[int, int]:
    width, x, height = words.partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size has value {words!r}; give WIDTHxHEIGHT, like 640x480")
    return int(width), int(height)


def _place(words: str, option: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in words.split(","))
    except ValueError:
        raise UsageError(f"{option} has value {words!r}; give two numbers, like 0.5,0.65") from None
    return x, y


def _label(words: str | None) -> str | int | None:
    return int(words) if words is not None and words.isdecimal() else words
