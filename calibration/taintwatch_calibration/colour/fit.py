"""A colour profile from what was sent to the printer and what the camera saw of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.colour_profile import ColourProfile, linear
from taintwatch_models.errors import UsageError

__all__ = ["differences", "fit_profile", "held_out_differences", "palette_of"]

KNOTS = 17
PALETTE = 48
_ROUNDS = 15
_SETTLED = 1e-5
_SMOOTHNESS = 0.02
_FOLDS = 4
Colours = NDArray[np.float64]


def fit_profile(sent: Colours, seen: Colours, name: str) -> ColourProfile:
    """Fit curves and matrix by alternating least squares, the palette from what was seen, and the residual.

    `sent` and `seen`: (N, 3), sRGB in [0, 1]. Raises `UsageError` where scikit-image is missing.
    """
    fitted = _fitted(sent, seen, name)
    residual = differences(fitted.seen(sent), seen)
    return replace(
        fitted,
        palette=palette_of(seen),
        residual=round(float(residual.mean()), 3),
        residual_worst=round(float(residual.max()), 3),
    )


def held_out_differences(sent: Colours, seen: Colours) -> Colours:
    """Return each colour's CIEDE2000 by a profile that was fitted without it, (N,)."""
    found = np.empty(len(sent))
    fold = np.random.default_rng(0).permutation(len(sent)) % _FOLDS
    for number in range(_FOLDS):
        out = fold == number
        profile = _fitted(sent[~out], seen[~out], "held out")
        found[out] = differences(profile.seen(sent[out]), seen[out])
    return found


def differences(one: Colours, other: Colours) -> Colours:
    """Return CIEDE2000 (Sharma et al., 2005) between sRGB colours (N, 3), (N,). Raises `UsageError`."""
    try:
        from skimage.color import deltaE_ciede2000, rgb2lab
    except ImportError:
        raise UsageError(
            "colour differences need scikit-image; install it with pip install 'taintwatch[bench]'"
        ) from None
    return np.asarray(deltaE_ciede2000(rgb2lab(one[None]), rgb2lab(other[None]))[0], np.float64)


def palette_of(seen: Colours, most: int = PALETTE) -> tuple[tuple[float, float, float], ...]:
    """Return the colours that lie farthest apart of those that were seen: each next one far from all before."""
    chosen = [int(np.argmin(seen.sum(axis=1)))]
    away = np.linalg.norm(seen - seen[chosen[0]], axis=1)
    while len(chosen) < min(most, len(seen)):
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, np.linalg.norm(seen - seen[chosen[-1]], axis=1))
    return tuple((r, g, b) for r, g, b in seen[chosen].round(4).tolist())


def _fitted(sent: Colours, seen: Colours, name: str) -> ColourProfile:
    light = linear(seen)
    # Errors are weighed about as the eye does: by the slope of the encoding.
    weight = 1.0 / (light + 0.02) ** 0.58
    basis = _basis(sent)  # (3, N, KNOTS)
    curves = np.stack([linear(np.linspace(0.05, 1.0, KNOTS))] * 3)
    for _ in range(_ROUNDS):
        lights = np.stack([basis[c] @ curves[c] for c in range(3)], axis=1)  # (N, 3)
        matrix = np.stack([_solved(lights, light[:, row], weight[:, row]) for row in range(3)])
        found = _curves(basis, matrix, light, weight)
        top = found[:, -1:]
        before, curves, matrix = curves, found / top, matrix * top.T
        if np.abs(curves - before).max() < _SETTLED:
            break
    return ColourProfile(
        name,
        tuple(tuple(curve.round(6).tolist()) for curve in curves),  # type: ignore[arg-type]
        tuple(tuple(row) for row in matrix.round(6).tolist()),  # type: ignore[arg-type]
        (),
    )


def _basis(sent: Colours) -> NDArray[np.float64]:
    """Return the weights of the knots for each colour, so that a curve at a value is `basis @ knots`."""
    at = np.clip(sent.T, 0, 1) * (KNOTS - 1)  # (3, N)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(at[:, :, None] - np.arange(KNOTS))))


def _solved(A: Colours, b: Colours, weight: Colours) -> Colours:
    return np.asarray(np.linalg.lstsq(A * weight[:, None], b * weight, rcond=None)[0])


def _curves(basis: Colours, matrix: Colours, light: Colours, weight: Colours) -> Colours:
    """Return the three curves (3, KNOTS) for this matrix: smooth, never falling, never below 0."""
    rows = [
        np.concatenate([matrix[row, c] * basis[c] for c in range(3)], axis=1) * weight[:, row, None] for row in range(3)
    ]  # each (N, 3 * KNOTS)
    bend = np.diff(np.eye(KNOTS), n=2, axis=0) * _SMOOTHNESS * np.sqrt(len(light))
    A = np.concatenate([*rows, np.kron(np.eye(3), bend)])
    b = np.concatenate([*(light[:, row] * weight[:, row] for row in range(3)), np.zeros(3 * len(bend))])
    knots = np.linalg.lstsq(A, b, rcond=None)[0].reshape(3, KNOTS)
    return np.asarray(np.maximum.accumulate(np.maximum(knots, 0.0), axis=1) + 1e-9 * np.arange(KNOTS))
