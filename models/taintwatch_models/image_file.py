"""Reading an image: the one way from a file's or a camera's bytes to pixels, within limits."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame
from taintwatch_models.image_check import MOST_BYTES, image_fault

__all__ = ["decode_image", "read_image"]

_TILED = frozenset({".heic", ".heif"})


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
    """Return the image, turned as its EXIF says; `flags` are `cv2.imdecode`'s. Raises `BadFrame`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadFrame(f"{path} has more than {MOST_BYTES >> 20} MiB, the most that is read as one image")
        data = path.read_bytes()
    except OSError as error:
        raise BadFrame(f"{path} cannot be read: {error.strerror}") from error
    if not data:
        raise BadFrame(f"{path} is empty (0 bytes)")
    if path.suffix.lower() in _TILED:
        raise BadFrame(f"{path} is an HEIC image, which is not read; convert it to JPEG, PNG or AVIF")
    return decode_image(data, str(path), flags)


def decode_image(data: bytes, description: str, flags: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
    """Return the image that `data` holds; nothing is decoded that is cut short or too large. Raises `BadFrame`."""
    fault = image_fault(data)
    if fault is not None:
        raise BadFrame(f"{description} {fault}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # such as more pixels than OpenCV accepts
        image = None
    if image is None:
        raise BadFrame(f"{description} is not an image that can be decoded")
    return np.asarray(image, np.uint8) if image.dtype == np.uint8 else np.asarray(image)
