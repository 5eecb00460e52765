"""`taintwatch print`: sheets to print at true size."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["print_group"]


@click.group(name="print")
def print_group() -> None:
    """Make sheets to print at true size."""


@print_group.command()
@click.option("--classes", default="all", show_default=True, help="Sign classes: 14,1 or 33-37 or all.")
@click.option("--size-mm", default=120.0, show_default=True, type=float, help="Width of a sign on paper.")
@click.option("--page", default="A4", show_default=True, help="A4 or Letter.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The PDF to write.")
def signs(classes: str, size_mm: float, page: str, out: Path) -> None:
    """Make cards with the project's drawn traffic signs.

    Print at 100%, without fitting to the page, and measure the 50 mm square before cutting.
    """
    from taintwatch_calibration.printing.pages import page_named
    from taintwatch_calibration.printing.sign_cards import parse_classes, write_sign_cards

    chosen = parse_classes(classes)
    write_sign_cards(out, chosen, size_mm, page_named(page))
    click.echo(f"{out}: {len(chosen)} card{'' if len(chosen) == 1 else 's'}, signs {size_mm:g} mm wide; print at 100%")
