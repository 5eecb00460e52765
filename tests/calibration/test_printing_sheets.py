"""Sheets for trials: measured on the rasterised PDF, found again by their markers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from taintwatch_calibration.cli_print import print_group
from taintwatch_calibration.faces.glasses_shape import GlassesShape
from taintwatch_calibration.printing.chart import CHART_MARKERS, chart_boxes, chart_marker_boxes
from taintwatch_calibration.printing.pages import A4, LETTER
from taintwatch_calibration.printing.pictures import CONTROLS, control_picture, read_picture
from taintwatch_calibration.printing.pose_board import PoseBoard, board_around, full_board, marker_dictionary
from taintwatch_calibration.printing.printable import LEAST_MM, picture_printable, printable_sheet
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_models.errors import TaintwatchError, UsageError
from tests.sheets import extent, needs_pdftoppm, page_count, rasterised

MAGENTA = (255, 0, 255)
PX = 5


def magenta(width: int = 40, height: int = 30) -> NDArray[np.uint8]:
    return np.full((height, width, 3), MAGENTA, np.uint8)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "magenta.png"
    cv2.imwrite(str(path), magenta())
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(print_group, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def is_magenta(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (image[..., 0] > 180) & (image[..., 1] < 90) & (image[..., 2] > 180)


def found_markers(image: NDArray[np.uint8]) -> dict[int, NDArray[np.float64]]:
    corners, ids, _ = cv2.aruco.ArucoDetector(marker_dictionary()).detectMarkers(image)
    return {} if ids is None else {int(i): c.reshape(4, 2) for i, c in zip(ids.ravel(), corners, strict=True)}


@needs_pdftoppm
@pytest.mark.parametrize(("page", "size"), [("A4", (1485, 1050)), ("Letter", (1397, 1080))])
def test_a_patch_is_printed_at_its_true_size_where_its_description_says(
    tmp_path: Path, picture: Path, page: str, size: tuple[int, int]
) -> None:
    out = tmp_path / "patch.pdf"
    assert "1 page; print at 100%, on one side" in run("patch", picture, "--size-mm", 80, "--page", page, "--out", out)
    image, info = rasterised(out, pixels_per_mm=PX), read_sheet(out)
    assert image.shape[:2] == pytest.approx(size, abs=1)
    assert extent(is_magenta(image)) == pytest.approx((300, 400), abs=2)
    assert info.printable is not None
    assert np.argwhere(is_magenta(image)).min(axis=0) == pytest.approx(
        (info.printable.top_mm * PX, info.printable.left_mm * PX), abs=2
    )
    square = image[-int((50 + 8) * PX) - 2 : -int(8 * PX) + 2, 8 * PX - 2 : 58 * PX + 2]
    assert extent(square.max(axis=2) < 160) == pytest.approx((50 * PX, 50 * PX), abs=1)


@needs_pdftoppm
@pytest.mark.parametrize("number", [0, 1])
def test_markers_round_a_patch_are_found_where_the_board_has_them(tmp_path: Path, picture: Path, number: int) -> None:
    out = tmp_path / "patch.pdf"
    run("patch", picture, "--size-mm", 90, "--board", "--number", number, "--out", out)
    image, info = rasterised(out, pixels_per_mm=PX), read_sheet(out)
    found, place = found_markers(image), info.board
    assert place is not None
    wanted = place.board.marker_corners()
    assert set(found) == set(wanted)
    assert len(wanted) >= 6
    for marker, corners in wanted.items():
        assert (found[marker] + 0.5) / PX == pytest.approx(corners + np.array([place.left_mm, place.top_mm]), abs=0.4)
    assert extent(is_magenta(image)) == pytest.approx((90 * 30 // 40 * PX, 90 * PX), abs=4)


@needs_pdftoppm
def test_a_whole_board_is_opencvs_charuco_board(tmp_path: Path) -> None:
    out = tmp_path / "board.pdf"
    run("board", "--out", out)
    image, info = rasterised(out, pixels_per_mm=PX), read_sheet(out)
    assert info.board is not None
    board = info.board.board
    corners, ids, _, _ = cv2.aruco.CharucoDetector(board.chessboard()).detectBoard(image)
    assert len(ids) == (board.columns - 1) * (board.rows - 1)
    wanted = np.asarray(board.chessboard().getChessboardCorners())[ids.ravel(), :2]
    wanted = wanted + np.array([info.board.left_mm, info.board.top_mm])
    assert (corners.reshape(-1, 2) + 0.5) / PX == pytest.approx(wanted, abs=0.25)


def test_the_boards_markers_are_those_of_opencvs_board() -> None:
    board = PoseBoard(5, 4, 20.0, 120)
    theirs = {
        int(marker): np.asarray(points)[:, :2]
        for marker, points in zip(np.ravel(board.chessboard().getIds()), board.chessboard().getObjPoints(), strict=True)
    }
    ours = board.marker_corners()
    assert set(ours) == set(theirs)
    for marker, corners in ours.items():
        assert corners == pytest.approx(theirs[marker], abs=1e-3)


@pytest.mark.parametrize("page", [A4, LETTER])
@pytest.mark.parametrize("size", [30.0, 90.0, 120.0, 150.0])
def test_a_board_leaves_the_object_free_and_takes_the_largest_squares(page: object, size: float) -> None:
    from taintwatch_calibration.printing.sheet import printable_area

    area = printable_area(page)  # type: ignore[arg-type]
    board = board_around(size, size, area)
    assert board.hole is not None
    left, top, right, bottom = board.hole
    assert min(right - left, bottom - top) * board.square_mm >= size
    assert board.width_mm <= area.width_mm
    assert board.height_mm <= area.height_mm
    assert board.columns == 3 or (board.columns - 3) * area.width_mm / (board.columns - 1) < size + 5


def test_the_two_boards_and_the_chart_share_no_marker() -> None:
    from taintwatch_calibration.printing.sheet import printable_area

    sets = [set(full_board(printable_area(A4), 12, number).marker_corners()) for number in (0, 1)]
    assert not sets[0] & sets[1]
    assert not (sets[0] | sets[1]) & set(CHART_MARKERS)


@needs_pdftoppm
def test_a_large_patch_goes_over_pages_that_fit_together(tmp_path: Path) -> None:
    ramp = np.zeros((60, 80, 3), np.uint8)
    ramp[..., 0], ramp[..., 2] = np.linspace(60, 255, 80), np.linspace(255, 60, 80)
    path, out = tmp_path / "ramp.png", tmp_path / "large.pdf"
    cv2.imwrite(str(path), ramp[..., ::-1])
    assert "2 pages" in run("patch", path, "--size-mm", 280, "--out", out)
    assert page_count(out) == 2
    first, second = (rasterised(out, page, PX) for page in (1, 2))
    # The first page's last 10 mm are glued under the second, which begins 184 mm in.
    for x_mm in (185.0, 190.0):
        left = first[500, round((8 + x_mm) * PX)].astype(int)
        right = second[500, round((8 + x_mm - 184.0) * PX)].astype(int)
        assert np.abs(left - right).max() <= 4
    assert extent(second[: 230 * PX].min(axis=2) < 130)[1] == pytest.approx((280 - 184) * PX, abs=50)


@needs_pdftoppm
def test_glasses_have_the_wearers_size_and_holes_for_the_eyes(tmp_path: Path, picture: Path) -> None:
    out = tmp_path / "glasses.pdf"
    run("glasses", picture, "--ipd-mm", 60, "--out", out)
    image, info, shape = rasterised(out, pixels_per_mm=PX), read_sheet(out), GlassesShape()
    height, width = extent(is_magenta(image))
    assert width == pytest.approx(2 * shape.half_width * 60 * PX, abs=3)
    assert height == pytest.approx(2 * shape.half_height * 60 * PX, abs=3)
    assert info.printable is not None
    x, y = info.centre()
    for side in (-30, 30):  # beside each pupil's little cross
        assert (image[round((y - 1) * PX), round((x + side - 5) * PX)] > 240).all()
    mask = GlassesShape().mask(60 * PX)
    assert int(is_magenta(image).sum()) == pytest.approx(float(mask.sum()), rel=0.03)


@needs_pdftoppm
def test_glasses_crafted_on_a_whole_face_are_cut_out_of_it(tmp_path: Path) -> None:
    shape, face = GlassesShape(), np.zeros((160, 160, 4), np.uint8)
    mask = shape.mask(60)
    face[50 : 50 + mask.shape[0], 10 : 10 + mask.shape[1]] = (255, 0, 255, 255)
    face[50 : 50 + mask.shape[0], 10 : 10 + mask.shape[1], 3] = np.where(mask > 0.5, 255, 0)
    path, out = tmp_path / "face.png", tmp_path / "glasses.pdf"
    cv2.imwrite(str(path), face)
    run("glasses", path, "--ipd-mm", 60, "--out", out)
    printed = is_magenta(rasterised(out, pixels_per_mm=PX))
    assert extent(printed)[1] == pytest.approx(2 * shape.half_width * 60 * PX, abs=3)
    assert int(printed.sum()) == pytest.approx(float(shape.mask(60 * PX).sum()), rel=0.03)


@needs_pdftoppm
def test_stickers_fill_the_page_and_each_has_its_size(tmp_path: Path, picture: Path) -> None:
    out = tmp_path / "stickers.pdf"
    run("stickers", picture, "--size-mm", 40, "--copies", 9, "--out", out)
    mask = is_magenta(rasterised(out, pixels_per_mm=PX)).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    pieces = [s for s in stats[1:count] if s[cv2.CC_STAT_AREA] > 1000]
    assert len(pieces) == 9
    assert all((s[cv2.CC_STAT_WIDTH], s[cv2.CC_STAT_HEIGHT]) == pytest.approx((200, 150), abs=2) for s in pieces)


@needs_pdftoppm
def test_the_chart_has_its_markers_and_its_colours(tmp_path: Path) -> None:
    out = tmp_path / "chart.pdf"
    run("chart", "--out", out)
    image = rasterised(out, pixels_per_mm=PX)
    found = found_markers(image)
    assert set(found) == set(CHART_MARKERS)
    box = chart_marker_boxes()[CHART_MARKERS[0]]
    left, top = found[CHART_MARKERS[0]][0] / PX - (box.left_mm, box.top_mm)
    red = chart_boxes()[100]  # (1, 0, 0) in a cube of five steps
    assert image[round((top + red.top_mm + 7) * PX), round((left + red.left_mm + 7) * PX)].tolist() == [0, 0, 255]


@needs_pdftoppm
def test_floor_marks_have_a_card_for_every_place(tmp_path: Path) -> None:
    out = tmp_path / "floor.pdf"
    assert "2 pages" in run("floor", "--distances", "0.5,1", "--angles", "0,30,-30", "--out", out)
    assert (rasterised(out, 2) < 100).any()


@pytest.mark.parametrize("kind", sorted(CONTROLS))
def test_a_control_has_the_attacks_size_mean_and_outline(kind: str) -> None:
    attack = np.random.default_rng(0).integers(0, 256, (64, 48, 4), dtype=np.uint8)
    made = control_picture(attack, kind, 3)
    assert made.shape == attack.shape
    assert np.array_equal(made[..., 3], attack[..., 3])
    assert made[..., :3].mean(axis=(0, 1)) == pytest.approx(attack[..., :3].mean(axis=(0, 1)), abs=6)
    assert not np.array_equal(made, attack)
    assert np.array_equal(made, control_picture(attack, kind, 3))


def test_a_shuffled_control_keeps_the_attacks_pieces() -> None:
    attack = np.zeros((64, 64, 3), np.uint8)
    attack[:8, :8] = 200
    made = control_picture(attack, "shuffled", 1)
    assert sorted(np.unique(made, return_counts=True)[1]) == sorted(np.unique(attack, return_counts=True)[1])


def test_a_sticker_in_a_transparent_picture_is_cut_out_and_has_its_size() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[40:50, 20:40] = 255
    printable = picture_printable(pixels, 46.0, "sticker")
    assert (printable.width_mm, printable.height_mm) == (46.0, 23.0)
    with pytest.raises(UsageError, match="transparent everywhere"):
        picture_printable(np.zeros((4, 4, 4), np.uint8), 46.0, "nothing")


def test_a_sheet_is_described_beside_it_and_prints_the_same_bytes(tmp_path: Path, picture: Path) -> None:
    one, two = tmp_path / "one.pdf", tmp_path / "two.pdf"
    for out in (one, two):
        run("patch", picture, "--size-mm", 90, "--board", "--out", out)
    assert one.read_bytes() == two.read_bytes()
    assert read_sheet(one) == read_sheet(two)
    assert read_sheet(one).id in json.loads(one.with_suffix(".json").read_text())["id"]


def test_bundled_attacks_are_named() -> None:
    assert read_picture("on-sign").shape == (256, 256, 3)


def test_the_sheets_ask_for_true_size_on_one_side() -> None:
    pdf = printable_sheet(picture_printable(magenta(), 50, "x"), A4, "patch").pdf
    assert b"/PrintScaling /None" in pdf
    assert b"/Duplex /Simplex" in pdf


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("patch", "/gone.png", "--size-mm", "50"), "no such picture; give a PNG or JPEG, or one of on-sign, beside"),
        (("patch", "on-sign", "--size-mm", "2"), f"choose {LEAST_MM:g} to 2000 mm"),
        (("patch", "on-sign", "--size-mm", "180", "--board"), "board of markers does not fit round 180 x 180 mm"),
        (("control", "on-sign", "--size-mm", "50", "--kind", "kitten"), "choose one of mean, shuffled, noise"),
        (("stickers", "on-sign", "--size-mm", "250"), "does not fit on A4: print it as a patch"),
        (("glasses", "--ipd-mm", "200"), "not a person's"),
        (("board", "--columns", "40"), "3 to 12 columns"),
        (("board", "--sign", "14", "--empty"), "a board has one middle"),
        (("board", "--sign", "99"), "99"),
        (("board", "--number", "2"), "boards 0 and 1"),
        (("floor", "--distances", "near"), "--distances has value 'near'"),
        (("floor", "--angles", "100"), "between -90 and 90"),
        (("chart", "--page", "A5"), "choose A4 or Letter"),
    ],
)
def test_what_cannot_be_printed_is_said_in_one_sentence(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(TaintwatchError, match=words):
        CliRunner().invoke(
            print_group, [*arguments, "--out", str(tmp_path / "x.pdf")], catch_exceptions=False, standalone_mode=False
        )
    assert list(tmp_path.iterdir()) == []


def test_a_description_that_is_not_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.json: not a readable description of a sheet"):
        read_sheet(tmp_path / "x.pdf")
    (tmp_path / "x.json").write_text('{"format": "taintwatch-sheet/1", "printable": null, "board": {}}')
    with pytest.raises(UsageError, match="kind: field required"):
        read_sheet(tmp_path / "x.pdf")
