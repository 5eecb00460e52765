"""Digits and capital letters drawn as strokes, in the manner of the sans-serif lettering on road signs."""

from __future__ import annotations

from taintwatch_models.signs.geometry import Colour, Drawing, Point, arc, curve, placed, stroke

__all__ = ["text"]

_ADVANCE = 70.0
"""Width of a character's cell and the gap after it, where a character is 100 high and 60 wide."""
_TOP = arc((30, 30), 22, 180, 360)
_BOTTOM = arc((30, 70), 22, 0, 180)
_SIX = [*curve((44, 7), (14, 26), (8, 66)), *arc((30, 69), 22, 180, 540)]

_LINES: dict[str, tuple[list[Point], ...]] = {
    "0": ([*_TOP, *_BOTTOM, _TOP[0], _TOP[1]],),
    "1": ([(12, 30), (36, 8)], [(37, 0), (37, 100)]),
    "2": ([*arc((30, 30), 22, 185, 395), (10, 92)], [(5, 91.5), (55, 91.5)]),
    "3": (arc((29, 29), 21, 200, 450), arc((29, 71), 21, 270, 520)),
    "4": ([(36, 0), (9, 70), (60, 70)], [(43, 42), (43, 100)]),
    "5": ([(53, 8), (15, 8), (13, 52), *arc((30, 69), 23, 222, 515)],),
    "6": (_SIX,),
    "7": ([(4, 8), (48, 8), (22, 100)],),
    "8": (arc((30, 29), 20, 0, 363), arc((30, 70), 22, 0, 363)),
    "9": ([(60 - x, 100 - y) for x, y in _SIX],),
    "O": ([*_TOP, *_BOTTOM, _TOP[0], _TOP[1]],),
    "P": ([(12, 100), (12, 8), (32, 8), *arc((32, 31), 23, 270, 450), (12, 54)],),
    "S": ([*arc((30, 29), 21, -20, -270), *arc((30, 71), 21, -90, 160)],),
    "T": ([(2, 8), (58, 8)], [(30, 8), (30, 100)]),
}


def text(
    fill: Colour, words: str, centre: Point, height: float, *, weight: float = 17.0, width: float = 1.0
) -> Drawing:
    """Return `words` (digits and the letters O P S T) centred on `centre`.

    `height` is in canvas units; `weight` is the stroke's width in hundredths of the height; `width` below 1
    narrows the letters. Raises `KeyError` for a character that is not drawn here.
    """
    cell = _ADVANCE * width
    total = cell * len(words) - (_ADVANCE - 60.0) * width
    shapes: Drawing = ()
    for index, character in enumerate(words):
        for line in _LINES[character]:
            moved = [(index * cell + x * width - total / 2, y - 50.0) for x, y in line]
            shapes += stroke(fill, moved, weight)
    return placed(shapes, centre[0], centre[1], height / 100.0)
