"""How a camera comes to be armed: what it is judged by until then, and how much of it is learnt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from taintwatch_models.detection.operating_points import LOW_FPR

__all__ = ["ArmingState", "CameraLearning", "LearningPlan"]


class ArmingState(StrEnum):
    """What a camera is judged by."""

    COLLECTING = "learning"
    """The general reference, while its own frames are taken."""
    FITTING = "arming"
    """The same, while its own reference is made of them."""
    ARMED = "armed"
    """Its own reference, or the calibration that the model came with."""
    DRIFTING = "drifting"
    """Its own reference, which suspects clearly more frames than was accepted: a refit is proposed."""
    REFITTING = "refitting"
    """Its own reference, while frames for a new one are taken, and it is made."""


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """How much is learnt of each camera."""

    seconds: float
    frames: int
    threads: int = 0
    target_fpr: float = LOW_FPR
    """Above twice of which a refit is proposed."""
    refit_s: float | None = None
    """A reference that is older is made again; None: never unasked."""
    margin_s: float = 10.0
    """So long before and after an alert nothing is learnt: an attack may be there without being seen."""


@dataclass(frozen=True, slots=True)
class CameraLearning:
    """How far a camera is."""

    state: ArmingState
    share: float
    """Of its frames that are taken, in [0, 1]."""
