"""ImageNet-Patch's file, made here as its authors make it: read with tensors and arrays, and never run."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taintwatch_calibration.bench.imagenet_patch import read_imagenet_patch, write_patches
from taintwatch_calibration.bench.patch_files import read_patch
from taintwatch_models.errors import UsageError

NAMES = ("soap", "typewriter", "toaster")


def written(path: Path, document: object) -> Path:
    with gzip.open(path, "wb") as stream:
        pickle.dump(document, stream)
    return path


def dataset(size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Two black pictures with a patch in the middle: a red one for `toaster`, noise for `soap`."""
    patches = torch.zeros(2, 3, 224, 224)
    middle = slice(112 - size // 2, 112 - size // 2 + size)
    patches[0, 0, middle, middle] = 1.0
    patches[1, :, middle, middle] = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))
    return patches, torch.tensor([2, 0])


def test_the_patches_are_cut_out_of_the_middle(tmp_path: Path) -> None:
    patches, targets = dataset()
    red, noise = read_imagenet_patch(written(tmp_path / "patches.gz", (patches, targets)))
    assert (red.target, noise.target) == (2, 0)
    assert red.pixels.shape == (50, 50, 3)
    assert (red.pixels == (255, 0, 0)).all()
    wanted = (patches[1, :, 87:137, 87:137].permute(1, 2, 0) * 255).round().byte()
    assert np.array_equal(noise.pixels, wanted.numpy())


@pytest.mark.parametrize("as_arrays", [False, True])
def test_the_later_files_info_says_the_size(tmp_path: Path, as_arrays: bool) -> None:
    patches, targets = dataset(32)
    document: Any = (patches.numpy(), targets.numpy()) if as_arrays else (patches, targets)
    red, _ = read_imagenet_patch(written(tmp_path / "p.gz", (*document, {"patch_size": 32, "input_shape": (3, 224)})))
    assert (red.pixels == (255, 0, 0)).all()
    assert red.pixels.shape == (32, 32, 3)


def test_those_that_show_the_target_are_written_as_pictures(tmp_path: Path) -> None:
    file = written(tmp_path / "patches.gz", dataset())
    (path,) = write_patches(file, 2, NAMES, tmp_path / "out")
    assert path.name == "imagenet-patch-0.png"
    assert (read_patch(path) == (255, 0, 0)).all()
    with pytest.raises(UsageError, match=r"no patch for --target typewriter; it has 0 \(soap\), 2 \(toaster\)"):
        write_patches(file, 1, NAMES, tmp_path / "out")


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("/tmp/taintwatch-pickle-ran",)  # noqa: S108 (must not be made)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="may run code: not read"):
        read_imagenet_patch(written(tmp_path / "evil.gz", (_Runs(), torch.zeros(1))))
    assert not Path("/tmp/taintwatch-pickle-ran").exists()  # noqa: S108


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([1, 2], "must hold patches"),
        ({"patches": 1}, "must hold patches"),
        ((torch.zeros(2, 3, 8, 8), torch.zeros(2)), "must hold patches"),
        ((torch.full((2, 3, 64, 64), 255.0), torch.tensor([0, 1])), "must hold patches"),
        ((torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), {"patch_size": 9}), "patch_size is 9"),
    ],
)
def test_another_file_is_refused_in_one_sentence(tmp_path: Path, document: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_imagenet_patch(written(tmp_path / "other.gz", document))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "patches.gz", dataset()).read_bytes()
    (tmp_path / "half.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="not a gzipped file"):
        read_imagenet_patch(tmp_path / "half.gz")
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"no pickle"))
    with pytest.raises(UsageError, match="not a pickle"):
        read_imagenet_patch(tmp_path / "text.gz")
