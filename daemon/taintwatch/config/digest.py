"""The configuration in one canonical form, without secrets, and its hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from taintwatch.config.sections import Config
from taintwatch.sources.url import describe_url, url_scheme

__all__ = ["canonical", "config_hash"]


def canonical(config: Config) -> dict[str, Any]:
    """Return the configuration as JSON-ready values, credentials taken out of every camera's URL."""
    values = config.model_dump(mode="json")
    for camera in values["camera"]:
        if url_scheme(camera["source"]) is not None:
            camera["source"] = describe_url(camera["source"])
    return values


def config_hash(config: Config) -> str:
    """Return the SHA-256 (hex) of the canonical JSON: equal for equal settings, whatever the passwords are."""
    text = json.dumps(canonical(config), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
