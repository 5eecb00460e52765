"""Cameras: one thread around each source, and the set that batches their newest frames."""

from __future__ import annotations

from taintwatch.cameras.backoff import Backoff
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.cameras.status import CameraState, CameraStatus

__all__ = ["Backoff", "Camera", "CameraSet", "CameraState", "CameraStatus"]
