"""What may be set for one camera: where its pictures come from, how they are read, and what of them is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from taintwatch.config.fields import Name, Seconds, Section, Text
from taintwatch.config.subjects import MaskSection, RegionSection

__all__ = ["CameraSection"]


class CameraSection(Section):
    """One camera, stream, video file, folder of pictures or simulated scene."""

    name: Name = Field(description="Stands in topics and alerts: letters, digits, dot, dash and underscore.")
    source: Text = Field(description="0, /dev/video0, rtsp://..., http://..., video.mp4, a folder, or sim:...")
    fps: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=None, description="At most so many frames a second."
    )
    loop: bool = Field(default=False, description="Start a file again at its end, for ever.")
    realtime: bool = Field(default=False, description="Play a video file at its own speed, not as fast as possible.")
    open_timeout_s: Seconds = Field(default=10.0, description="How long opening may take.")
    read_timeout_s: Seconds = Field(default=5.0, description="How long one picture may take.")
    stale_after_s: Seconds = Field(
        default=10.0, description="A live camera that is silent for so long is called stale."
    )
    follow: bool = Field(default=False, description="Watch a folder for further files, each when it is complete.")
    rotate: Literal[0, 90, 180, 270] = Field(default=0, description="Turn each picture by so many degrees clockwise.")
    flip: Literal["horizontal", "vertical"] | None = Field(default=None, description="Mirror each picture.")
    deinterlace: bool = Field(default=False, description="Deinterlace a video or stream.")
    user: Text | None = Field(default=None, description="User of a stream, as it is, in place of one in the address.")
    password_file: Text | None = Field(
        default=None, description="File with that user's password; only its owner may read it."
    )
    transport: Literal["tcp", "udp", "auto"] = Field(default="tcp", description="rtsp://: what carries the pictures.")
    input_format: Text | None = Field(
        default=None, description="A stream's format, in libav's words (mpegts, h264, mjpeg); none: recognised."
    )
    snapshot_interval_s: Seconds = Field(
        default=1.0, description="Seconds between two requests of an http:// address that gives one picture each."
    )
    tls_verify: bool = Field(default=False, description="Verify the certificates of https:// and rtsps:// cameras.")
    tls_ca: Text | None = Field(
        default=None, description="File of the authorities that they are verified with; none: the usual ones."
    )
    pixel_format: Annotated[str, Field(min_length=4, max_length=4)] | None = Field(
        default=None, description="Ask a webcam for this format: MJPG or YUYV ..."
    )
    width: Annotated[int, Field(ge=16, le=8192)] | None = Field(default=None, description="... of this width ...")
    height: Annotated[int, Field(ge=16, le=8192)] | None = Field(default=None, description="... and height ...")
    capture_fps: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=None, description="... at so many pictures a second."
    )
    region: Annotated[tuple[RegionSection, ...], Field(strict=False)] = Field(
        default=(), description="Tables [[camera.region]]: a name and a box or polygon; each is judged by itself."
    )
    mask: Annotated[tuple[MaskSection, ...], Field(strict=False)] = Field(
        default=(), description="Tables [[camera.mask]]: a box or polygon that is never judged."
    )

    @field_validator("region")
    @classmethod
    def _regions_differ(cls, regions: tuple[RegionSection, ...]) -> tuple[RegionSection, ...]:
        names = [region.name for region in regions]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two regions are named {twice!r}")
        return regions

    @model_validator(mode="after")
    def _whole_credentials(self) -> CameraSection:
        if self.password_file is not None and self.user is None:
            raise ValueError("'user' is missing; user and password_file belong together")
        return self
