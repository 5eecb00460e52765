"""The tables of the configuration that say how the work is spread: which frames are checked, and on which processor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from taintwatch.config.fields import Section

__all__ = ["GateSection", "GpuSection"]


class GateSection(Section):
    """Which frames are checked. Off, every frame is."""

    enabled: bool = Field(
        default=False, description="Check only frames that the classifier's head finds worth it; calibrate it first."
    )
    random_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.02, description="Share of the other frames that is checked too, drawn in secret."
    )


class GpuSection(Section):
    """How a GPU is used. On a CPU it changes nothing but the precision."""

    precision: Literal["float32", "float16"] = Field(
        default="float32", description="float16 is compared with float32 at the start, and refused where labels differ."
    )
    cuda_graph: bool = Field(
        default=False, description="Record the work once and replay it; every batch is then filled up to max_batch."
    )
