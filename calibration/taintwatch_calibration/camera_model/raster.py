"""A printed page as pixels: what a camera will look at, with attacks stuck on or beside the object."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.colour_profile import ColourProfile, printed_picture
from taintwatch_calibration.printing.sheet_metadata import SheetMetadata
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image

__all__ = ["PIXELS_PER_MM", "Cutout", "Raster", "cut_out", "page_raster", "paste_cutout"]

PIXELS_PER_MM = 8.0
_MARGIN_PX = 2


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Something flat, seen from the front."""

    image: NDArray[np.uint8]
    """(H, W, 4), blue-green-red-alpha."""
    left_mm: float
    """Of the picture's left edge, from the object's middle: negative."""
    top_mm: float

    @property
    def to_mm(self) -> NDArray[np.float64]:
        """(3, 3): from the picture's pixels (counted from their centres) to millimetres from the object's middle."""
        half = 0.5 / PIXELS_PER_MM
        s = 1 / PIXELS_PER_MM
        return np.array([[s, 0, self.left_mm + half], [0, s, self.top_mm + half], [0, 0, 1]])


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A piece cut out of a sheet, to be stuck at a place of another."""

    image: NDArray[np.uint8]
    """(H, W, 3) blue-green-red at `PIXELS_PER_MM`."""
    x: float
    y: float
    """Its middle in the object's width and height: (0, 0) its top left, (1, 1) its bottom right; may lie outside."""


def page_raster(pdf: Path, info: SheetMetadata, profile: ColourProfile | None = None) -> Raster:
    """Rasterise a sheet's first page with pdftoppm, printed with `profile`. Raises `UsageError`."""
    image = _rasterised(pdf)
    if profile is not None:
        image = printed_picture(image, profile)
    x, y = info.centre()
    opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
    return Raster(np.concatenate([image, opaque], axis=2), -x, -y)


def cut_out(pdf: Path, info: SheetMetadata, profile: ColourProfile | None = None) -> NDArray[np.uint8]:
    """Return the sheet's printable, cut along its lines: (H, W, 3). Raises `UsageError`: a sheet without one."""
    if info.printable is None:
        raise UsageError(f"{pdf}: there is nothing on this sheet to cut out; give a patch, control or sticker sheet")
    image = _rasterised(pdf)
    edges = (info.printable.left_mm, info.printable.top_mm, info.printable.right_mm, info.printable.bottom_mm)
    x0, y0, x1, y1 = (round(edge * PIXELS_PER_MM) for edge in edges)
    # A pixel or two inside, where the line to cut along is not.
    piece = np.ascontiguousarray(image[y0 + _MARGIN_PX : y1 - _MARGIN_PX, x0 + _MARGIN_PX : x1 - _MARGIN_PX])
    return piece if profile is None else printed_picture(piece, profile)


def paste_cutout(raster: Raster, info: SheetMetadata, stuck: Cutout) -> Raster:
    """Return the raster with a piece laid over it; it grows where the piece lies beyond the page."""
    if info.printable is None:
        raise UsageError("there is nothing on this sheet to stick a piece on or beside")
    height, width = stuck.image.shape[:2]
    left = round((stuck.x - 0.5) * info.printable.width_mm * PIXELS_PER_MM - width / 2 - raster.left_mm * PIXELS_PER_MM)
    top = round((stuck.y - 0.5) * info.printable.height_mm * PIXELS_PER_MM - height / 2 - raster.top_mm * PIXELS_PER_MM)
    have_h, have_w = raster.image.shape[:2]
    before_x, before_y = max(0, -left), max(0, -top)
    after_x, after_y = max(0, left + width - have_w), max(0, top + height - have_h)
    image = cv2.copyMakeBorder(
        raster.image, before_y, after_y, before_x, after_x, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)
    )
    left, top = left + before_x, top + before_y
    image[top : top + height, left : left + width, :3] = stuck.image
    image[top : top + height, left : left + width, 3] = 255
    return Raster(
        np.asarray(image, np.uint8), raster.left_mm - before_x / PIXELS_PER_MM, raster.top_mm - before_y / PIXELS_PER_MM
    )  # fmt: skip


def _rasterised(pdf: Path) -> NDArray[np.uint8]:
    if not pdf.is_file():
        raise UsageError(f"{pdf}: no such sheet; make one with `taintwatch print`")
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "page"
        arguments = ["-r", str(PIXELS_PER_MM * 25.4), "-png", "-f", "1", "-singlefile", str(pdf), str(stem)]
        try:
            done = subprocess.run(["pdftoppm", *arguments], capture_output=True, text=True, timeout=120, check=False)
        except FileNotFoundError:
            raise UsageError("pdftoppm is missing, which rasterises sheets; install poppler-utils") from None
        except subprocess.TimeoutExpired:
            raise UsageError(f"{pdf}: rasterising it takes too long; is it a sheet of `taintwatch print`?") from None
        if done.returncode != 0:
            raise UsageError(
                f"{pdf}: cannot be rasterised ({done.stderr.strip().splitlines()[:1]}); print the sheet anew"
            )
        try:
            return read_image(Path(f"{stem}.png"))
        except BadFrame as error:
            raise UsageError(f"{pdf}: cannot be rasterised ({error}); print the sheet anew") from None
