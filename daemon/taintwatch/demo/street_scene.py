"""A street with several signs, cars and people in one picture, and a patch on one of the signs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.passers_by import Car, Person, draw_passers_by
from taintwatch.demo.sign_scene import draw_street
from taintwatch.sources.camera_model import CameraModel, plain
from taintwatch.sources.compositing import composite, premultiplied, warp
from taintwatch.sources.scene import SceneSettings, Truth, camera_view
from taintwatch_models.errors import SourceError
from taintwatch_models.records import read_only
from taintwatch_models.signs import render_sign

__all__ = ["Sticker", "StreetPlan", "StreetScene", "StreetSign"]

Box = tuple[int, int, int, int]
Picture = NDArray[np.uint8]

_POLE = (128, 132, 134)  # blue-green-red: galvanised steel


@dataclass(frozen=True, slots=True)
class StreetSign:
    """A sign on its pole. Place and side are of the drawing, of which a frame shows a little less."""

    sign: int
    """GTSRB class."""
    x: float
    y: float
    """Centre as shares of the width and the height."""
    side: float
    """As a share of the height."""


@dataclass(frozen=True, slots=True)
class Sticker:
    """Where a patch is on its sign; all in shares of the sign's side."""

    x: float = 0.0
    y: float = 0.17
    """Its centre, from the sign's, to the right and down."""
    side: float = 0.384


@dataclass(frozen=True, slots=True)
class StreetPlan:
    """What stands and moves in a street."""

    signs: tuple[StreetSign, ...]
    passers_by: tuple[Car | Person, ...] = ()
    patched: int = 0
    """Which of the signs gets the patch, where there is one."""
    sticker: Sticker = field(default_factory=Sticker)


class StreetScene:
    """Renders any frame of a street: frame n is a function of n and the constructor's arguments alone."""

    def __init__(
        self,
        plan: StreetPlan,
        patch: Picture | None = None,
        settings: SceneSettings | None = None,
        camera_model: CameraModel = plain,
        backdrop: Picture | None = None,
    ) -> None:
        """`patch` as in `Scene`; `settings` say when it is there, and how the camera moves.

        `backdrop`: (height, width, 3) blue-green-red, in place of the drawn houses. Raises `SourceError`.
        """
        if not plan.signs or not 0 <= plan.patched < len(plan.signs):
            raise SourceError("sim: a street needs at least one sign, and the patch one of them")
        self.plan, self.settings = plan, settings or SceneSettings()
        width, height = self.settings.width, self.settings.height
        self._camera_model = camera_model
        self._patch = None if patch is None else premultiplied(patch)
        self._backdrop = draw_street(width, height, self.settings.seed) if backdrop is None else backdrop
        self._sprites = [_sprite(each.sign, -(-round(each.side * height) // 32) * 32) for each in plan.signs]

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.settings.fps

    @property
    def frame_count(self) -> int | None:
        """Frames of one round; None where it loops for ever."""
        return None if self.settings.loop else self._round_frames

    def render(self, index: int) -> Picture:
        """Return frame `index` as (height, width, 3) uint8 blue-green-red."""
        width, height = self.settings.width, self.settings.height
        picture = self._backdrop.copy()
        draw_passers_by(picture, self.plan.passers_by, (index % self._round_frames) / self.fps)
        for each in self.plan.signs:
            _draw_pole(picture, each)
        view = camera_view(self.settings, index)
        image = warp(picture, view, (width, height), cv2.BORDER_REPLICATE)
        for each, sprite in zip(self.plan.signs, self._sprites, strict=True):
            self._lay(image, sprite, view, each.x * width, each.y * height, each.side * height)
        truth = self.ground_truth(index)
        if self._patch is not None and truth.box is not None:
            self._lay(image, self._patch, view, *self._patch_place())
        return self._camera_model(image, index)

    def ground_truth(self, index: int) -> Truth:
        """Return whether frame `index` is attacked, and where the patch is."""
        media_s = index / self.fps
        round_s = (index % self._round_frames) / self.fps
        shown = self.settings.start <= round_s + 1e-9 < self.settings.end
        if self._patch is None or not shown:
            return Truth(False, None, media_s)
        box = self._box(camera_view(self.settings, index), *self._patch_place())
        return Truth(box is not None, box, media_s)

    def sign_boxes(self, index: int) -> tuple[Box | None, ...]:
        """Return x, y, width and height of each sign in frame `index`, clipped to it; None of one out of view."""
        view, (width, height) = camera_view(self.settings, index), (self.settings.width, self.settings.height)
        return tuple(self._box(view, each.x * width, each.y * height, each.side * height) for each in self.plan.signs)

    @property
    def _round_frames(self) -> int:
        return max(1, round(self.settings.duration * self.settings.fps))

    def _patch_place(self) -> tuple[float, float, float]:
        """Return centre and side of the patch in pixels of the drawing."""
        sign, sticker = self.plan.signs[self.plan.patched], self.plan.sticker
        width, height = self.settings.width, self.settings.height
        side = sign.side * height
        return sign.x * width + sticker.x * side, sign.y * height + sticker.y * side, sticker.side * side

    def _lay(
        self, image: Picture, sprite: NDArray[np.float32], view: NDArray[np.float64], x: float, y: float, side: float
    ) -> None:
        """Lay a sprite of that centre and side, in pixels of the drawing, onto a frame, in place."""
        box = self._box(view, x, y, side)
        if box is None:
            return
        rows, columns = sprite.shape[:2]
        scale = side / max(rows, columns)
        placement = np.array([[scale, 0, x - scale * columns / 2], [0, scale, y - scale * rows / 2], [0, 0, 1.0]])
        composite(image, sprite, view @ placement, box)

    def _box(self, view: NDArray[np.float64], x: float, y: float, side: float) -> Box | None:
        low = view @ np.array([x - side / 2, y - side / 2, 1.0])
        high = view @ np.array([x + side / 2, y + side / 2, 1.0])
        left, top = max(0, round(low[0])), max(0, round(low[1]))
        right, bottom = min(self.settings.width, round(high[0])), min(self.settings.height, round(high[1]))
        return (left, top, right - left, bottom - top) if right > left and bottom > top else None


@lru_cache(maxsize=256)
def _sprite(sign: int, side: int) -> NDArray[np.float32]:
    """Return a sign of a size that may be shrunk, never enlarged, by less than 32 pixels: drawing one takes a while."""
    return read_only(premultiplied(render_sign(sign, max(32, side))[..., [2, 1, 0, 3]]))


def _draw_pole(picture: Picture, each: StreetSign) -> None:
    height, width = picture.shape[:2]
    half = max(1, round(0.04 * each.side * height))
    x, top, foot = round(each.x * width), round(each.y * height), round(min(0.97, each.y + 2.6 * each.side) * height)
    cv2.rectangle(picture, (x - half, top), (x + half, foot), _POLE, cv2.FILLED)
    cv2.line(picture, (x + half, top), (x + half, foot), (92, 96, 98), 1, cv2.LINE_AA)
