"""A pinhole camera and where it stands before a sheet: from a pose to a homography, from points to a pose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError

__all__ = ["CameraPose", "PinholeCamera", "camera_pose_of", "estimate_pose", "homography", "pose_at"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PinholeCamera:
    """A pinhole camera without distortion whose axis meets the picture's middle."""

    width: int
    height: int
    fov_deg: float
    """Horizontal field of view."""

    def __post_init__(self) -> None:
        """Raises `UsageError` for what is no camera."""
        if not 5.0 <= self.fov_deg <= 150.0:
            raise UsageError(f"a horizontal field of view of {self.fov_deg:g} degrees is no camera's: give 5 to 150")
        if min(self.width, self.height) < 16 or max(self.width, self.height) > 8192:
            raise UsageError(f"a picture of {self.width} x {self.height} is no camera's: give 16 to 8192 pixels a side")

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return self.width / 2 / math.tan(math.radians(self.fov_deg) / 2)

    @property
    def matrix(self) -> Vector:
        """(3, 3): from camera coordinates (x right, y down, z ahead) to pixels, counted from their centres."""
        f = self.focal_px
        return np.array([[f, 0, (self.width - 1) / 2], [0, f, (self.height - 1) / 2], [0, 0, 1.0]])


@dataclass(frozen=True, slots=True)
class CameraPose:
    """Where the camera stands before a sheet."""

    distance_m: float
    """From the camera to the sheet's middle."""
    angle_deg: float
    """Between the sheet's normal and the way to the camera; negative to the left of who looks at the sheet."""


def pose_at(
    distance_mm: float, yaw_deg: float, *, pitch_deg: float = 0.0, roll_deg: float = 0.0,
    aside: tuple[float, float] = (0.0, 0.0),
) -> tuple[Vector, Vector]:  # fmt: skip
    """Return (R (3, 3), t (3,)) from sheet coordinates (mm; x right, y down, z behind it) to the camera's.

    The camera looks at the sheet's middle, but for `aside`: a shift of the sheet as shares of the distance.
    """
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw_deg, pitch_deg, roll_deg))
    around_y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    around_z = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    return around_z @ around_x @ around_y, np.array([aside[0] * distance_mm, aside[1] * distance_mm, distance_mm])


def camera_pose_of(R: Vector, t: Vector) -> CameraPose:
    """Return where the camera of such a pose stands."""
    place = -R.T @ t
    distance = float(np.linalg.norm(place))
    angle = math.degrees(math.acos(min(1.0, max(-1.0, -place[2] / distance))))
    return CameraPose(distance / 1000.0, math.copysign(angle, place[0]) if abs(place[0]) > 1e-9 else angle)


def homography(camera: PinholeCamera, R: Vector, t: Vector) -> Vector:
    """Return the (3, 3) map from sheet millimetres to pixels."""
    return camera.matrix @ np.column_stack([R[:, 0], R[:, 1], t])


def estimate_pose(camera: PinholeCamera, sheet_mm: Vector, pixels: Vector) -> tuple[Vector, Vector] | None:
    """Return the pose that takes sheet points (N, 2) to pixels (N, 2), N >= 4; None where there is none."""
    points = np.column_stack([sheet_mm, np.zeros(len(sheet_mm))])
    for method in (cv2.SOLVEPNP_IPPE, cv2.SOLVEPNP_SQPNP):  # the first, made for planes, fails exactly from the front
        good, rvec, tvec = cv2.solvePnP(points, pixels, camera.matrix, None, flags=method)
        if good and np.isfinite(tvec).all():
            rvec, tvec = cv2.solvePnPRefineLM(points, pixels, camera.matrix, None, rvec, tvec)
            R, _ = cv2.Rodrigues(rvec)
            t = np.asarray(tvec, np.float64).ravel()
            if np.isfinite(t).all() and t[2] > 0:
                return np.asarray(R, np.float64), t
    return None
