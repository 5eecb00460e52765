"""Plays rendered streets to the daemon's own detection: frames in, what it makes of every sign out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.street.random_street import random_street
from taintwatch.assembly import make_detection
from taintwatch.deadlines import Deadlines
from taintwatch.demo.street_scene import StreetPlan, StreetScene
from taintwatch.demo.street_show import street_config
from taintwatch.detection_stack import DetectionStack
from taintwatch.pipeline import Step, watch
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.scene import SceneSettings
from taintwatch_models.records import Frame
from taintwatch_models.signs import SIGN_NAMES

__all__ = ["play", "simulate", "street_plan", "street_stack"]

_CAMERAS = ("street", "office", "corridor")


class _Frames:
    """Gives every so many frames of one street, one at a time, as a set of cameras does."""

    def __init__(self, scene: StreetScene, name: str, every: int) -> None:
        self._scene, self._name, self._next, self._every = scene, name, 0, every
        self._count = scene.frame_count or 0

    @property
    def finished(self) -> bool:
        return self._next >= self._count

    def next_batch(self, max_batch: int, wait_s: float) -> list[Frame]:
        index, self._next = self._next, self._next + self._every
        seconds = index / self._scene.fps
        moment = round(seconds * 1e9)
        return [Frame(self._name, index, self._scene.render(index), moment, moment, seconds)]


def street_stack() -> DetectionStack:
    """Return what judges the signs of a street, as `taintwatch demo --scene street` does."""
    config = street_config("sim:?scene=street", realtime=False, evidence=None)
    return make_detection(config, Deadlines(), learning=False)[1]


def street_plan(seed: int, settings: SceneSettings, without: int | None = None) -> StreetPlan:
    """Return a street of three signs, none of them of the class `without`."""
    classes = [sign for sign in range(len(SIGN_NAMES)) if sign != without]
    return random_street(np.random.default_rng([seed, 0x7]), 3, classes=classes, settings=settings)


def simulate(plan: StreetPlan, settings: SceneSettings, patch: np.ndarray | None = None) -> StreetScene:
    """Return the street before one of three cameras, which the settings' seed chooses."""
    return StreetScene(plan, patch, settings, CAMERA_MODELS[_CAMERAS[settings.seed % 3]](settings.seed))


def play(stack: DetectionStack, scene: StreetScene, name: str, every: int = 1) -> Iterator[Sequence[Step]]:
    """Yield the steps of each frame, of every `every`th."""
    return watch(
        _Frames(scene, name, every), stack.classifier, stack.detectors, stack.voter, stack.tracker, stack.expander,
        max_batch=4, wait_s=0.0, stopping=lambda: False,
    )  # fmt: skip
