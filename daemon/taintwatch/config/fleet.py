"""The tables of the configuration that say how work is spread: footage over cores, cameras over machines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from taintwatch.config.fields import Section, Text

__all__ = ["FleetSection", "FootageSection"]


class FootageSection(Section):
    """A folder of videos that is watched as fast as possible, on several cores or machines."""

    workers: Annotated[int, Field(ge=0, le=1024)] = Field(
        default=0, description="Files at once; 0: one for each core (Ray: all that the cluster has)."
    )
    engine: Literal["processes", "ray"] = Field(
        default="processes", description="ray: on the Ray cluster that RAY_ADDRESS names; needs taintwatch[ray]."
    )
    done: Text | None = Field(
        default=None, description="Folder that keeps each file's result, so that a run that was ended goes on there."
    )


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
