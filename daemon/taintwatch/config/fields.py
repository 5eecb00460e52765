"""What the tables of the configuration have in common: the types of their keys, and how strictly they are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["Count", "Name", "Seconds", "Section", "Text", "Texts"]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""Site and camera names become part of a message's topic."""
Text = Annotated[str, StringConstraints(min_length=1)]
# TOML arrays arrive as lists; tuples keep the configuration immutable.
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Section(BaseModel):
    """What all tables share: unknown keys are errors, types are taken as written, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
