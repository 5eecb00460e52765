"""The still pictures of an alert: the frame as it was, and with what was found drawn into it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.records import Alert
from taintwatch_models.errors import TaintwatchError

__all__ = ["PictureError", "encode_jpeg", "overlay", "shrink"]

RED, BLACK, WHITE = (40, 40, 230), (0, 0, 0), (255, 255, 255)  # blue-green-red


class PictureError(TaintwatchError):
    """A picture cannot be encoded."""


def encode_jpeg(image: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Return `image` ((height, width, 3), uint8, blue-green-red) as JPEG. Raises `PictureError`."""
    try:
        good, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise PictureError(f"A picture of {image.shape} cannot be written as JPEG: {error}") from error
    if not good:
        raise PictureError(f"A picture of {image.shape} cannot be written as JPEG.")
    return bytes(buffer.tobytes())


def shrink(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return `image` at most `width` pixels wide, its sides even (video codecs want that), proportions kept."""
    scale = min(1.0, width / image.shape[1])
    size = [max(2, 2 * round(side * scale / 2)) for side in (image.shape[1], image.shape[0])]
    if (size[1], size[0]) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def overlay(image: NDArray[np.uint8], alert: Alert) -> NDArray[np.uint8]:
    """Return a copy of the frame with the alert's polygons, label, score and time drawn into it."""
    picture = image.copy()
    thickness = max(1, round(picture.shape[1] / 400))
    if alert.region is not None:
        polygons = [np.array(polygon, np.int32).reshape(-1, 1, 2) for polygon in alert.region.polygons if polygon]
        cv2.polylines(picture, polygons, True, WHITE, thickness + 2, cv2.LINE_AA)
        cv2.polylines(picture, polygons, True, RED, thickness, cv2.LINE_AA)
    recovered = "" if alert.recovered_name is None else f" -> {alert.recovered_name}"
    for row, text in enumerate(
        (
            f"{alert.label_name}{recovered}",
            f"score {alert.score:.3g} / {alert.threshold:.3g}  {', '.join(alert.detectors)}",
            f"{alert.camera}  {np.datetime64(alert.wall_ns, 'ns').astype('datetime64[ms]')}Z",
        )
    ):
        _write(picture, text, row)
    return picture


def _write(picture: NDArray[np.uint8], text: str, row: int) -> None:
    plain = text.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII only
    scale = max(0.3, picture.shape[1] / 1200)
    place = (max(2, round(8 * scale)), round((row + 1) * 28 * scale))
    for colour, thickness in ((BLACK, 4), (WHITE, 1)):
        width = max(1, round(thickness * scale))
        cv2.putText(picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
