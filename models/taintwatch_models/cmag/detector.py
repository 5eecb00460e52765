"""CMAG as a detector: from a prediction with its maps and its picture to a verdict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.calibration_file import CmagCalibration
from taintwatch_models.cmag.limits import exceedance
from taintwatch_models.cmag.runner import CmagRunner, reduce_pictures
from taintwatch_models.errors import ConfigError
from taintwatch_models.records import Prediction, Verdict

__all__ = ["CmagDetector"]


class CmagDetector:
    """Suspicious when the frame does not resemble what the classifier believes it sees (Han et al., 2021).

    The score is the largest exceedance of any statistic's threshold, in benign spreads: above 0 is suspicious.
    """

    name = "cmag"

    def __init__(self, runner: CmagRunner, settings: CmagCalibration, order: str = "rgb") -> None:
        """`order` is that of the model's channels, `rgb` or `bgr`."""
        self._runner, self._settings, self._order = runner, settings, order

    def __call__(self, prediction: Prediction) -> Verdict:
        """Raises `ConfigError` where the classifier was loaded without its maps, `InferenceError`."""
        outputs = self._runner.measure(*self._inputs(prediction))
        values = {limit.statistic: float(outputs[limit.statistic][0]) for limit in self._settings.limits}
        score = max(exceedance(limit, values[limit.statistic], prediction.label) for limit in self._settings.limits)
        return Verdict.of(prediction, self.name, suspicious=score > 0.0, score=score, threshold=0.0, statistics=values)

    def given(self, prediction: Prediction) -> NDArray[np.uint8]:
        """Return what the reconstruction is compared with: the classifier's input reduced, as `reconstruct` gives it.

        Raises `ConfigError` as a call does.
        """
        return self._as_picture(self._inputs(prediction)[2][0])

    def reconstruct(self, prediction: Prediction) -> NDArray[np.uint8]:
        """Return what the classifier believes it sees, (size, size, 3) uint8, blue-green-red as frames are.

        Raises as a call does.
        """
        return self._as_picture(self._runner(*self._inputs(prediction))["reconstruction"][0])

    def _as_picture(self, planes: NDArray[np.float32]) -> NDArray[np.uint8]:
        picture = np.moveaxis(planes * 255 + 0.5, 0, -1).astype(np.uint8)
        return np.ascontiguousarray(picture[:, :, ::-1] if self._order == "rgb" else picture)

    def _inputs(self, prediction: Prediction) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        if prediction.features is None or prediction.pixels is None:
            raise ConfigError("the detector 'cmag' is on, but the classifier was loaded without its maps and pixels")
        picture = reduce_pictures(prediction.pixels[None], self._runner.info.size)
        return prediction.features[None], prediction.logits[None], picture
