"""Cameras: one thread around each source, and the set that batches their newest frames."""

from __future__ import annotations

from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.cameras.pacing import Backoff

__all__ = ["Backoff", "Camera", "CameraSet", "CameraState", "CameraStatus"]
