"""From an old configuration and a new one to what must be exchanged, everything loaded and checked."""

from __future__ import annotations

from dataclasses import replace

from taintwatch.alerts.writer import Identity
from taintwatch.assembly import identity_of, make_camera, make_judges, plan_of
from taintwatch.config.digest import config_hash
from taintwatch.config.sections import Config
from taintwatch.parts import Swap
from taintwatch.pulse import Pulses
from taintwatch_models.errors import UsageError

__all__ = ["Preparer"]


class Preparer:
    """Makes swaps for one start of the daemon. Used by one thread at a time."""

    def __init__(self, identity: Identity | None, pulses: Pulses) -> None:
        """`identity`: what the messages say at the start."""
        self._identity = identity
        self._pulses = pulses

    def __call__(self, old: Config, new: Config) -> Swap:
        """Return what differs. Cameras that stay the same are left alone, and so is the model where it does.

        Raises what assembling raises; then nothing was changed.
        """
        if not new.camera:
            raise UsageError("the new configuration has no camera to watch")
        plan = plan_of(new)
        removed = tuple(camera.name for camera in old.camera if camera not in new.camera)
        added = tuple(make_camera(camera, self._pulses) for camera in new.camera if camera not in old.camera)
        identity = None if self._identity is None else replace(self._identity, config_hash=config_hash(new))
        judges = None
        if _judgement(old) != _judgement(new):
            model, judges = make_judges(new, self._pulses)
            identity = None if identity is None else identity_of(new, model, identity.instance)
        self._identity = identity
        return Swap(plan, removed, added, judges, identity)


def _judgement(config: Config) -> tuple[object, ...]:
    """Return the settings that what judges is made of."""
    speed = config.limits.max_batch, config.gate, config.gpu, config.faces
    return config.model, config.detect, config.vote, config.publish.update_s, *speed
