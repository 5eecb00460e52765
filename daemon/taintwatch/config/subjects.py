"""What in a camera's picture is judged by itself: the tables for regions, masks, faces and objects."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from taintwatch.config.fields import Name, Section, Text, Texts

__all__ = ["FacesSection", "MaskSection", "ObjectsSection", "RegionSection"]

Share = Annotated[float, Field(ge=0, le=1)]
Corner = Annotated[tuple[Share, Share], Field(strict=False)]


class MaskSection(Section):
    """A part of the picture that is never judged: a box or a polygon."""

    box: Annotated[tuple[Share, Share, Share, Share], Field(strict=False)] | None = Field(
        default=None, description="left, top, width and height in shares of the picture, or else ..."
    )
    polygon: Annotated[tuple[Corner, ...], Field(strict=False, min_length=3)] | None = Field(
        default=None, description="... its corners [x, y] in shares of the picture."
    )

    @model_validator(mode="after")
    def _one_shape(self) -> MaskSection:
        if (self.box is None) == (self.polygon is None):
            raise ValueError("give either box or polygon")
        if self.box is not None:
            left, top, width, height = self.box
            if width <= 0 or height <= 0 or left + width > 1 + 1e-9 or top + height > 1 + 1e-9:
                raise ValueError("box must have an area and lie in the picture: left + width and top + height up to 1")
        elif self.polygon is not None and _area(self.polygon) == 0:
            raise ValueError("polygon has no area")
        return self


class RegionSection(MaskSection):
    """A part of the picture that is judged by itself, with a vote and alerts of its own."""

    name: Name = Field(description="Stands in alerts: letters, digits, dot, dash and underscore.")


def _area(corners: tuple[tuple[float, float], ...]) -> float:
    """Return twice the area within a polygon (the shoelace formula)."""
    ahead = (*corners[1:], corners[0])
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(corners, ahead, strict=True)))


class FacesSection(Section):
    """How faces are looked for, and whether people are named. It counts where the detector `face` judges."""

    finder: Text | None = Field(default=None, description="YuNet's ONNX file; none: OpenCV's Haar cascades.")
    smallest: Annotated[float, Field(ge=0.02, le=1)] = Field(
        default=0.1, description="Least width of a face, as a share of the picture's shorter side."
    )
    names: bool = Field(
        default=True, description="false: people are person 1, person 2, ... and no picture is kept or shown."
    )


class ObjectsSection(Section):
    """An object detector, in front of the classifier or guarded itself. Without a model, the frame is judged."""

    model: Text | None = Field(default=None, description="ONNX file of the detector (YOLOX, YOLOv5 to 11, DETR, SSD); "
                              "bundled:signs: the sign finder that comes with the package.")  # fmt: skip
    labels: Text | None = Field(default=None, description="Its class names: a .json list or a .txt.")
    preprocessing: Text | None = Field(default=None, description="TOML that declares its input; MODEL.toml beside it.")
    decoder: Text | None = Field(default=None, description="Layout of its outputs; none: what they look like.")
    reference: Text | None = Field(
        default=None, description="What `taintwatch calibrate objects` learnt, for the detector objects; beside MODEL."
    )
    classes: Texts = Field(default=(), description="Classes that are judged; none named: all.")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.4, description="Least score of an object.")
    overlap: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.45, description="Boxes of one class that overlap by more are one object."
    )
    smallest: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=24, description="Least pixels of an object's shorter side."
    )
    margin: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1,
        description="Cut out on each side of an object, as a share of its longer side. Crops are squares: a box that "
        "is a tenth too small still leaves the object whole.",
    )
    most: Annotated[int, Field(ge=1, le=100)] = Field(default=8, description="Objects of one frame; the widest first.")
    patience_s: Annotated[float, Field(gt=0, le=60)] = Field(
        default=1.0,
        description="An object that is not found for longer is given up; four times as long between two frames.",
    )
