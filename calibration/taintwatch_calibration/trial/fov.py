"""A camera's field of view from pictures of a sheet with markers, seen at a slant (Zhang, 2000)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.factory import open_source
from taintwatch.sources.source import read_through
from taintwatch_calibration.camera_model.pinhole_camera import PinholeCamera, camera_pose_of, estimate_pose
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.trial.markers import MarkerFinder
from taintwatch_models.errors import UsageError

__all__ = ["FovFit", "fit_fov", "fov"]

_LEAST_MARKERS = 4
_LEAST_VIEWS = 4
_MOST_VIEWS = 40
_SLANT_DEG = 20.0
Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FovFit:
    """What was found. JSON-ready."""

    fov_deg: float
    """Horizontal field of view."""
    error_px: float
    """Root mean square distance between markers' corners as seen and as the camera model puts them."""
    views: int
    slant_deg: float
    """The largest angle that the sheet was seen at."""


def fit_fov(images: Iterable[NDArray[np.uint8]], markers_mm: Mapping[str, list[list[float]]]) -> FovFit:
    """Fit the focal length, with the axis in the picture's middle, square pixels and no distortion.

    Raises `UsageError`: too few pictures with markers, or all from straight ahead, where a near camera with a wide lens
    and a far one with a long lens see the same.
    """
    finder = MarkerFinder(markers_mm, 60.0)
    sheet = {int(marker): np.array(corners, np.float32) for marker, corners in markers_mm.items()}
    views: list[tuple[Points, Points]] = []
    size: tuple[int, int] | None = None
    for image in images:
        seen = finder.corners(image)
        if len(seen) < _LEAST_MARKERS or (size is not None and image.shape[:2] != size):
            continue
        size = (image.shape[0], image.shape[1])
        flat = np.concatenate([sheet[marker] for marker in seen])
        points = np.column_stack([flat, np.zeros(len(flat), np.float32)]).astype(np.float32)
        views.append((points, np.concatenate(list(seen.values())).astype(np.float32)))
    if size is None or len(views) < _LEAST_VIEWS:
        raise UsageError(
            f"only {len(views)} pictures show {_LEAST_MARKERS} markers of the sheet or more; show it whole and sharp, "
            "from several sides"
        )
    return _fitted(_thinned(views), size)


def _fitted(views: list[tuple[Points, Points]], size: tuple[int, int]) -> FovFit:
    height, width = size
    guess = PinholeCamera(width, height, 60.0).matrix
    flags = (
        cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_PRINCIPAL_POINT | cv2.CALIB_FIX_ASPECT_RATIO
        | cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    )  # fmt: skip
    points, pixels = [view[0] for view in views], [view[1] for view in views]
    error, matrix, *_ = cv2.calibrateCamera(points, pixels, (width, height), guess, None, flags=flags)
    fov = 2 * math.degrees(math.atan(width / 2 / float(matrix[0, 0])))
    if not 5.0 <= fov <= 150.0:
        raise UsageError(
            f"these pictures would mean a field of view of {fov:.0f} degrees; record the sheet at more of a slant"
        )
    slant = _largest_slant(views, PinholeCamera(width, height, fov))
    if slant < _SLANT_DEG:
        raise UsageError(
            f"the sheet is seen at {slant:.0f} degrees at most, which does not tell a field of view; go round it to "
            f"{_SLANT_DEG:.0f} degrees or more"
        )
    return FovFit(round(fov, 2), round(float(error), 3), len(views), round(slant, 1))


def _largest_slant(views: list[tuple[Points, Points]], camera: PinholeCamera) -> float:
    angles = [0.0]
    for points, pixels in views:
        pose = estimate_pose(camera, points[:, :2].astype(np.float64), pixels.astype(np.float64))
        if pose is not None:
            angles.append(abs(camera_pose_of(*pose).angle_deg))
    return max(angles)


def _thinned(views: list[tuple[Points, Points]]) -> list[tuple[Points, Points]]:
    """Return views spread evenly over time: neighbours tell the same."""
    if len(views) <= _MOST_VIEWS:
        return views
    return [views[round(index * (len(views) - 1) / (_MOST_VIEWS - 1))] for index in range(_MOST_VIEWS)]


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
