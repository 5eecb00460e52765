"""What stands in the simulated scenes: patches from files, photographs or drawn streets, signs and control prints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.signs.benign_scenes import read_photographs
from benchmarks.signs.cards import card_image
from taintwatch.demo.play import ATTACK_NAMES, load_attack
from taintwatch.demo.sign_scene import draw_street
from taintwatch.sources.colour_profile import GENERIC_PROFILE, printed_picture
from taintwatch.sources.compositing import composite, cover, premultiplied
from taintwatch_calibration.printing.pictures import CONTROLS, control_picture
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image
from taintwatch_models.signs import render_sign

__all__ = ["HEIGHT", "WIDTH", "Patch", "Place", "add_control", "add_sign", "read_background", "read_patches"]

WIDTH, HEIGHT = 320, 240
"""Pixels of a simulated camera: those of the scenes that the bundled model was calibrated on."""
_STREETS = 200
_CARDS = {1: (0.85, False), 2: (0.78, True)}  # the sign's share of the card, and whether it has a caption


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One printed attack."""

    name: str
    picture: NDArray[np.uint8]
    """(h, w, 3 or 4) uint8 blue-green-red(-alpha), as it is sent to the printer."""

    @property
    def printed(self) -> NDArray[np.uint8]:
        """What a camera sees of it on paper, by the generic colour profile."""
        return printed_picture(self.picture, GENERIC_PROFILE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a square thing is: its centre as fractions of width and height, its side as a fraction of the height."""

    x: float
    y: float
    side: float


def read_patches(folder: Path | None) -> tuple[Patch, ...]:
    """Return the bundled attacks and those in `folder`: pictures, or what `benchmarks.sign_attacks` keeps (.npz).

    In order of their names. Raises `UsageError` where the folder holds none or a file is no patch.
    """
    bundled = tuple(Patch(name, load_attack(name).picture) for name in ATTACK_NAMES)
    if folder is None:
        return bundled
    files = sorted(path for path in folder.glob("*") if _is_patch(path)) if folder.is_dir() else []
    if not files:
        raise UsageError(f"--patches {folder}: no such folder, or neither a PNG nor an NPZ with a patch in it")
    return (*bundled, *(Patch(path.stem, _read(path)) for path in files))


def _is_patch(path: Path) -> bool:
    if path.suffix.lower() != ".npz":
        return path.suffix.lower() == ".png" and not path.stem.startswith("missed_")  # the bench's contact sheets
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return "patch" in arrays.files
    except (OSError, ValueError) as error:
        raise UsageError(f"--patches: {path} is no file of arrays ({error}); take it out of the folder") from None


def _read(path: Path) -> NDArray[np.uint8]:
    if path.suffix.lower() == ".png":
        try:
            image = read_image(path, cv2.IMREAD_UNCHANGED)
        except BadFrame as error:
            raise UsageError(f"--patches: {error}") from None
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image, np.uint8)
    with np.load(path, allow_pickle=False) as arrays:
        planes = np.asarray(arrays["patch"], np.float32)  # (3, s, s), red-green-blue in [0, 1]
    if planes.ndim != 3 or planes.shape[0] != 3:
        raise UsageError(f"--patches: the patch in {path} has the shape {planes.shape}, not (3, height, width)")
    return np.ascontiguousarray((planes.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)[..., ::-1])


@lru_cache(maxsize=1)
def _photographs(scenes: str) -> list[NDArray[np.uint8]]:
    # The bundle's thresholds were chosen on the second of each three photographs.
    return read_photographs(Path(scenes))[2::3]


def read_background(scenes: str | None, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a photograph of the folder or archive `scenes`, else a drawn street: (240, 320, 3) blue-green-red.

    Raises `UsageError`.
    """
    if scenes is None:
        return draw_street(WIDTH, HEIGHT, int(rng.integers(_STREETS)))
    photographs = _photographs(scenes)
    return cover(photographs[rng.integers(len(photographs))], WIDTH, HEIGHT)


def add_sign(picture: NDArray[np.uint8], sign: int, place: Place, rng: np.random.Generator) -> None:
    """Lay sign class `sign` over the picture, in place: bare, on a card, or on a card with a caption, in some light."""
    style, side = int(rng.integers(3)), round(place.side * HEIGHT)
    shown = (
        render_sign(sign, side) if style == 0 else card_image(sign, _CARDS[style][0], side, caption=_CARDS[style][1])
    )
    lit = shown[..., [2, 1, 0, 3]].astype(np.float32)
    lit[..., :3] *= rng.uniform(0.75, 1.05)
    _lay(picture, np.clip(lit, 0, 255).astype(np.uint8), place)


def add_control(picture: NDArray[np.uint8], patch: Patch, place: Place, rng: np.random.Generator) -> None:
    """Lay a printed control of `patch` over the picture, in place: what is as colourful but attacks nothing."""
    kind = tuple(CONTROLS)[rng.integers(len(CONTROLS))]
    control = Patch(patch.name, control_picture(patch.picture, kind, int(rng.integers(2**31))))
    _lay(picture, control.printed, place)


def _lay(picture: NDArray[np.uint8], thing: NDArray[np.uint8], place: Place) -> None:
    layer = premultiplied(thing)
    scale = place.side * HEIGHT / max(layer.shape[:2])
    wide, high = scale * layer.shape[1], scale * layer.shape[0]
    left, top = place.x * WIDTH - wide / 2, place.y * HEIGHT - high / 2
    to_picture = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1.0]])
    x0, y0 = max(0, int(left)), max(0, int(top))
    x1, y1 = min(WIDTH, int(left + wide) + 1), min(HEIGHT, int(top + high) + 1)
    if x1 > x0 and y1 > y0:
        composite(picture, layer, to_picture, (x0, y0, x1 - x0, y1 - y0))
