"""The critical region of a sign, and whether its label survives filling it."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.signs.evaluate import normalised
from benchmarks.signs.network import SignNet
from benchmarks.signs.occlusion import critical_region, erase_critical, kept_after_fill

CPU = torch.device("cpu")


def small_network() -> SignNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SignNet(5, width=4).eval()


def test_the_region_follows_the_gradient_that_autograd_finds() -> None:
    network = small_network()
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    maps = network.maps(images).detach().requires_grad_()
    logits = network.linear(network.pool(maps).flatten(1))
    top = torch.log_softmax(logits / 2.0, dim=1).amax(dim=1).sum()
    (gradient,) = torch.autograd.grad(top, maps)
    saliency = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True))
    saliency = torch.nn.functional.interpolate(saliency, size=(64, 64), mode="bilinear", align_corners=False)
    expected = saliency >= 0.5 * saliency.amax(dim=(1, 2, 3), keepdim=True)
    found = critical_region(network, maps.detach(), logits.detach(), 0.5)
    assert found.any()
    assert (found != expected).float().mean() < 0.001


def test_a_higher_threshold_gives_a_smaller_region_within_the_larger_one() -> None:
    network = small_network()
    maps = network.maps(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))).detach()
    logits = network.linear(network.pool(maps).flatten(1)).detach()
    wide, tight = (critical_region(network, maps, logits, threshold) for threshold in (0.3, 0.8))
    assert tight.any()
    assert not (tight & ~wide).any()
    assert tight.sum() < wide.sum()


def test_maps_that_are_zero_everywhere_have_an_empty_region() -> None:
    network = small_network()
    assert not critical_region(network, torch.zeros(2, 24, 8, 8), torch.zeros(2, 5), 0.6).any()


def test_erasing_critical_regions_fills_just_them_and_only_in_the_chosen_pictures() -> None:
    network = small_network()
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    chosen = torch.arange(8) % 2 == 0
    erased = erase_critical(network, images, chosen, torch.Generator().manual_seed(4))
    changed = (erased != images).any(dim=1)  # (8, 64, 64)
    assert torch.equal(changed.flatten(1).any(dim=1), chosen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = network.maps(normalised(images))
        logits = network.linear(network.pool(maps).flatten(1))
    widest = critical_region(network, maps.float(), logits.float(), 0.3)[:, 0]
    assert not (changed & ~widest)[chosen].any()
    assert erased.min() >= 0
    assert erased.max() <= 1


def test_erasing_nothing_gives_the_pictures_back() -> None:
    images = torch.rand(2, 3, 64, 64)
    assert erase_critical(small_network(), images, torch.zeros(2, dtype=torch.bool), torch.Generator()) is images


def test_a_network_that_ignores_its_input_keeps_every_label() -> None:
    network = small_network()
    with torch.no_grad():
        network.linear.weight.zero_()
        network.linear.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]))
    images = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
    assert kept_after_fill(network, images, np.array([2, 2, 2, 0, 1, 2]), 0.6, CPU) == 1.0
    assert kept_after_fill(network, images, np.zeros(6, np.int64), 0.6, CPU) is None
