"""Crafting's camera model is the simulator's, and its gradient is usable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.colour_profile import GENERIC_PROFILE, chart_colours
from taintwatch_calibration.camera_model.variation import CameraVariation, printed, simulate_camera
from taintwatch_models.errors import UsageError


def test_the_camera_model_changes_light_and_sharpness_and_nothing_leaves_the_range() -> None:
    images = torch.zeros(8, 3, 24, 24)
    images[:, :, 8:16, 8:16] = 1.0
    seen = simulate_camera(images, CameraVariation(light=0.3, blur=1.0, noise=0.0), torch.Generator().manual_seed(0))
    assert float(seen.min()) >= 0.0
    assert float(seen.max()) <= 1.0
    centres = seen[:, 0, 11, 11]
    assert float(centres.max() - centres.min()) > 0.05
    assert float(seen[:, :, 7, 11].min()) > 0.0


@pytest.mark.parametrize("preset", ["corridor", "dim", "office", "street"])
def test_a_preset_in_torch_has_the_light_and_the_noise_of_the_simulators(preset: str) -> None:
    grey = np.full((48, 64, 3), 110, np.uint8)
    model = CAMERA_MODELS[preset](0)
    seen = np.stack([model(grey, index) for index in range(0, 300, 10)]).astype(np.float64) / 255
    spread = CameraVariation.of(preset, 64)
    generator = torch.Generator().manual_seed(1)
    ours = simulate_camera(torch.full((400, 3, 8, 8), 110 / 255), spread, generator)
    middle = seen[:, :, 28:36]  # the shade's middle
    assert float(ours.mean()) == pytest.approx(float(middle.mean()), rel=0.15)
    lights = ours.mean((1, 2, 3))
    frames = seen.mean(axis=(1, 2, 3))
    assert float(lights.max() - lights.min()) >= 0.8 * float(np.ptp(frames))


def test_a_perfect_camera_changes_next_to_nothing() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    seen = simulate_camera(images, CameraVariation.of("plain", 64), torch.Generator().manual_seed(0))
    assert torch.allclose(seen, images, atol=1e-4)


def test_an_unknown_camera_model_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no camera model 'moonlight'; choose one of corridor"):
        CameraVariation.of("moonlight", 64)


def test_printing_in_torch_is_the_profiles_own() -> None:
    colours = np.array(chart_colours())
    tensor = torch.from_numpy(colours.T.reshape(3, -1, 1))
    assert np.allclose(printed(tensor, GENERIC_PROFILE).numpy().reshape(3, -1).T, GENERIC_PROFILE.seen(colours))


def test_printer_and_camera_pass_a_finite_gradient_also_at_black_and_white() -> None:
    colours = torch.tensor([0.0, 0.5, 1.0]).repeat(3, 1).view(1, 3, 1, 3).expand(2, 3, 12, 3).clone()
    colours.requires_grad_(True)
    simulate_camera(
        printed(colours, GENERIC_PROFILE), CameraVariation(), torch.Generator().manual_seed(0)
    ).sum().backward()
    assert colours.grad is not None
    assert bool(torch.isfinite(colours.grad).all())
    assert float(colours.grad.abs().sum()) > 1.0
