"""Pictures with an optimised pattern in them, with a harmless one, with both or none; and where the pattern lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.appearance.look_alikes import altered, scrambled
from taintwatch_models.detection.appearance import SIDE
from taintwatch_models.detection.textures import texture

__all__ = ["Material", "Scenes"]

_POSTER = 64
_SHARES = (0.18, 0.62)
_TURN = 0.45  # radians
_BARE = 0.06
"""Scenes that are a texture and nothing else."""

Picture = NDArray[np.uint8]
Planes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What scenes are made of."""

    benign: Sequence[NDArray[np.uint8]]
    """Sets of (n, h, w, 3) RGB pictures: backgrounds, and what hangs on them as a poster."""
    shares: Sequence[float]
    """How often each set is taken from."""
    patterns: NDArray[np.uint8]
    """(n, s, s, 3)."""


class Scenes:
    """Draws scenes, each with the mask of its pattern."""

    def __init__(
        self, material: Material, seed: int, textures: int = 6000, side: int = SIDE, busy: float = 0.0
    ) -> None:
        """`textures`: so many are drawn once; each is used often, with other light, size and turn.

        `side`: of the scenes, in pixels. `busy`: this share of the harmless sheets are textures, beside those among
        the others.
        """
        self._shares, self._patterns = material.shares, material.patterns
        self._side, self._busy = side, busy
        self._wide = [_resized(pictures, side) for pictures in material.benign]
        self._small = [_resized(pictures, _POSTER) for pictures in material.benign]
        self._rng = np.random.default_rng(seed)
        patterns = _resized(material.patterns, _POSTER)
        self._textures = np.stack([self._texture(patterns) for _ in range(textures)])

    def _texture(self, patterns: NDArray[np.uint8]) -> Picture:
        """A drawn texture, a photograph in other colours, or a pattern's spectrum without its phases."""
        rng, kind = self._rng, self._rng.random()
        if kind < 0.6:
            return texture(rng)
        if kind < 0.8:
            return altered(self._pick(self._small), rng)
        return scrambled(patterns[rng.integers(len(patterns))], rng)

    def __call__(self) -> tuple[Planes, Planes]:
        """Return a picture (side, side, 3), 0..255, and its mask (side, side): 1 where the optimised pattern lies."""
        rng, side = self._rng, self._side
        scene = (self._any_texture(side) if rng.random() < _BARE else self._pick(self._wide)).astype(np.float32)
        if rng.random() < 0.5:
            scene = scene[:, ::-1]
        mask = np.zeros((side, side), np.float32)
        what = rng.random()
        if what < 0.35 or what > 0.75:
            for _ in range(1 if what < 0.9 else 2):
                scene, _ = self._lay_sheet(scene, self._recoloured(self._poster()))
        if what > 0.5:
            pattern = np.rot90(self._patterns[rng.integers(len(self._patterns))], int(rng.integers(4)))
            pattern = pattern[:, ::-1] if rng.random() < 0.5 else pattern
            scene, mask = self._lay_sheet(scene, self._recoloured(np.ascontiguousarray(pattern)))
        return self._degraded(np.ascontiguousarray(scene, np.float32)), mask

    def _pick(self, sets: Sequence[NDArray[np.uint8]]) -> Picture:
        pictures = sets[self._rng.choice(len(sets), p=self._shares)]
        return np.asarray(pictures[self._rng.integers(len(pictures))])

    def _any_texture(self, side: int = _POSTER) -> Picture:
        found = self._textures[self._rng.integers(len(self._textures))]
        return np.asarray(cv2.resize(found, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)

    def _poster(self) -> Picture:
        """A photograph, a texture, a collage, a drawing, a page of text, one colour, a photograph in garish colours."""
        if self._busy and self._rng.random() < self._busy:
            return self._any_texture()
        makers: tuple[Callable[[], Picture], ...] = (
            lambda: self._pick(self._small), self._any_texture, self._collage, self._drawing, self._page, self._plain,
            self._garish,
        )  # fmt: skip
        return makers[self._rng.choice(len(makers), p=(0.3, 0.36, 0.08, 0.08, 0.08, 0.06, 0.04))]()

    def _collage(self) -> Picture:
        count = int(self._rng.integers(2, 5))
        side = _POSTER // count
        rows = [
            np.hstack([cv2.resize(self._pick(self._small), (side, side)) for _ in range(count)]) for _ in range(count)
        ]
        return np.asarray(cv2.resize(np.vstack(rows), (_POSTER, _POSTER)), np.uint8)

    def _drawing(self) -> Picture:
        rng = self._rng
        sheet = self._plain()
        for _ in range(int(rng.integers(3, 30))):
            colour = tuple(int(v) for v in rng.integers(0, 256, 3))
            a, b = (tuple(int(v) for v in rng.integers(0, _POSTER, 2)) for _ in range(2))
            shape, line = int(rng.integers(4)), -1 if rng.random() < 0.5 else 2
            if shape == 0:
                cv2.rectangle(sheet, a, b, colour, line)
            elif shape == 1:
                cv2.circle(sheet, a, int(rng.integers(2, 20)), colour, line)
            elif shape == 2:
                cv2.line(sheet, a, b, colour, int(rng.integers(1, 5)))
            else:
                cv2.putText(sheet, self._text(4), a, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 1.0), colour, 1)
        return sheet

    def _page(self) -> Picture:
        rng = self._rng
        sheet = np.full((_POSTER, _POSTER, 3), rng.integers(180, 256), np.uint8)
        ink = tuple(int(v) for v in rng.integers(0, 120, 3))
        for row in range(6, _POSTER, int(rng.integers(6, 14))):
            cv2.putText(sheet, self._text(14), (2, row), cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.2, 0.5), ink, 1)
        return sheet

    def _text(self, count: int) -> str:
        return "".join(chr(code) for code in self._rng.integers(97, 123, count))

    def _plain(self) -> Picture:
        return np.full((_POSTER, _POSTER, 3), self._rng.integers(0, 256, 3), np.uint8)

    def _garish(self) -> Picture:
        picture = self._pick(self._small).astype(np.float32)
        grey = picture.mean(axis=2, keepdims=True)
        return np.asarray(np.clip(grey + 3 * (picture - grey), 0, 255), np.uint8)

    def _recoloured(self, picture: NDArray[np.generic]) -> Planes:
        """Print, light and camera: gain, tint, gamma and saturation."""
        rng = self._rng
        colours = picture.astype(np.float32)
        if rng.random() < 0.6:
            colours = colours * np.float32(rng.uniform(0.55, 1.25)) + np.float32(rng.uniform(-15, 25))
        if rng.random() < 0.4:
            colours = colours * rng.uniform(0.8, 1.2, 3).astype(np.float32)
        if rng.random() < 0.4:
            colours = np.asarray(255 * (np.clip(colours, 0, 255) / 255) ** rng.uniform(0.6, 1.6), np.float32)
        if rng.random() < 0.3:
            grey = colours.mean(axis=2, keepdims=True)
            colours = grey + (colours - grey) * np.float32(rng.uniform(0.3, 1.6))
        return np.asarray(np.clip(colours, 0, 255), np.float32)

    def _lay_sheet(self, scene: Planes, sheet: Planes) -> tuple[Planes, Planes]:
        """Lay a square sheet somewhere, turned and in some perspective; one in seven is round."""
        rng, count = self._rng, sheet.shape[0]
        side = float(rng.uniform(*_SHARES) * self._side)
        if count > side:
            sheet = cv2.GaussianBlur(sheet, (0, 0), max(0.3, count / side / 2.2))
        mask = np.ones((count, count), np.float32)
        if rng.random() < 0.15:
            mask[:] = 0
            cv2.circle(mask, (count // 2, count // 2), count // 2, 1.0, -1)
        whole = np.array([(0, 0), (count, 0), (count, count), (0, count)], np.float32)
        move = cv2.getPerspectiveTransform(whole, self._corners(side))
        cover = cv2.warpPerspective(mask, move, (self._side, self._side))
        shown = cv2.warpPerspective(sheet, move, (self._side, self._side))
        return scene * (1 - cover[..., None]) + shown * cover[..., None], np.asarray(cover, np.float32)

    def _corners(self, side: float) -> Planes:
        rng = self._rng
        angle = rng.uniform(-_TURN, _TURN)
        square = (np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) - 0.5) * side
        turned = square @ np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
        turned = (turned + rng.normal(0, 0.03 * side, (4, 2))) * np.array([rng.uniform(0.8, 1.2), 1.0])
        return np.asarray(turned + rng.uniform(0.4 * side, self._side - 0.4 * side, 2), np.float32)

    def _degraded(self, scene: Planes) -> Planes:
        rng = self._rng
        if rng.random() < 0.25:
            scene = cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.3, 1.1))
        if rng.random() < 0.3:
            scene = scene + np.asarray(rng.normal(0, rng.uniform(2, 12), scene.shape), np.float32)
        scene = np.asarray(np.clip(scene, 0, 255), np.float32)
        if rng.random() < 0.4:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
            coded = cv2.imencode(".jpg", scene.astype(np.uint8), quality)[1]
            scene = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.float32)
        return self._recoloured(scene) if rng.random() < 0.4 else np.asarray(scene, np.float32)


def _resized(pictures: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    interpolation = cv2.INTER_AREA if pictures.shape[1] > side else cv2.INTER_LINEAR
    return np.stack([cv2.resize(each, (side, side), interpolation=interpolation) for each in pictures])
