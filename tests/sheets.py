"""Printed sheets as a scanner would see them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

__all__ = ["extent", "needs_pdftoppm", "page_count", "rasterised"]

needs_pdftoppm = pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="pdftoppm (poppler-utils) is missing")


def rasterised(pdf: Path, page: int = 1, pixels_per_mm: int = 5) -> NDArray[np.uint8]:
    """Return one page as (height, width, 3) uint8 blue-green-red."""
    stem = pdf.with_name(f"{pdf.stem}-{page}")
    arguments = ["-r", str(pixels_per_mm * 25.4), "-png", "-f", str(page), "-singlefile", str(pdf), str(stem)]
    subprocess.run(["pdftoppm", *arguments], check=True, timeout=60)
    image = cv2.imread(f"{stem}.png")
    assert image is not None
    return np.asarray(image, np.uint8)


def extent(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return (height, width) in pixels of the box around everything true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def page_count(pdf: Path) -> int:
    """Return how many pages a PDF has."""
    return pdf.read_bytes().count(b"/Type /Page\n")
