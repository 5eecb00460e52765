"""The camera's place from the markers round an object."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.camera_model.pinhole_camera import CameraPose, PinholeCamera, camera_pose_of, estimate_pose
from taintwatch_calibration.printing.pose_board import marker_dictionary
from taintwatch_models.errors import UsageError

__all__ = ["LEAST_MARKERS", "MarkerFinder"]

LEAST_MARKERS = 2
"""One marker's four corners do give a pose, but its tilt is ambiguous when it is small."""


class MarkerFinder:
    """Finds a sheet's markers in pictures of one camera."""

    def __init__(self, markers_mm: Mapping[str, list[list[float]]], fov_deg: float) -> None:
        """`markers_mm` as in `ClipMetadata`. Raises `UsageError` for what cannot be markers."""
        self._fov_deg = fov_deg
        try:
            self._markers = {int(i): np.array(c, np.float64).reshape(4, 2) for i, c in markers_mm.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"the clip's markers are damaged ({error}); print the sheet and record anew") from None
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        self._detector = cv2.aruco.ArucoDetector(marker_dictionary(), parameters)

    def corners(self, image: NDArray[np.uint8]) -> dict[int, NDArray[np.float64]]:
        """Return the corners (4, 2) in pixels of the sheet's markers that are seen."""
        found, ids, _ = self._detector.detectMarkers(image)
        if ids is None:
            return {}
        pairs = zip(np.ravel(ids).tolist(), found, strict=True)
        return {i: np.asarray(c, np.float64).reshape(4, 2) for i, c in pairs if i in self._markers}

    def pose(self, image: NDArray[np.uint8]) -> CameraPose | None:
        """Return where the camera stands; None where too few markers are seen."""
        seen = self.corners(image)
        if len(seen) < LEAST_MARKERS:
            return None
        sheet = np.concatenate([self._markers[i] for i in seen])
        pixels = np.concatenate(list(seen.values()))
        camera = PinholeCamera(image.shape[1], image.shape[0], self._fov_deg)
        pose = estimate_pose(camera, sheet, pixels)
        return None if pose is None else camera_pose_of(*pose)
