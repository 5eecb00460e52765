"""Optimisations on a CPU are several times faster when numbers too small to matter count as zero."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["denormals_flushed"]


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Flush denormals to zero within the block, or the decorated function, and put it back.

    The setting is the thread's, and that of threads which it starts: whoever goes on in it afterwards (hypothesis, for
    one) counts on IEEE 754.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
