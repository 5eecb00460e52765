"""What peers that are trained share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["torch_threads"]


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
