"""The camera model as Torch draws from it while crafting: the same light, blur and noise, with a gradient; no JPEG.

The simulator's own is `taintwatch.sources.camera_model`; `CameraVariation.of` takes a preset's settings over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from taintwatch.sources.camera_model import CAMERA_MODELS, SimulatedCamera
from taintwatch.sources.colour_profile import ColourProfile
from taintwatch_models.errors import UsageError

__all__ = ["CameraVariation", "printed", "simulate_camera"]

_FRAME_PX = 480  # height of the frame that the presets' pixels are meant for


@dataclass(frozen=True, slots=True)
class CameraVariation:
    """How far one step's camera may be from the next; each is drawn evenly from 0 (or minus it) to it."""

    light: float = 0.2
    """Largest relative change of brightness."""
    blur: float = 0.8
    """Largest standard deviation of the blur, pixels of the classifier's input."""
    noise: float = 0.02
    """Largest standard deviation of the noise, of 1."""
    brightness: float = 1.0
    """What the change of brightness is around."""
    warmth: float = 0.0
    """Red is raised and blue lowered by up to this share."""

    @classmethod
    def of(cls, preset: str, side: int) -> CameraVariation:
        """Return the spread of a preset of `sim:` for a classifier's input of `side` pixels. Raises `UsageError`."""
        if preset not in CAMERA_MODELS:
            raise UsageError(f"there is no camera model {preset!r}; choose one of {', '.join(CAMERA_MODELS)}")
        model = CAMERA_MODELS[preset](0)
        if not isinstance(model, SimulatedCamera):
            return cls(light=0.0, blur=0.0, noise=0.0)
        # An even motion blur of length L has the standard deviation L / sqrt(12).
        blur_px = (model.blur_px**2 + model.motion_px**2 / 12) ** 0.5
        noise = (model.noise**2 + model.shot_noise**2) ** 0.5 / 255
        return cls(
            light=1.5 * model.drift,
            blur=max(0.4, blur_px * side / _FRAME_PX),
            noise=noise,
            brightness=model.brightness * (1 - model.shade / 2),
            warmth=abs(model.warmth),
        )


def simulate_camera(images: Tensor, spread: CameraVariation, generator: torch.Generator) -> Tensor:
    """Return pictures (B, 3, H, W), RGB in [0, 1], as a camera may show them: another light, a little blur, noise.

    `generator` is a CPU one; the pictures may lie on any device. The gradient goes through (but for the clamp).
    """
    light = (spread.brightness * (1 + _spread(len(images), spread.light, generator))).to(images)
    images = images * light.view(-1, 1, 1, 1)
    if spread.warmth:
        warmth = _spread(len(images), spread.warmth, generator).to(images).view(-1, 1, 1, 1)
        images = images * (1 + warmth * images.new_tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1))
    sigma = max(0.05, float(torch.rand((), generator=generator)) * spread.blur)
    steps = torch.arange(-2, 3, dtype=torch.float32)
    line = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel = torch.outer(line, line)
    kernel = (kernel / kernel.sum()).expand(3, 1, 5, 5).to(images)
    images = F.conv2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)
    level = torch.rand(len(images), 1, 1, 1, generator=generator) * spread.noise
    grain = torch.randn(images.shape, generator=generator) * level
    return (images + grain.to(images)).clamp(0, 1)


def printed(colours: Tensor, profile: ColourProfile) -> Tensor:
    """Return what the camera sees of printed colours (..., 3, H, W), RGB in [0, 1]; `ColourProfile.seen` in Torch."""
    channels = []
    for channel, curve in enumerate(profile.curves):
        values = colours.new_tensor(curve)
        at = colours[..., channel, :, :].clamp(0, 1) * (len(curve) - 1)
        low = at.detach().floor().clamp(0, len(curve) - 2).long()
        share = at - low
        channels.append(values[low] * (1 - share) + values[low + 1] * share)
    light = torch.stack(channels, dim=-3)
    mixed = torch.einsum("ij,...jhw->...ihw", colours.new_tensor(profile.matrix), light)
    mixed = mixed.clamp(0.0, 1.0)
    # The root's slope is infinite at 0: the straight part is chosen there before the root is taken.
    bright = 1.055 * mixed.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(mixed <= 0.0031308, mixed * 12.92, bright)


def _spread(count: int, limit: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2 - 1) * limit
