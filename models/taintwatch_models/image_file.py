"""Reading an image: the one way from a file's or a camera's bytes to pixels, within limits."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame
from taintwatch_models.image_check import MOST_BYTES, image_fault

__all__ = ["decode_image", "read_image"]

_HEIC = frozenset({".heic", ".heif"})


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
    is_heic = path.suffix.lower() in _HEIC and b"avif" not in data[8:64]
    return (_decode_heic if is_heic else decode_image)(data, str(path), flags)


def decode_image(data: bytes, description: str, flags: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
    """Return the image that `data` holds; nothing is decoded that is cut short or too large. Raises `BadFrame`."""
    _refuse_faulty(data, description)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # such as more pixels than OpenCV accepts
        image = None
    if image is None:
        raise BadFrame(f"{description} is not an image that can be decoded")
    return np.asarray(image, np.uint8) if image.dtype == np.uint8 else np.asarray(image)


def _decode_heic(data: bytes, description: str, flags: int) -> NDArray[np.uint8]:
    """Decode HEIC with libheif, tiles and all, turned as it says: files alone, for no camera sends any."""
    _refuse_faulty(data, description)
    try:
        from pi_heif import open_heif
    except ImportError:
        needed = "needs `pip install taintwatch[heif]`; or convert it to JPEG, PNG or AVIF"
        raise BadFrame(f"{description} is an HEIC image, which {needed}") from None
    try:
        image = np.asarray(open_heif(io.BytesIO(data), convert_hdr_to_8bit=True, bgr_mode=True), np.uint8)
    except (ValueError, RuntimeError, OSError, EOFError, SyntaxError, MemoryError):  # as libheif's binding has them
        raise BadFrame(f"{description} is not an image that can be decoded") from None
    if flags != cv2.IMREAD_COLOR:
        return image
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(image[:, :, :3])


def _refuse_faulty(data: bytes, description: str) -> None:
    fault = image_fault(data)
    if fault is not None:
        raise BadFrame(f"{description} {fault}")
