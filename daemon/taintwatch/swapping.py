"""From an old configuration and a new one to what must be exchanged, everything loaded and checked."""

from __future__ import annotations

from dataclasses import replace

from taintwatch.alerts.outbox import Identity
from taintwatch.assembly import identity_of, limits_of, make_camera, make_detection
from taintwatch.config.digest import config_hash
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.runtime import ConfigurationChange
from taintwatch_models.errors import UsageError

__all__ = ["Preparer"]


class Preparer:
    """Makes changes for one start of the daemon. Used by one thread at a time."""

    def __init__(self, identity: Identity | None, deadlines: Deadlines) -> None:
        """`identity`: what the messages say at the start."""
        self._identity = identity
        self._deadlines = deadlines

    def __call__(self, old: Config, new: Config) -> ConfigurationChange:
        """Return what differs. Cameras that stay the same are left alone, and so is the model where it does.

        Raises what assembling raises; then nothing was changed.
        """
        if not new.camera:
            raise UsageError("the new configuration has no camera to watch")
        plan = limits_of(new)
        removed = tuple(camera.name for camera in old.camera if camera not in new.camera)
        added = tuple(make_camera(camera, self._deadlines) for camera in new.camera if camera not in old.camera)
        identity = None if self._identity is None else replace(self._identity, config_hash=config_hash(new))
        detection = None
        if _judgement(old) != _judgement(new):
            model, detection = make_detection(new, self._deadlines)
            identity = None if identity is None else identity_of(new, model, identity.instance)
        self._identity = identity
        return ConfigurationChange(plan, removed, added, detection, identity)


def _judgement(config: Config) -> tuple[object, ...]:
    """Return the settings that what judges is made of."""
    speed = config.limits.max_batch, config.gate, config.gpu, config.faces
    return config.model, config.detect, config.vote, config.publish.update_s, *speed
