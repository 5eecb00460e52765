"""A printed sheet before a camera that is held by hand: any frame, with its pose. Pure: no thread, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.camera_model import CameraModel, plain
from taintwatch.sources.compositing import cover
from taintwatch.sources.scene import Truth
from taintwatch_calibration.camera_model.pinhole_camera import (
    CameraPose,
    PinholeCamera,
    camera_pose_of,
    homography,
    pose_at,
)
from taintwatch_calibration.camera_model.raster import PIXELS_PER_MM, Raster

__all__ = ["SheetScene", "Shot"]

_SUPERSAMPLING = 2
_PERIODS_S = (3.7, 2.9, 5.3, 4.1)


@dataclass(frozen=True, slots=True)
class Shot:
    """One clip: where the camera stands, how its hand shakes, and when the attack is there."""

    distance_m: float
    angle_deg: float
    fps: float = 15.0
    duration_s: float = 2.0
    start_s: float = 0.0
    end_s: float = math.inf
    """The attack is there while start <= time < end."""
    shake: float = 0.02
    """How far hand and object move: shift as a share of the distance; 50 times that in degrees of roll and tilt."""
    seed: int = 0
    aim: tuple[float, float] = (0.5, 0.5)
    """Where the object's middle is in the picture, as shares of its width and height."""


class SheetScene:
    """Renders a sheet as a `Playable` for `SimSource`. `sheet` is the object without, `attacked` with the attack."""

    def __init__(
        self, sheet: Raster, attacked: Raster | None, background: NDArray[np.uint8], camera: PinholeCamera, shot: Shot,
        camera_model: CameraModel = plain,
    ) -> None:  # fmt: skip
        """`background` is (height, width, 3) uint8 blue-green-red of any size; it is far behind and stands still."""
        self.camera, self.shot = camera, shot
        self._sheets = (_shrunk(sheet, camera, shot), None if attacked is None else _shrunk(attacked, camera, shot))
        self._background = cover(background, camera.width, camera.height)
        self._camera_model = camera_model

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.shot.fps

    @property
    def frame_count(self) -> int:
        """Frames of the clip."""
        return max(1, round(self.shot.duration_s * self.shot.fps))

    def pose(self, index: int) -> CameraPose:
        """Return where the camera stands in frame `index`."""
        return camera_pose_of(*self._pose(index))

    def render(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index` as (height, width, 3) uint8 blue-green-red."""
        attacked = self.ground_truth(index).attacked
        sheet, to_mm = self._sheets[1] if attacked and self._sheets[1] is not None else self._sheets[0]
        fine = np.diag([_SUPERSAMPLING, _SUPERSAMPLING, 1.0])
        fine[:2, 2] = (_SUPERSAMPLING - 1) / 2  # pixels are counted from their centres
        H = fine @ homography(self.camera, *self._pose(index)) @ to_mm
        size = (self.camera.width * _SUPERSAMPLING, self.camera.height * _SUPERSAMPLING)
        warped = cv2.warpPerspective(sheet, H, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        warped = cv2.resize(warped, (self.camera.width, self.camera.height), interpolation=cv2.INTER_AREA)
        alpha = warped[:, :, 3:].astype(np.float32) / 255.0
        # The colours are premultiplied: the border of the warp is black and transparent.
        scene = self._background * (1.0 - alpha) + warped[:, :, :3]
        return self._camera_model(np.clip(np.rint(scene), 0, 255).astype(np.uint8), index)

    def ground_truth(self, index: int) -> Truth:
        """Return whether the attack is there."""
        time_s = index / self.shot.fps
        attacked = self._sheets[1] is not None and self.shot.start_s <= time_s < self.shot.end_s
        return Truth(attacked, None, time_s)

    def _pose(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        shot = self.shot
        phases = np.random.default_rng([shot.seed, 0x54AD]).uniform(0, 2 * math.pi, 4)
        time_s = index / shot.fps
        x, y, roll, tilt = (
            shot.shake * math.sin(2 * math.pi * time_s / period + phase)
            for period, phase in zip(_PERIODS_S, phases, strict=True)
        )
        # The camera stands where it should and is turned away, so that the object comes to lie beside the middle.
        right = (shot.aim[0] - 0.5) * self.camera.width / self.camera.focal_px
        down = (shot.aim[1] - 0.5) * self.camera.height / self.camera.focal_px
        ahead_mm = 1000 * shot.distance_m / math.sqrt(1 + right**2 + down**2)
        yaw_deg = shot.angle_deg + math.degrees(math.atan(right))
        return pose_at(ahead_mm, yaw_deg, pitch_deg=50 * tilt, roll_deg=50 * roll, aside=(x + right, y + down))


def _shrunk(raster: Raster, camera: PinholeCamera, shot: Shot) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the raster (H, W, 4), premultiplied, no finer than is seen, and its map to millimetres."""
    alpha = raster.image[:, :, 3:].astype(np.uint16)
    image = np.concatenate([(raster.image[:, :, :3] * alpha // 255).astype(np.uint8), raster.image[:, :, 3:]], axis=2)
    wanted = _SUPERSAMPLING * camera.focal_px / (1000 * shot.distance_m)  # pixels per millimetre, seen from the front
    share = min(1.0, wanted / PIXELS_PER_MM)
    height, width = image.shape[:2]
    size = (max(1, round(width * share)), max(1, round(height * share)))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    back = np.diag([width / size[0], height / size[1], 1.0])
    back[0, 2], back[1, 2] = (width / size[0] - 1) / 2, (height / size[1] - 1) / 2
    return small, raster.to_mm @ back
