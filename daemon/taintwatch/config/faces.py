"""The table of the configuration that a face camera has."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from taintwatch.config.fields import Section, Text

__all__ = ["FacesSection"]


class FacesSection(Section):
    """How faces are looked for, and whether people are named. It counts where the detector `face` judges."""

    finder: Text | None = Field(default=None, description="YuNet's ONNX file; none: OpenCV's Haar cascades.")
    smallest: Annotated[float, Field(ge=0.02, le=1)] = Field(
        default=0.1, description="Least width of a face, as a share of the picture's shorter side."
    )
    names: bool = Field(
        default=True, description="false: people are person 1, person 2, ... and no picture is kept or shown."
    )
