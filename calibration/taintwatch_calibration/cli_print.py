"""`taintwatch print`: sheets to print at true size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from taintwatch_calibration.printing.printable import PrintedSheet
    from taintwatch_calibration.printing.sheet_metadata import CraftedAttack

__all__ = ["print_group"]

_Command = Callable[..., Any]
_page = click.option("--page", default="A4", show_default=True, help="A4 or Letter.")
_out = click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The PDF to write.")
_board = click.option("--board", is_flag=True, help="Draw markers round it, for its pose in a trial.")
_number = click.option(
    "--number",
    default=0,
    show_default=True,
    type=int,
    help="Set of markers, 0 or 1: one for each sheet in view.",
)


@click.group(name="print")
def print_group() -> None:
    """Make sheets to print at true size.

    Print at 100%, on one side, without fitting to the page, and measure the 50 mm square before cutting.
    """


@print_group.command()
@click.option("--classes", default="all", show_default=True, help="Sign classes: 14,1 or 33-37 or all.")
@click.option("--size-mm", default=120.0, show_default=True, type=float, help="Width of a sign on paper.")
@_page
@_out
def signs(classes: str, size_mm: float, page: str, out: Path) -> None:
    """Make cards with the project's drawn traffic signs.

    Print at 100%, without fitting to the page, and measure the 50 mm square before cutting.
    """
    from taintwatch_calibration.printing.pages import page_named
    from taintwatch_calibration.printing.sign_cards import parse_classes, write_sign_cards

    chosen = parse_classes(classes)
    write_sign_cards(out, chosen, size_mm, page_named(page))
    click.echo(f"{out}: {len(chosen)} card{'' if len(chosen) == 1 else 's'}, signs {size_mm:g} mm wide; print at 100%")


@print_group.command()
@click.argument("picture")
@click.option("--size-mm", type=float, help="Width on paper; what is larger than a page is tiled.")
@click.option("--picture-mm", type=float,
              help="Width of the scene that a picture shows: the size is the recipe's share of it.")  # fmt: skip
@click.option(
    "--pattern", "index", default=1, show_default=True, type=int, help="Which pattern of a folder of several."
)
@_board
@_number
@_page
@_out
def patch(
    picture: str, size_mm: float | None, picture_mm: float | None, index: int, board: bool, number: int, page: str,
    out: Path,
) -> None:  # fmt: skip
    """Make a sheet with PICTURE: the folder of a crafted attack, a file, or a bundled attack (on-sign, beside).

    Of a crafted or bundled attack the sheet's metadata carry target, size and hash of the recipe, for the trial.
    """
    from taintwatch_calibration.printing.pages import page_named
    from taintwatch_calibration.printing.pictures import find_picture
    from taintwatch_calibration.printing.printable import picture_printable, printable_sheet

    found = find_picture(picture, index)
    size = _size_mm(size_mm, picture_mm, found.attack)
    made = picture_printable(found.pixels, size, found.words, found.attack)
    _write(out, printable_sheet(made, page_named(page), "patch", board=board, number=number))


@print_group.command()
@click.argument("picture")
@click.option("--size-mm", type=float, help="Width on paper: that of the attack's.")
@click.option(
    "--match", type=click.Path(path_type=Path, dir_okay=False), help="PDF of the attack: print as wide as it."
)
@click.option("--kind", default="shuffled", show_default=True, help="mean, shuffled or noise.")
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of the random colours.")
@_board
@_number
@_page
@_out
def control(
    picture: str, size_mm: float | None, match: Path | None, kind: str, seed: int, board: bool, number: int, page: str,
    out: Path,
) -> None:  # fmt: skip
    """Make the benign match of an attack's PICTURE: same size, same colours, nothing that was optimised."""
    from taintwatch_calibration.printing.pages import page_named
    from taintwatch_calibration.printing.pictures import control_picture, find_picture
    from taintwatch_calibration.printing.printable import picture_printable, printable_sheet
    from taintwatch_calibration.printing.sheet_metadata import read_sheet
    from taintwatch_models.errors import UsageError

    found = find_picture(picture)
    if match is not None:
        box = read_sheet(match).printable
        if box is None:
            raise UsageError(f"{match}: there is nothing on this sheet to match; give the attack's")
        size_mm = box.width_mm
    made = control_picture(found.pixels, kind, seed)
    size = _size_mm(size_mm, None, None)
    sheet = picture_printable(made, size, f"{kind} control of {found.words}", found.attack)
    _write(out, printable_sheet(sheet, page_named(page), "control", board=board, number=number))


@print_group.command()
@click.argument("pictures", nargs=-1, required=True)
@click.option("--size-mm", required=True, type=float, help="Width of each.")
@click.option("--copies", default=1, show_default=True, type=click.IntRange(1, 1000), help="Copies of each picture.")
@_page
@_out
def stickers(pictures: tuple[str, ...], size_mm: float, copies: int, page: str, out: Path) -> None:
    """Make sheets with many small PICTURES to cut out."""
    from taintwatch_calibration.printing.pages import page_named
    from taintwatch_calibration.printing.pictures import read_picture
    from taintwatch_calibration.printing.printable import picture_printable, sticker_sheet

    printables = [picture_printable(read_picture(name), size_mm, Path(name).name) for name in pictures]
    _write(out, sticker_sheet(printables, page_named(page), copies))


@print_group.command()
@click.argument("picture", required=False)
@click.option("--ipd-mm", default=63.0, show_default=True, type=float, help="Distance between the wearer's pupils.")
@_page
@_out
def glasses(picture: str | None, ipd_mm: float, page: str, out: Path) -> None:
    """Make a pair of glasses to cut and fold; PICTURE covers its front, without one it stays white."""
    from taintwatch_calibration.printing.glasses import glasses_sheet
    from taintwatch_calibration.printing.pages import page_named
    from taintwatch_calibration.printing.pictures import read_picture

    _write(out, glasses_sheet(None if picture is None else read_picture(picture), ipd_mm, page_named(page)))


@print_group.command()
@_page
@_out
def chart(page: str, out: Path) -> None:
    """Make the colour chart for `taintwatch calibrate colour`."""
    from taintwatch_calibration.printing.chart import chart_sheet
    from taintwatch_calibration.printing.pages import page_named

    _write(out, chart_sheet(page_named(page)))


@print_group.command()
@click.option("--sign", type=int, help="Draw this sign class in its middle.")
@click.option("--picture", help="Draw this picture (or bundled attack) in its middle.")
@click.option("--size-mm", default=120.0, show_default=True, type=float, help="Width of what is in the middle.")
@click.option("--empty", is_flag=True, help="Leave the middle empty (size-mm square) to put an object in.")
@click.option("--columns", default=5, show_default=True, type=int, help="Columns, with nothing in the middle.")
@_number
@_page
@_out
def board(
    sign: int | None,
    picture: str | None,
    size_mm: float,
    empty: bool,
    columns: int,
    number: int,
    page: str,
    out: Path,
) -> None:
    """Make a ChArUco board: whole, or round a sign, a picture or an empty place.

    A trial finds the camera's distance and angle from its markers.
    """
    from taintwatch_calibration.printing.pages import page_named
    from taintwatch_calibration.printing.pictures import read_picture
    from taintwatch_calibration.printing.printable import (
        board_sheet,
        picture_printable,
        printable_sheet,
        sign_printable,
    )
    from taintwatch_models.errors import UsageError

    if (sign is not None) + (picture is not None) + empty > 1:
        raise UsageError("Give one of --sign, --picture and --empty: a board has one middle.")
    paper = page_named(page)
    if sign is not None:
        _write(out, printable_sheet(sign_printable(sign, size_mm), paper, "sign", board=True, number=number))
    elif picture is not None:
        printable = picture_printable(read_picture(picture), size_mm, Path(picture).name)
        _write(out, printable_sheet(printable, paper, "picture", board=True, number=number))
    else:
        hole = (size_mm, size_mm) if empty else None
        _write(out, board_sheet(paper, columns=columns, number=number, hole_mm=hole))


@print_group.command()
@click.option("--distances", default="0.3,0.5,1", show_default=True, help="Metres, with commas.")
@click.option("--angles", default="0,20,40", show_default=True, help="Degrees, with commas; right is positive.")
@_page
@_out
def floor(distances: str, angles: str, page: str, out: Path) -> None:
    """Make floor marks: a protractor, and a card for each place of the camera."""
    from taintwatch_calibration.printing.floor import floor_sheet
    from taintwatch_calibration.printing.pages import page_named
    from taintwatch_calibration.trial.matrix import numbers

    chosen = numbers(distances, "--distances"), numbers(angles, "--angles")
    _write(out, floor_sheet(*chosen, page_named(page)))


def _size_mm(size_mm: float | None, picture_mm: float | None, attack: CraftedAttack | None) -> float:
    from taintwatch_models.errors import UsageError

    if size_mm is not None:
        return size_mm
    if picture_mm is None:
        raise UsageError("say how wide it is on paper: --size-mm (or --picture-mm for a patch, --match for a control)")
    if attack is None or attack.size is None:
        raise UsageError("--picture-mm needs a crafted attack, whose recipe says its share; give --size-mm")
    return picture_mm * attack.size


def _write(out: Path, printed: PrintedSheet) -> None:
    from taintwatch_calibration.printing.sheet_metadata import write_sheet

    write_sheet(out, printed.pdf, printed.info)
    pages = f"{printed.pages} page{'' if printed.pages == 1 else 's'}"
    click.echo(f"{out}: {printed.info.kind} {printed.info.id}, {pages}; print at 100%, on one side")
