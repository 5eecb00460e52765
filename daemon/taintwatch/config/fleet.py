"""The table of the configuration that says how `taintwatch fleet run` spreads cameras over machines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from taintwatch.config.fields import Section, Text

__all__ = ["FleetSection"]


class FleetSection(Section):
    """How `taintwatch fleet run` spreads the cameras over a Ray cluster; nothing else reads it."""

    cameras_per_group: Annotated[int, Field(ge=1, le=256)] = Field(
        default=16, description="Cameras that one process watches, in common batches; it is placed as a whole."
    )
    cpus: Annotated[float, Field(gt=0, le=1024)] = Field(default=1.0, description="CPU cores that a group asks for ...")
    gpus: Annotated[float, Field(ge=0, le=16)] = Field(default=0.0, description="... GPUs; a share is allowed ...")
    memory_mb: Annotated[int, Field(ge=64, le=1_000_000)] = Field(
        default=1500, description="... and megabytes of memory."
    )
    address: Text | None = Field(
        default=None, description="Ray cluster to run on; none: RAY_ADDRESS's, or one started on this machine."
    )
    lost_after_s: Annotated[float, Field(ge=1, le=600)] = Field(
        default=5.0, description="A group that is silent for so long is started elsewhere."
    )
    start_s: Annotated[float, Field(ge=5, le=3600)] = Field(
        default=120.0, description="How long a group may take to load its model before it is started elsewhere."
    )
    status_file: Text | None = Field(
        default=None,
        description="Where `taintwatch fleet status` reads how it stands; none: in $STATE_DIRECTORY, or "
        "~/.local/state/taintwatch.",
    )
