"""How Torch computes on a CPU: numbers too small to matter count as zero, and freed memory is used again."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["denormals_flushed", "keep_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # <malloc.h>


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Flush denormals to zero within the block, or the decorated function, and put it back.

    Optimisations are several times faster with it. The setting is the thread's, and that of threads which it starts:
    whoever goes on in it afterwards (hypothesis, for one) counts on IEEE 754.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for this process, where it is glibc; elsewhere do nothing.

    Each step allocates the same large maps anew. By default glibc maps each from the kernel and gives it back, and
    clearing the pages costs as much as the convolutions. For programs, not for libraries: it is the whole process's.
    """
    if not sys.platform.startswith("linux"):
        return
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, (1 << 31) - 1), (_TOP_PAD, 1 << 26)):
            tune(parameter, value)
