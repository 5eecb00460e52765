"""What a critical region is filled with. A fill is what the graph is fed; `inpaint` is worked out inside the graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame, ConfigError
from taintwatch_models.image_file import read_image
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["FILL_NAMES", "Fill", "is_constant", "make_fill", "mean_fill", "noise_fill"]

FILL_NAMES = ("mean", "average", "noise", "fresh-noise", "blur", "inpaint")

Fill = Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]
"""From a batch of inputs, (B, 3, H, W), to what the graph is fed beside them."""


def mean_fill(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the mean colour everywhere, (1, 3, H, W) input values."""
    colour = preprocessing.colour_input(preprocessing.mean_colour)
    return np.ascontiguousarray(np.broadcast_to(colour, (1, 3, *preprocessing.size)), np.float32)


def noise_fill(preprocessing: Preprocessing, rng: np.random.Generator, count: int = 1) -> NDArray[np.float32]:
    """Return uniform noise over the pixels' range, (count, 3, H, W) input values."""
    pixels = rng.integers(0, 256, (count, *preprocessing.size, 3), dtype=np.uint8)
    return preprocessing.normalise(pixels)


def is_constant(kind: str) -> bool:
    """Say whether a fill is the same for every input."""
    return kind not in ("average", "blur", "fresh-noise")


def make_fill(kind: str, variant: str, preprocessing: Preprocessing, *, seed: int = 0) -> Fill:
    """Return the fill `kind` for a variant (`tight` or `paper`).

    `mean`: the mean colour. `average`: the input's own mean colour. `noise`: uniform noise, the same for every frame.
    `fresh-noise`: new noise for every frame, from a generator seeded by the operating system. `blur`: the input itself,
    blurred over an eighth of its side. `inpaint`: smoothly from around the region. Anything else: a path to an
    image. Raises `ConfigError`.
    """
    key, flag = f"{variant}_fill", {f"{variant}_inpaint": np.array(kind == "inpaint")}
    if kind == "inpaint":
        return lambda inputs: dict(flag)
    if kind == "fresh-noise":
        rng = np.random.default_rng()
        return lambda inputs: {key: noise_fill(preprocessing, rng, len(inputs)), **flag}
    if kind == "average":
        return lambda inputs: {key: _averages(inputs), **flag}
    if kind == "blur":
        return lambda inputs: {key: _blurred(inputs), **flag}
    if kind == "mean":
        pattern = mean_fill(preprocessing)
    elif kind == "noise":
        pattern = noise_fill(preprocessing, np.random.default_rng(seed))
    else:
        pattern = _picture(Path(kind), preprocessing)
    return lambda inputs: {key: pattern, **flag}


def _averages(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, 3, H, W): each input's own mean colour everywhere."""
    means = inputs.mean(axis=(2, 3), keepdims=True, dtype=np.float32)
    return np.ascontiguousarray(np.broadcast_to(means, inputs.shape))


def _blurred(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    sigma = max(inputs.shape[2:]) / 8
    planes = inputs.reshape(-1, *inputs.shape[2:])
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in planes]).reshape(inputs.shape)


def _picture(path: Path, preprocessing: Preprocessing) -> NDArray[np.float32]:
    try:
        return preprocessing([read_image(path)])
    except BadFrame as error:
        names = ", ".join(FILL_NAMES)
        raise ConfigError(f"fill '{path}' is neither one of {names} nor a readable image: {error}") from None
