"""Peers that rebuild, purify, mask or segment: each equation and step against an oracle."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.peers.comdefend import ComDefend, compression_loss
from benchmarks.peers.defense_gan import project, train_generator
from benchmarks.peers.patchguard import PatchGuard, masked_evidence
from benchmarks.peers.pixeldefend import PixelDefend, negative_log_likelihood, pixel_cnn
from benchmarks.peers.sac import completed
from benchmarks.peers.subnetwork import dynamic_step
from benchmarks.peers.watermarking import dense_area
from taintwatch_models.errors import UsageError
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import read_description
from taintwatch_models.radar_file import RadarFile
from tests.craft_scene import SIZE, write_classifier


@pytest.fixture(scope="module")
def radar(tmp_path_factory: pytest.TempPathFactory) -> RadarFile:
    path = write_classifier(tmp_path_factory.mktemp("model") / "model.onnx")
    return prepare(path, read_description(path.with_suffix(".toml"))).radar


def greys(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    return rng.integers(90, 180, (count, 1, 1, 1)).repeat(SIZE, 1).repeat(SIZE, 2).repeat(3, 3).astype(np.uint8)


def test_comdefend_minimises_half_the_squared_error_and_a_sparse_code_and_keeps_twelve_bits(radar: RadarFile) -> None:
    rebuilt, code, pictures = torch.rand(2, 3, 4, 4), torch.rand(2, 12, 4, 4), torch.rand(2, 3, 4, 4)
    wanted = float((rebuilt - pictures).square().sum() / (2 * 2 * 3 * 16) + 0.1 * code.square().sum() / (2 * 12 * 16))
    assert float(compression_loss(rebuilt, code, pictures, 0.1)) == pytest.approx(wanted, rel=1e-5)
    peer = ComDefend(radar, greys(20), epochs=8)
    fresh = greys(6, 3)
    assert np.abs(peer.rebuilt(fresh) - fresh).mean() < 30  # of 255; untrained about 70
    assert (peer.labels(fresh) == 0).all()


def test_a_pixel_cnn_gives_each_value_a_probability_and_looks_at_what_is_before_it_alone() -> None:
    torch.manual_seed(0)
    network = pixel_cnn().requires_grad_(False)
    values = torch.arange(256) / 255
    for channel in range(3):  # over the 256 values of one channel of one pixel, all else fixed
        pictures = torch.full((256, 3, 1, 1), 0.4)
        parameters = network(pictures[:1]).expand(256, -1, -1, -1)
        pictures[:, channel, 0, 0] = values
        # later channels' centres move with this one: their terms are taken away
        whole = negative_log_likelihood(parameters, pictures).double() * 3
        rest = sum(_one(parameters, pictures, other) for other in range(3) if other != channel)
        assert float((-(whole - rest)).exp().sum()) == pytest.approx(1.0, abs=2e-3)
    picture = torch.rand(1, 3, 9, 9)
    before = network(picture)
    picture[:, :, 4, 4] += 0.3
    changed = (network(picture) - before).abs().amax((0, 1)) > 1e-7
    first = [(y, x) for y, x in product(range(9), range(9)) if changed[y, x]]
    assert first
    assert min(first) > (4, 4)


def _one(parameters: torch.Tensor, pictures: torch.Tensor, channel: int) -> torch.Tensor:
    """-log p of one channel, from its logistic's distribution function alone."""
    from benchmarks.peers.pixeldefend import centres

    middle = centres(parameters, pictures)[:, channel].double()
    scale = parameters[:, 3 + channel].double().exp()
    value = pictures[:, channel].double()
    edges = [torch.sigmoid((value + half - middle) / scale) for half in (0.5 / 255, -0.5 / 255)]
    edges[0] = torch.where(value > 1 - 0.5 / 255, torch.ones_like(edges[0]), edges[0])
    edges[1] = torch.where(value < 0.5 / 255, torch.zeros_like(edges[1]), edges[1])
    return -(edges[0] - edges[1]).clamp_min(1e-9).log()[:, 0, 0]


def test_pixeldefend_purifies_within_eps_and_towards_what_is_likelier(radar: RadarFile) -> None:
    peer = PixelDefend(radar, greys(20), epochs=3)
    moved = greys(4, 2).astype(int) + np.random.default_rng(0).integers(-12, 13, (4, SIZE, SIZE, 3))
    noisy = np.clip(moved, 0, 255).astype(np.uint8)
    made = peer.purified(noisy)
    assert np.abs(made - noisy).max() <= 16 + 1e-3
    assert (peer.scores(np.rint(made).astype(np.uint8)) < peer.scores(noisy)).all()
    assert (peer.scores(greys(4, 2)) < peer.scores(noisy)).all()


def test_the_dynamic_adversary_mixes_two_signs() -> None:
    classify, detect = torch.randn(3, 12), torch.randn(1, 12)

    def read(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return pictures.flatten(1), pictures.flatten(1) @ classify.T

    pictures, own = torch.rand(2, 3, 2, 2), torch.tensor([0, 2])
    logits = read(pictures)[1]
    first = ((logits.softmax(1) - F.one_hot(own, 3)) @ classify).sign()  # sgn grad J_cls
    second = -detect.sign()  # of -log sigmoid: it falls where the detector is surer
    for share in (0.0, 0.4, 1.0):
        made = dynamic_step(read, lambda maps: maps @ detect.T, pictures, own, share, 0.1)
        wanted = pictures.flatten(1) + 0.1 * ((1 - share) * first + share * second)
        assert torch.allclose(made.flatten(1), wanted, atol=1e-6)


def test_watermarking_takes_dense_saliency_and_leaves_single_pixels() -> None:
    saliency = np.zeros((64, 64), np.float32)
    saliency[10:26, 30:46], saliency[50, 5] = 1.0, 1.0
    area = dense_area(saliency)
    assert area[12:24, 32:44].all()
    assert not area[45:, :20].any()
    assert area.mean() < 0.15


def test_patchguard_takes_each_classs_strongest_window_out(radar: RadarFile) -> None:
    evidence = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    found = masked_evidence(evidence, (2, 3))
    for row, label in product(range(2), range(3)):
        positive = np.maximum(evidence[row, label], 0)
        windows = [positive[y : y + 2, x : x + 3].sum() for y in range(4) for x in range(4)]
        assert found[row, label] == pytest.approx(positive.sum() - max(windows))
    peer = PatchGuard(radar, greys(2))
    pictures = greys(3, 5)
    local = peer._evidence(pictures)
    inputs = peer._classifier.inputs(pictures)
    assert local.mean(axis=(2, 3)) == pytest.approx(peer._classifier.logits(inputs), abs=1e-3)  # global pooling
    pictures[:, 4:16, 4:16] = (255, 0, 255)
    assert (peer._classifier.logits(peer._classifier.inputs(pictures)).argmax(axis=1) == 1).all()
    assert (peer.labels(pictures) == 0).all()


def test_patchguard_refuses_a_head_without_local_evidence(radar: RadarFile) -> None:
    from dataclasses import replace

    other = replace(radar, info=replace(radar.info, head="MaxPool > Flatten > Gemm > Relu > Gemm"))
    with pytest.raises(UsageError, match="reads local evidence under global pooling and one linear layer"):
        PatchGuard(other, greys(2))


def test_a_square_with_holes_is_completed_and_scattered_pixels_are_not() -> None:
    rng = np.random.default_rng(0)
    square = np.zeros((64, 64), bool)
    square[20:38, 8:26] = rng.uniform(size=(18, 18)) < 0.85
    full = completed(square)
    assert full[22:36, 10:24].all()
    assert not full[45:].any()
    assert not completed(rng.uniform(size=(64, 64)) < 0.05).any()
    # oracle: every square of the definition
    small = rng.uniform(size=(16, 16)) < 0.5
    small[3:9, 3:9] = True
    wanted = np.zeros_like(small)
    for side in {max(2, round(share * 16)) for share in (0.125, 0.2, 0.28, 0.36, 0.44, 0.5)}:
        for top, left in product(range(16 - side + 1), repeat=2):
            shape = np.zeros_like(small)
            shape[top : top + side, left : left + side] = True
            if (shape != small).sum() <= 0.3 * side * side:
                wanted |= shape
    assert (completed(small) == wanted).all()


def test_defense_gan_descends_to_what_its_generator_makes_and_keeps_the_best_start() -> None:
    generator = train_generator(np.random.default_rng(0).uniform(size=(64, 1, 16, 16)).astype(np.float32), steps=3)
    latent = torch.randn(6, 64, generator=torch.Generator().manual_seed(7))
    made = generator(latent)
    before, some, many = (project(generator, made, iterations=n, restarts=3)[1] for n in (0, 5, 60))
    assert bool((some < before).all())
    assert bool((many < some).all())
    nearest, distances = project(generator, made, iterations=5, restarts=3)
    assert torch.allclose((nearest - made).square().mean((1, 2, 3)), distances)
    assert bool((distances <= project(generator, made, iterations=5, restarts=1)[1]).all())
    assert torch.allclose(project(generator, made[2:3], iterations=5, restarts=3)[1], distances[2:3], rtol=1e-4)
    assert bool((project(generator, 1 - made, iterations=5, restarts=3)[1] > distances).all())
