"""Thresholds of CMAG's statistics: what is kept of a calibration, and how far a frame exceeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ConfigDict

from taintwatch_models.errors import CalibrationError

__all__ = ["LOW_IS_SUSPICIOUS", "StatisticLimit", "exceedance", "suspicion"]

LOW_IS_SUSPICIOUS = frozenset({"ssim"})
"""Statistics of which a small value is suspicious; of all others a large one is."""


@dataclass(frozen=True, slots=True)
class StatisticLimit:
    """One statistic's threshold, in the statistic's own units."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    statistic: str
    threshold: float
    """The most suspicious value that is still benign: a floor for `ssim`, a ceiling for all others."""
    scale: float = 1.0
    """Above 0: the spread of benign values, so that exceedances of several statistics can be compared."""
    by_class: Mapping[str, float] = field(default_factory=dict)
    """Thresholds of the predicted labels (index as text) for which there were benign frames enough."""

    def __post_init__(self) -> None:
        values = [self.threshold, self.scale, *self.by_class.values()]
        if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values) or self.scale <= 0:
            raise CalibrationError(
                f"the limit of '{self.statistic}' needs numbers, and a scale above 0; calibrate again with "
                "`taintwatch cmag calibrate`"
            )

    def for_label(self, label: int) -> float:
        """Return the threshold for frames of that predicted label."""
        return self.by_class.get(str(label), self.threshold)


def suspicion(statistic: str, value: float) -> float:
    """Return a value that grows with suspicion: the statistic, or its negative."""
    return -value if statistic in LOW_IS_SUSPICIOUS else value


def exceedance(limit: StatisticLimit, value: float, label: int) -> float:
    """Return how far `value` lies beyond the threshold, in benign spreads; above 0 is suspicious."""
    own = suspicion(limit.statistic, limit.for_label(label))
    return (suspicion(limit.statistic, value) - own) / limit.scale
