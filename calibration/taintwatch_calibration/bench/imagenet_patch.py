"""ImageNet-Patch's file of ready-made patches (Pintor et al., 2022): a gzipped pickle of two tensors, read safely.

The file holds `(patches, targets)` or `(patches, targets, info)`: pictures (n, 3, 224, 224) in [0, 1], black around the
patch, which is in the middle and 50 pixels wide unless `info["patch_size"]` says another; and ImageNet labels (n,).
"""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.bench.patch_files import encode_patch
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["ReadyPatch", "read_imagenet_patch", "write_patches"]

_MOST_BYTES = 512 * 1024 * 1024
_PATCH_SIZE = 50


@dataclass(frozen=True, slots=True, eq=False)
class ReadyPatch:
    """One patch of the file."""

    pixels: NDArray[np.uint8]
    """(side, side, 3) RGB."""
    target: int
    """ImageNet label, 0 to 999, that it shows."""


def read_imagenet_patch(path: Path) -> tuple[ReadyPatch, ...]:
    """Return the file's patches in its order. Raises `UsageError` where it is another file, damaged or too large.

    A pickle can run code: only tensors, arrays and plain values are built here, anything else is refused.
    """
    try:
        with gzip.open(path, "rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: not a gzipped file that can be read ({error})") from None
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path}: more than {_MOST_BYTES >> 20} MB unpacked; ImageNet-Patch has 6")
    try:
        document = _Plain(io.BytesIO(content)).load()
    except UsageError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its opcodes run into
        raise UsageError(f"{path}: not a pickle that can be read ({type(error).__name__}: {error})") from None
    return _patches(document, path)


def write_patches(file: Path, label: int, names: Sequence[str], folder: Path) -> list[Path]:
    """Write the file's patches that show `label` into a folder as PNG; return their paths.

    `names`: of the model's labels. Raises `UsageError` as `read_imagenet_patch` does, and where no patch shows it.
    """
    patches = read_imagenet_patch(file)
    chosen = [(number, each) for number, each in enumerate(patches) if each.target == label]
    if not chosen:
        targets = sorted({each.target for each in patches})
        there = ", ".join(f"{target} ({names[target]})" if target < len(names) else str(target) for target in targets)
        raise UsageError(f"{file} has no patch for --target {names[label]}; it has {there}")
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, each in chosen:
        found.append(folder / f"imagenet-patch-{number}.png")
        write_atomically(found[-1], encode_patch(each.pixels))
    return found


def _patches(document: Any, path: Path) -> tuple[ReadyPatch, ...]:
    wanted = f"{path}: not ImageNet-Patch's file: it must hold patches (n, 3, side, side) in [0, 1] and targets (n,)"
    if not isinstance(document, (tuple, list)) or len(document) not in (2, 3):
        raise UsageError(wanted)
    patches, targets = (np.asarray(values) for values in document[:2])
    info = document[2] if len(document) == 3 and isinstance(document[2], dict) else {}
    size = info.get("patch_size", _PATCH_SIZE)
    if patches.ndim != 4 or patches.shape[1] != 3 or targets.shape != (len(patches),) or targets.dtype.kind not in "iu":
        raise UsageError(wanted)
    if not isinstance(size, int) or not 1 <= size <= min(patches.shape[2:]):
        raise UsageError(f"{path}: its patch_size is {size!r}; its pictures are {patches.shape[2]} high")
    if patches.dtype.kind != "f" or not np.isfinite(patches).all() or patches.min() < 0 or patches.max() > 1:
        raise UsageError(wanted)
    top, left = patches.shape[2] // 2 - size // 2, patches.shape[3] // 2 - size // 2
    middle = patches[:, :, top : top + size, left : left + size].transpose(0, 2, 3, 1)
    pixels = np.rint(middle * 255).astype(np.uint8)
    return tuple(ReadyPatch(each, int(target)) for each, target in zip(pixels, targets, strict=True))


class _Plain(pickle.Unpickler):
    """Builds tensors, arrays and plain values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TENSORS:
            import torch._utils  # only where a file with tensors is read

            return _storage if name == "_load_from_bytes" else torch._utils._rebuild_tensor_v2
        if (module, name) in _ARRAYS or (module, name) == ("collections", "OrderedDict"):
            return OrderedDict if name == "OrderedDict" else super().find_class(module, name)
        raise UsageError(f"the pickle wants {module}.{name}, which may run code: not read")


_TENSORS = {("torch._utils", "_rebuild_tensor_v2"), ("torch.storage", "_load_from_bytes")}
_ARRAYS = {
    ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"), ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
}  # fmt: skip


def _storage(content: bytes) -> Any:
    """As `torch.storage._load_from_bytes`, which trusts its bytes, but for tensors' storages alone."""
    import torch

    return torch.load(io.BytesIO(content), weights_only=True)
