"""`model.signed_by`: nothing is loaded that the holder of that key did not sign."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from taintwatch.config.sections import Config
from taintwatch_models.errors import ConfigError, UsageError
from taintwatch_models.manifest import require_signed
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.signatures import read_public

__all__ = ["require_approved"]


def require_approved(config: Config, settings: ModelSettings) -> None:
    """Raise `ConfigError` where `model.signed_by` is given and a file that is about to be read was not signed so.

    `settings`: the model's, from `config`. What the daemon itself learns in its state folder needs no signature.
    """
    if config.model.signed_by is None:
        return
    try:
        public = read_public(Path(config.model.signed_by))
    except UsageError as error:
        raise ConfigError(f"model.signed_by: {error}") from error
    guard = config.objects
    require_signed(settings, public)
    if guard.model is not None:
        detector = ModelSettings(path=guard.model, labels=guard.labels, preprocessing=guard.preprocessing)
        require_signed(replace(detector, reference=guard.reference), public)
    if config.faces.finder is not None:
        require_signed(ModelSettings(path=config.faces.finder), public)
