"""SSIM in numpy and in Torch, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity as skimage_similarity

from taintwatch_calibration.cmag.similarity import StructuralSimilarity, reconstruction_loss
from taintwatch_models.cmag.similarity import structural_similarity
from taintwatch_models.errors import UsageError


def pictures(kind: str, shape: tuple[int, ...] = (3, 32, 32)) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two pictures in [0, 1] that are related in the way that `kind` says."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[: shape[1], : shape[2]] / shape[1]
    smooth = np.stack([0.5 + 0.4 * np.sin(5 * rows + 3 * columns + k) for k in range(shape[0])])
    noise = rng.random(shape)
    first, second = {
        "noisy": (smooth, np.clip(smooth + 0.1 * (noise - 0.5), 0, 1)),
        "unrelated": (noise, rng.random(shape)),
        "inverted": (smooth, 1 - smooth),
        "constant and noise": (np.full(shape, 0.5), noise),
        "two constants": (np.full(shape, 0.2), np.full(shape, 0.7)),
        "black and black": (np.zeros(shape), np.zeros(shape)),
    }[kind]
    return first.astype(np.float32), second.astype(np.float32)


def scikit(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(
        skimage_similarity(
            first, second, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


KINDS = ["noisy", "unrelated", "inverted", "constant and noise", "two constants", "black and black"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 16, 48)])
def test_similarity_agrees_with_scikit_image(kind: str, shape: tuple[int, ...]) -> None:
    first, second = pictures(kind, shape)
    expected = scikit(first, second)
    ours = structural_similarity(first[None], second[None])[0]
    torches = StructuralSimilarity(*shape[1:])(torch.from_numpy(first[None]), torch.from_numpy(second[None]))
    assert ours == pytest.approx(expected, abs=1e-4)
    assert float(torches[0]) == pytest.approx(expected, abs=1e-4)


def test_constant_pictures_have_a_defined_similarity() -> None:
    black = np.zeros((1, 3, 16, 16), np.float32)
    grey = np.full_like(black, 0.5)
    noise = np.random.default_rng(0).random(black.shape).astype(np.float32)
    assert structural_similarity(grey, grey)[0] == pytest.approx(1.0)
    assert structural_similarity(black, black)[0] == pytest.approx(1.0)
    assert structural_similarity(black, grey)[0] < 0.01
    assert abs(structural_similarity(grey, noise)[0]) < 0.1


def test_the_gradient_of_a_constant_picture_is_finite() -> None:
    made = torch.zeros(2, 3, 16, 16, requires_grad=True)
    reconstruction_loss(StructuralSimilarity(16, 16), made, torch.zeros(2, 3, 16, 16)).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


def test_the_loss_falls_as_the_reconstruction_becomes_more_alike() -> None:
    wanted, _ = (torch.from_numpy(p[None]) for p in pictures("noisy"))
    similarity = StructuralSimilarity(32, 32)
    worse, better, same = (
        float(reconstruction_loss(similarity, wanted + shift * torch.randn_like(wanted), wanted))
        for shift in (0.3, 0.05, 0.0)
    )
    assert worse > better > same
    assert same == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [((1, 3, 32, 32), (1, 3, 28, 28), "pictures of one size"), ((1, 1, 8, 8), (1, 1, 8, 8), "8 pixels is too small")],
)
def test_pictures_that_cannot_be_compared_are_refused(
    first: tuple[int, ...], second: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        structural_similarity(np.zeros(first, np.float32), np.zeros(second, np.float32))
