"""A configuration to start from, written from the sections themselves so that it can never be out of date."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from taintwatch.config.delivery import NatsSection
from taintwatch.config.fleet import FleetSection, FootageSection
from taintwatch.config.notify import MqttSection, WebhookSection
from taintwatch.config.outputs import CurveSection, EvidenceSection, MetricsSection, PublishSection, WebSection
from taintwatch.config.sections import (
    CameraSection,
    Config,
    DetectSection,
    GateSection,
    GpuSection,
    LearnSection,
    LimitsSection,
    ModelSection,
    VoteSection,
)
from taintwatch.config.subjects import FacesSection, ObjectsSection

__all__ = ["TABLES", "example_toml"]

HEAD = """\
# A configuration of Taintwatch. What is commented out shows the default.
# Check it with `taintwatch config check FILE`; start with `taintwatch run --config FILE`.
"""
TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("[model]", ModelSection),
    ("[[camera]]", CameraSection),
    ("[detect]", DetectSection),
    ("[learn]", LearnSection),
    ("[vote]", VoteSection),
    ("[publish]", PublishSection),
    ("[publish.curve]", CurveSection),
    ("[evidence]", EvidenceSection),
    ("[notify.mqtt]", MqttSection),
    ("[[notify.webhook]]", WebhookSection),
    ("[limits]", LimitsSection),
    ("[metrics]", MetricsSection),
    ("[web]", WebSection),
    ("[faces]", FacesSection),
    ("[objects]", ObjectsSection),
    ("[gate]", GateSection),
    ("[gpu]", GpuSection),
    ("[footage]", FootageSection),
    ("[fleet]", FleetSection),
    ("[nats]", NatsSection),
)
# What has no default must be shown with something that can be replaced.
STAND_INS = {"name": "door", "source": "rtsp://camera.example/stream", "url": "https://receiver.example/hook"}


def example_toml() -> str:
    """Return a valid TOML configuration that shows every key with its meaning and default."""
    parts = [HEAD, *_keys(Config, only="site"), ""]
    for header, section in TABLES:
        parts += [f"# {(section.__doc__ or '').strip()}", header, *_keys(section), ""]
    return "\n".join(parts)


def _keys(section: type[BaseModel], only: str | None = None) -> list[str]:
    """Return one line for each key of a section: commented out where there is a default."""
    lines = []
    for name, field in section.model_fields.items():
        if (only is not None and name != only) or isinstance(field.default, BaseModel):
            continue  # a table in a table stands by itself
        required = field.default is PydanticUndefined
        value = STAND_INS[name] if required else field.default
        setting = f"{name} = {_toml(value)}" if value is not None else f"{name} ="
        lines.append(f"{'' if required else '# '}{setting}  # {field.description}")
    return lines


def _toml(value: Any) -> str:
    """Return a default as TOML; for these few types JSON is written the same way."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)
