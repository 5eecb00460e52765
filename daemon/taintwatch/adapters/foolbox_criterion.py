"""For foolbox: which inputs are suspicious, and the criterion of an attack that must also evade the detector."""

from __future__ import annotations

from typing import Any

import eagerpy as ep
import numpy as np
from foolbox.criteria import Criterion
from numpy.typing import NDArray

from taintwatch.adapters.arrays import pictures_of_batch
from taintwatch.detector import Detector

__all__ = ["Evades", "SuspiciousInputs"]


class SuspiciousInputs:
    """A callable as foolbox's models are: native inputs (batch, 3, height, width) in, one boolean each out."""

    def __init__(self, detector: Detector, bounds: tuple[float, float] = (0.0, 1.0)) -> None:
        """`bounds`: the foolbox model's."""
        self._detector, self._bounds = detector, bounds

    def __call__(self, inputs: Any) -> NDArray[np.bool_]:
        """Return (batch,) booleans; `inputs` are of any framework that eagerpy knows."""
        batch = ep.astensor(inputs).numpy()
        verdicts = self._detector.check(pictures_of_batch(batch, channels_first=True, bounds=self._bounds))
        return np.array([verdict.suspicious for verdict in verdicts], dtype=np.bool_)


class Evades(Criterion):  # type: ignore[misc]  # foolbox types it as Any where it is not installed
    """Fulfilled where another criterion is *and* the detector is not alarmed: what an adaptive attack has to reach."""

    def __init__(self, criterion: Criterion, suspicious: SuspiciousInputs) -> None:
        super().__init__()
        self._criterion, self._suspicious = criterion, suspicious

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._criterion!r})"

    def __call__(self, perturbed: Any, outputs: Any) -> Any:
        """Return (batch,) booleans of the inputs' framework."""
        fooled, restore = ep.astensor_(self._criterion(perturbed, outputs))
        evaded = ~self._suspicious(perturbed)
        return restore(ep.logical_and(fooled, ep.from_numpy(fooled, evaded)))
