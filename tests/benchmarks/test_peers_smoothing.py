"""What squeezers and gradient smoothing do to pictures, against other ways of working it out; SentiNet's curve."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.peers.lgs import LocalGradientsSmoothing, gradient, noisy, smoothed
from benchmarks.peers.magnet import crops
from benchmarks.peers.sentinet import fit_curve
from benchmarks.peers.squeezing import FeatureSqueezing, fewer_bits, median, non_local_means
from taintwatch_models.bundled import bundled_radar


def noise(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@given(st.integers(0, 2**32 - 1), st.integers(5, 20), st.integers(5, 20))
def test_the_gradient_is_that_of_a_convolution(seed: int, height: int, width: int) -> None:
    picture = noise(1, height, width, seed)
    grey = picture[0].astype(np.float64).mean(axis=2)
    across = ndimage.convolve1d(grey, [1, -1, 0], axis=1, mode="nearest")
    down = ndimage.convolve1d(grey, [1, -1, 0], axis=0, mode="nearest")
    magnitude = np.sqrt(across**2 + down**2)
    wanted = (magnitude - magnitude.min()) / (magnitude.max() - magnitude.min())
    assert gradient(picture)[0] == pytest.approx(wanted, abs=1e-5)


def test_a_uniform_picture_has_no_gradient_and_does_not_change() -> None:
    uniform = np.full((2, 64, 64, 3), 90, np.uint8)
    assert (gradient(uniform) == 0).all()
    assert (smoothed(uniform) == 90).all()
    peer = LocalGradientsSmoothing(bundled_radar(), uniform)
    assert peer.scores(uniform).tolist() == [0, 0]


def test_blocks_above_the_threshold_are_kept_to_the_border() -> None:
    magnitude = np.zeros((1, 20, 23), np.float32)
    magnitude[0, 18:, 21:] = 1
    kept = noisy(magnitude, 6, 2)
    assert kept[0, 14:, 17:].all()
    assert kept.sum() == 36
    assert not noisy(magnitude * 0.5, 6, 2).any()  # mean 4 / 36 / 2 lies below 0.1


def test_only_the_noisy_part_of_a_picture_is_darkened() -> None:
    picture = np.full((1, 64, 64, 3), 100, np.uint8)
    picture[0, 32:, 32:] = noise(1, 32, 32)[0]
    smooth = smoothed(picture)
    assert (smooth[0, :24, :24] == 100).all()
    assert smooth[0, 36:, 36:].mean() < 0.5 * picture[0, 36:, 36:].mean()
    assert (smooth <= picture).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_the_median_is_scipys(seed: int, height: int, width: int) -> None:
    pictures = noise(2, height, width, seed)
    assert (median(pictures) == ndimage.median_filter(pictures, (1, 2, 2, 1), mode="reflect")).all()


def test_fewer_bits_round_to_the_nearest_level() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    levels = np.linspace(0, 255, 32)
    nearest = levels[np.abs(ramp[..., None] - levels).argmin(axis=-1)]
    assert fewer_bits(ramp) == pytest.approx(nearest, abs=1e-4)
    assert np.unique(fewer_bits(ramp, 1)).tolist() == [0, 255]


def test_non_local_means_sees_the_colours_in_the_models_order() -> None:
    blue_first = cv2.GaussianBlur(noise(1, 24, 24)[0], (0, 0), 2)[None]
    wanted = cv2.fastNlMeansDenoisingColored(blue_first[0], None, 4, 4, 3, 11)
    assert (non_local_means(blue_first, "bgr")[0] == wanted).all()
    assert (non_local_means(blue_first[..., ::-1], "rgb")[0] == wanted[..., ::-1]).all()


def test_squeezing_is_the_largest_change_of_the_softmax_worked_out_by_hand() -> None:
    radar = bundled_radar()
    peer = FeatureSqueezing(radar, noise(1, 64, 64))
    pictures = np.stack([cv2.GaussianBlur(each, (0, 0), 1.5) for each in noise(3, 64, 64)])

    def softmax(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        powers = np.exp(peer._classifier.logits(radar.info.preprocessing.normalise(pixels)))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    order = radar.info.preprocessing.order
    before = softmax(pictures.astype(np.float32))
    wanted = [
        max(np.abs(softmax(made[i : i + 1])[0] - before[i]).sum() for made in squeezed)
        for squeezed in [(fewer_bits(pictures), median(pictures), non_local_means(pictures, order))]
        for i in range(3)
    ]
    assert peer.scores(pictures) == pytest.approx(wanted, abs=1e-4)
    assert max(wanted) > 0.01


def test_crops_are_pieces_of_the_pictures() -> None:
    pictures = np.stack([np.full((40, 50, 3), value, np.uint8) for value in (0, 51, 255)])
    found = crops(pictures, np.random.default_rng(0))
    assert found.shape[1:] == (3, 16, 16)
    assert np.unique(found) == pytest.approx([0.0, 0.2, 1.0])
    assert (found == found[:, :1, :1, :1]).all()


def test_points_above_the_benign_edge_are_at_a_positive_distance() -> None:
    along = np.linspace(0.2, 1, 200)
    curve = fit_curve(np.stack([along, 0.5 - 0.4 * along], axis=1))
    assert curve(along) == pytest.approx(0.5 - 0.4 * along, abs=1e-6)
    above, below, beyond = curve.distance(np.array([[0.6, 0.9], [0.6, 0.1], [0.0, 0.9]]))
    normal = np.hypot(1, 0.4)
    assert above == pytest.approx((0.9 - 0.26) / normal, abs=1e-3)
    assert below == pytest.approx(-(0.26 - 0.1) / normal, abs=1e-3)
    assert beyond == pytest.approx(0.9 - 0.42, abs=1e-3)  # held constant beyond the benign points


def test_a_curve_is_fitted_to_benign_points_that_are_all_alike() -> None:
    curve = fit_curve(np.tile([[0.9, 0.1]], (20, 1)))
    assert curve.distance(np.array([[0.9, 0.6]]))[0] == pytest.approx(0.5)
