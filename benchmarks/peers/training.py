"""What peers that are trained share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

__all__ = ["descend", "planes", "torch_threads", "training"]


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let Torch compute with so many threads within the block, denormals flushed, and put both back."""
    import torch

    from taintwatch_calibration.torch_tuning import denormals_flushed

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        with denormals_flushed():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def training(threads: int, seed: int) -> Iterator[None]:
    """Train within the block: `torch_threads`, and random numbers that the seed alone decides."""
    import torch

    with torch_threads(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def descend(optimiser: Optimizer, loss: Tensor) -> None:
    """Take one step down the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def planes(pixels: NDArray[np.uint8]) -> Tensor:
    """Return pictures (N, height, width, 3) as (N, 3, height, width) in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
