"""One frame of a clip as a small picture that shows what was seen: label, region, scores, pose."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.annotation import AMBER, GREEN, GREY, INK, RED, WHITE, canvas, text
from taintwatch_calibration.camera_model.pinhole_camera import CameraPose
from taintwatch_models.records import Prediction, Verdict

__all__ = ["as_data_uri", "draw_example"]

_WIDTH = 400
_FOOTER = 58


def draw_example(
    prediction: Prediction, verdicts: Sequence[Verdict], pose: CameraPose | None, *, fooled: bool | None, attacked: bool
) -> NDArray[np.uint8]:
    """Return the frame with the detectors' regions, and facts under it: (height, 400, 3) blue-green-red."""
    frame = prediction.frame.image
    scale = _WIDTH / frame.shape[1]
    picture = np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8).copy()
    for verdict in verdicts[:1]:
        if verdict.region is not None:
            polygons = [np.round(np.array(p) * scale).astype(np.int32) for p in verdict.region.polygons]
            cv2.polylines(picture, polygons, True, WHITE, 4, cv2.LINE_AA)
            cv2.polylines(picture, polygons, True, RED, 2, cv2.LINE_AA)
    foot = canvas(_FOOTER, picture.shape[1], INK)
    colour = WHITE if fooled is None else (110, 110, 255) if fooled else (120, 215, 130)
    end = text(foot, prediction.label_name, 8, 18, 10, colour)
    text(foot, f" {prediction.confidence:.0%}", end, 18, 10, GREY)
    left = 8
    for verdict in verdicts[:3]:
        words = (
            f"{verdict.detector} {verdict.score:.2g}{' > ' if verdict.suspicious else ' <= '}{verdict.threshold:.2g}"
        )
        left = text(foot, words + "   ", left, 36, 9, (110, 110, 255) if verdict.suspicious else GREEN)
    place = "no pose" if pose is None else f"{pose.distance_m:.2f} m, {pose.angle_deg:.0f} degrees"
    end = text(foot, place + "   ", 8, 52, 9, GREY)
    if attacked:
        text(foot, "attack in the picture", end, 52, 9, AMBER)
    return np.vstack([picture, foot])


def as_data_uri(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a `data:` address (JPEG), to stand in a page by itself."""
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
