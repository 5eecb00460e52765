"""A trial in little: a sheet with a board, pictures of it at known poses, and scores made up by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray

from taintwatch.demo.play import load_attack
from taintwatch.demo.sign_scene import BORDER, draw_street
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch_calibration.camera_model.pinhole_camera import PinholeCamera
from taintwatch_calibration.camera_model.raster import Raster, page_raster
from taintwatch_calibration.camera_model.sheet_scene import SheetScene, Shot
from taintwatch_calibration.cli_print import print_group
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.trial.clips import ClipMetadata, Condition
from taintwatch_calibration.trial.matrix import Cell
from taintwatch_calibration.trial.scored import ScoredClip

__all__ = ["LENS", "PlacedSign", "bundled_placement", "markers_of", "print_sheet", "scene_at", "scored_clip"]

LENS = PinholeCamera(640, 480, 55.0)
SIGN_MM = 120.0


@dataclass(frozen=True, slots=True)
class PlacedSign:
    """A bundled attack on a sign of 120 mm, seen by `LENS` so that all is as large as in the demo's scene."""

    sign: int
    size_mm: float
    at: tuple[float, float]
    distance_m: float


def bundled_placement(name: str) -> PlacedSign:
    """Work out sizes and places from the scene that the attack was crafted for."""
    placement = load_attack(name).placement
    zoom = 1 / (1 - placement.motion) ** 2
    sign_px = LENS.height * placement.card_side * (1 - 2 * BORDER)
    x = 0.5 + (placement.patch_x - placement.card_x) * LENS.width / sign_px
    y = 0.5 + (placement.patch_y - placement.card_y) * LENS.height / sign_px
    size_mm = SIGN_MM * placement.patch_side * LENS.height / sign_px
    return PlacedSign(placement.sign, size_mm, (x, y), round(SIGN_MM * LENS.focal_px / (sign_px * zoom) / 1000, 2))


def print_sheet(out: Path, *arguments: object) -> Path:
    """Run `taintwatch print` and return the PDF."""
    words = [str(argument) for argument in (*arguments, "--out", out)]
    assert CliRunner().invoke(print_group, words, catch_exceptions=False).exit_code == 0
    return out


def markers_of(pdf: Path) -> dict[str, list[list[float]]]:
    """The sheet's markers as a clip knows them."""
    corners = read_sheet(pdf).board_corners_from_centre()
    return {str(marker): [list(point) for point in points] for marker, points in corners.items()}


def scene_at(
    raster: Path | Raster, shot: Shot, camera_model: str = "office", camera: PinholeCamera = LENS
) -> SheetScene:
    """A sheet (its PDF or raster) before a street."""
    sheet = page_raster(raster, read_sheet(raster)) if isinstance(raster, Path) else raster
    background: NDArray[np.uint8] = draw_street(camera.width, camera.height, 1)
    return SheetScene(sheet, None, background, camera, shot, CAMERA_MODELS[camera_model](3))


def scored_clip(
    condition: Condition,
    right: list[bool],
    scores: list[float],
    *,
    cell: Cell | None = None,
    raised: list[bool] | None = None,
    from_s: float = 0.0,
    name: str = "clip.mp4",
    threshold: float = 1.0,
) -> ScoredClip:
    """A clip of 10 frames a second whose detector `tight` gave these scores."""
    cell = cell or Cell("office", 0.3, 0.0)
    info = ClipMetadata(condition, 55.0, truth=14, cell=cell, attack_from_s=from_s)
    times = [index / 10 for index in range(len(scores))]
    some: list[bool | None] = list(right)
    return ScoredClip(
        name, "ab" * 32, info, times, [info.attacked(time_s) for time_s in times], [cell.distance_m] * len(times),
        [cell.angle_deg] * len(times), ["stop" if good else "yield" for good in right], some, [None] * len(times),
        {"tight": scores}, raised or [score > threshold for score in scores], "markers", 0, [(0.0, "data:,")],
    )  # fmt: skip
