"""What Home Assistant is told of a camera: its MQTT discovery (home-assistant.io/integrations/mqtt)."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import version
from typing import Any

__all__ = ["discovery_of"]

URL = "https://taintwatch.github.io/taintwatch/"


def discovery_of(prefix: str, base: str, site: str, camera: str) -> dict[str, bytes]:
    """Return the discovery messages of a camera by topic: binary sensor, label, score, snapshot.

    `base`: of the topics, `PREFIX/SITE`. An entity is available while the daemon and its camera are.
    """
    node = _node(f"taintwatch_{site}_{camera}")
    state = f"{base}/{camera}/state"
    shared: dict[str, Any] = {
        "availability": [{"topic": f"{base}/availability"}, {"topic": f"{base}/{camera}/availability"}],
        "availability_mode": "all",
        "device": {
            "identifiers": [node], "name": f"Taintwatch {camera}", "manufacturer": "Taintwatch",
            "model": f"Camera at {site}", "sw_version": version("taintwatch"),
        },
        "origin": {"name": "Taintwatch", "sw_version": version("taintwatch"), "support_url": URL},
    }  # fmt: skip
    sensor = {"state_topic": state, "icon": "mdi:label-outline"}
    entities: dict[tuple[str, str], dict[str, Any]] = {
        ("binary_sensor", "attack"): {
            "name": "Attack", "device_class": "safety", "state_topic": state,
            "value_template": "{{ value_json.attack }}", "json_attributes_topic": state,
        },
        ("sensor", "label"): sensor | {"name": "Label", "value_template": "{{ value_json.label }}"},
        ("sensor", "score"): {
            "name": "Score", "state_topic": state, "state_class": "measurement", "icon": "mdi:gauge",
            "value_template": "{{ value_json.score }}",
        },
        ("image", "snapshot"): {
            "name": "Snapshot", "image_topic": f"{base}/{camera}/snapshot", "content_type": "image/jpeg",
        },
    }  # fmt: skip
    return {
        f"{prefix}/{component}/{node}/{what}/config": json.dumps(
            {"unique_id": f"{node}_{what}", "object_id": f"{node}_{what}"} | entity | shared
        ).encode()
        for (component, what), entity in entities.items()
    }


def _node(name: str) -> str:
    """Return a name as Home Assistant takes it; two different ones stay different."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
