"""A verdict's region as `supervision.Detections`, for its annotators, zones and sinks."""

from __future__ import annotations

import numpy as np
import supervision

from taintwatch.detector import PictureVerdict
from taintwatch_models.records import Verdict

__all__ = ["to_detections"]


def to_detections(verdict: PictureVerdict | Verdict) -> supervision.Detections:
    """Return the suspicious region as one detection; none where there is none.

    `class_id` is the label. `confidence` is how far the score is above the threshold, 0 to 1, since scores have no
    upper end: 1 - exp(threshold - score). `data` has `class_name`, `recovered_name`, `score` and `threshold`.
    """
    if verdict.region is None:
        return supervision.Detections.empty()
    x, y, width, height = verdict.region.box
    return supervision.Detections(
        xyxy=np.array([[x, y, x + width, y + height]], dtype=np.float32),
        confidence=np.array([1.0 - np.exp(min(0.0, verdict.threshold - verdict.score))], dtype=np.float32),
        class_id=np.array([verdict.label]),
        data={
            "class_name": np.array([verdict.label_name]),
            "recovered_name": np.array([verdict.recovered_name or ""]),
            "score": np.array([verdict.score]),
            "threshold": np.array([verdict.threshold]),
        },
    )
