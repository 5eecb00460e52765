"""The tables of the configuration that bound a run, or trade accuracy, waiting or machines for speed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from taintwatch.config.fields import Count, Section, Text

__all__ = ["FootageSection", "GateSection", "GpuSection", "LimitsSection"]


class GateSection(Section):
    """Which frames are checked. Off, every frame is."""

    enabled: bool = Field(
        default=False, description="Check only frames that the classifier's head finds worth it; calibrate it first."
    )
    random_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.02, description="Share of the others that is checked all the same, drawn in secret."
    )


class GpuSection(Section):
    """How a GPU is used. On a CPU it changes nothing but the precision."""

    precision: Literal["float32", "float16"] = Field(
        default="float32", description="float16 is compared with float32 at the start, and refused where labels differ."
    )
    cuda_graph: bool = Field(
        default=False, description="Record the work once and replay it; every batch is then filled up to max_batch."
    )


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


class LimitsSection(Section):
    """What bounds a run."""

    max_batch: Annotated[int, Field(ge=1, le=256)] = Field(default=4, description="Frames in one inference call.")
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        default=0.0, description="How long a frame waits for those of other live cameras, to share a batch with them."
    )
    max_frames: Count | None = Field(default=None, description="End after so many frames.")
    stop_s: Annotated[float, Field(gt=0, le=60)] = Field(default=2.0, description="How long a clean stop may take.")
    inference_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0, description="A batch that takes longer hangs: the watchdog is no longer fed."
    )
