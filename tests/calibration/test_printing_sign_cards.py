"""Sign cards on paper: measured on the rasterised PDF, as one would with a ruler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from taintwatch_calibration.cli_print import print_group
from taintwatch_calibration.printing.pages import A4, LETTER, Box, Page, fit_grid, page_named
from taintwatch_calibration.printing.sheet import Sheet
from taintwatch_calibration.printing.sign_cards import parse_classes, sign_cards_pdf, write_sign_cards
from taintwatch_models.errors import UsageError
from taintwatch_models.signs import render_sign

PIXELS_PER_MM = 10
needs_pdftoppm = pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="pdftoppm (poppler-utils) is missing")


def rasterised(pdf: Path, page: int = 1) -> NDArray[np.uint8]:
    """One page as (height, width, 3) BGR at ten pixels per millimetre."""
    stem = pdf.with_suffix("")
    arguments = ["-r", str(PIXELS_PER_MM * 25.4), "-png", "-f", str(page), "-singlefile", str(pdf), str(stem)]
    subprocess.run(["pdftoppm", *arguments], check=True, timeout=60)
    image = cv2.imread(str(stem.with_suffix(".png")))
    assert image is not None
    return np.asarray(image, np.uint8)


def extent(dark: NDArray[np.bool_]) -> tuple[int, int]:
    """(height, width) in pixels of the box around everything true."""
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


@pytest.fixture(scope="module")
def no_entry_card(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.uint8]:
    if shutil.which("pdftoppm") is None:
        pytest.skip("pdftoppm (poppler-utils) is missing")
    path = tmp_path_factory.mktemp("cards") / "cards.pdf"
    write_sign_cards(path, [17], 120.0, A4)
    return rasterised(path)


def test_the_page_has_its_true_size(no_entry_card: NDArray[np.uint8]) -> None:
    height, width = no_entry_card.shape[:2]
    assert abs(width - 2100) <= 1
    assert abs(height - 2970) <= 1


def test_the_check_square_measures_50_mm(no_entry_card: NDArray[np.uint8]) -> None:
    corner = no_entry_card[2970 - 80 - 510 :, 70:590]
    height, width = extent(corner.max(axis=2) < 128)
    assert abs(width - 500) <= 2
    assert abs(height - 500) <= 2


def test_the_sign_is_printed_at_the_size_asked_for(no_entry_card: NDArray[np.uint8]) -> None:
    blue, green, red = (no_entry_card[..., channel].astype(int) for channel in range(3))
    height, width = extent((red > 150) & (green < 90) & (blue < 90))
    # The red disc takes 97 of the sign's 100 units; the rest is its white rim.
    assert abs(width - 0.97 * 1200) <= 3
    assert abs(height - 0.97 * 1200) <= 3


def test_the_rulers_centimetres_are_a_centimetre_apart(no_entry_card: NDArray[np.uint8]) -> None:
    ruler_top = 2970 - 80 - 110
    row = no_entry_card[ruler_top + 53, 600:].max(axis=1) < 160  # only the long ticks reach so far down
    starts = np.flatnonzero(row & ~np.roll(row, 1))
    assert len(starts) >= 10
    assert set(np.diff(starts)) <= {99, 100, 101}


def test_the_printed_sign_is_the_rendered_one(no_entry_card: NDArray[np.uint8]) -> None:
    red = (no_entry_card[..., 2] > 150) & (no_entry_card[..., 1] < 90)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    top, left = rows[0] - 18, columns[0] - 18  # 1.5 units of rim
    printed = no_entry_card[top : top + 1200, left : left + 1200, ::-1].astype(float)
    sign = render_sign(17, 1200).astype(float)
    alpha = sign[..., 3:] / 255
    assert np.abs(printed - (alpha * sign[..., :3] + (1 - alpha) * 255)).mean() < 2


@needs_pdftoppm
def test_small_cards_share_pages_and_every_class_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "small.pdf"
    write_sign_cards(path, range(43), 45.0, LETTER)
    pages = path.read_bytes().count(b"/Type /Page\n")
    assert pages == 5  # three by three on each Letter page
    red = rasterised(path, pages)[..., 2]
    assert (red < 200).any()


def test_the_same_cards_give_the_same_bytes() -> None:
    assert sign_cards_pdf([1, 14], 60.0, A4) == sign_cards_pdf([1, 14], 60.0, A4)


@pytest.mark.parametrize("size", [9.0, 183.0, float("nan"), -5.0])
def test_a_card_that_does_not_fit_is_refused_with_what_would(size: float) -> None:
    with pytest.raises(UsageError, match="does not fit on A4 with its marks: choose 10 to 182 mm"):
        sign_cards_pdf([1], size, A4)


def test_classes_are_read_as_numbers_ranges_or_all() -> None:
    assert parse_classes("14,1") == (14, 1)
    assert parse_classes("33-36, 14,34") == (33, 34, 35, 36, 14)
    assert parse_classes("all") == tuple(range(43))


@pytest.mark.parametrize("words", ["", "stop", "1,,2", "43", "40-44", "9-3", "-1", "1.5"])
def test_classes_that_do_not_exist_are_refused(words: str) -> None:
    with pytest.raises(UsageError, match=r"sign"):
        parse_classes(words)


def test_an_unknown_page_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'A5': choose A4 or Letter"):
        page_named("A5")
    assert page_named("letter") is LETTER


def test_the_command_writes_the_file_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "cards.pdf"
    result = CliRunner().invoke(print_group, ["signs", "--classes", "14,1", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 cards, signs 120 mm wide" in result.output
    assert out.read_bytes().startswith(b"%PDF")


def test_nothing_is_left_behind_when_the_file_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_sign_cards(tmp_path / "missing" / "cards.pdf", [1], 60.0, A4)
    with pytest.raises(UsageError, match="does not fit"):
        write_sign_cards(tmp_path / "cards.pdf", [1], 500.0, A4)
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_refuses_a_picture_of_the_wrong_shape() -> None:
    sheet = Sheet(Page("tiny", 50, 50), "test")
    with pytest.raises(UsageError, match=r"\(height, width, 3\) uint8"):
        sheet.image(np.zeros((4, 4), np.uint8), Box(0, 0, 10, 10))


@needs_pdftoppm
def test_a_picture_on_a_sheet_keeps_its_colours_and_its_place(tmp_path: Path) -> None:
    sheet = Sheet(Page("tiny", 50, 40), "test")
    sheet.image(np.full((8, 8, 3), (10, 200, 60), np.uint8), Box(10, 5, 20, 15))
    path = tmp_path / "picture.pdf"
    path.write_bytes(sheet.pdf())
    image = rasterised(path)
    assert np.abs(image[125, 200].astype(int) - (60, 200, 10)).max() <= 2
    assert extent(image.min(axis=2) < 128) == pytest.approx((150, 200), abs=2)


@given(
    width=st.floats(20, 120),
    height=st.floats(20, 120),
    gap=st.floats(0, 20),
    area=st.tuples(st.floats(1, 200), st.floats(1, 200)),
)
def test_cards_lie_within_the_area_and_do_not_overlap(
    width: float, height: float, gap: float, area: tuple[float, float]
) -> None:
    room = Box(8, 8, *area)
    boxes = fit_grid(room, width, height, gap)
    assert bool(boxes) == (width <= area[0] + 1e-9 and height <= area[1] + 1e-9)
    for index, box in enumerate(boxes):
        assert box.left_mm >= 8 - 1e-6
        assert box.right_mm <= room.right_mm + 1e-6
        assert box.top_mm >= 8
        assert box.bottom_mm <= room.bottom_mm + 1e-6
        for other in boxes[:index]:
            apart_x = other.right_mm + gap <= box.left_mm + 1e-6 or box.right_mm + gap <= other.left_mm + 1e-6
            apart_y = other.bottom_mm + gap <= box.top_mm + 1e-6
            assert apart_x or apart_y
