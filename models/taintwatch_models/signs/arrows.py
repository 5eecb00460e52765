"""Arrows of the mandatory signs and of the curve warnings, each in its own 100 x 100 box."""

from __future__ import annotations

import math
from collections.abc import Sequence

from taintwatch_models.signs.geometry import Colour, Drawing, Point, arc, curve, polygon, stroke, turned

__all__ = ["ahead", "ahead_or_turn", "arrow", "curve_left", "double_curve", "keep_right", "roundabout", "turn"]


def arrow(fill: Colour, points: Sequence[Point], width: float, head: float) -> Drawing:
    """Return a line through `points` that ends in a triangular head, `head` wide and 0.8 `head` long."""
    (x0, y0), (x1, y1) = points[-2], points[-1]
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    base = (x1 - 0.8 * head * dx, y1 - 0.8 * head * dy)
    tip = [
        (base[0] + head / 2 * dy, base[1] - head / 2 * dx),
        (x1, y1),
        (base[0] - head / 2 * dy, base[1] + head / 2 * dx),
    ]
    neck = (base[0] + 0.5 * dx, base[1] + 0.5 * dy)
    return stroke(fill, [*points[:-1], neck], width) + polygon(fill, tip)


def ahead(fill: Colour) -> Drawing:
    """Straight on."""
    return arrow(fill, [(50, 98), (50, 2)], 17, 46)


def turn(fill: Colour, *, left: bool) -> Drawing:
    """Turn ahead: up, then to one side."""
    line = [(34, 96), (34, 58), *curve((34, 58), (34, 36), (56, 36)), (98, 36)]
    return turned(arrow(fill, line, 17, 46), mirror=left)


def ahead_or_turn(fill: Colour, *, left: bool) -> Drawing:
    """Straight on or to one side."""
    side = arrow(fill, [(36, 72), *curve((36, 72), (36, 56), (54, 56)), (96, 56)], 14, 38)
    return turned(arrow(fill, [(36, 98), (36, 2)], 14, 38) + side, mirror=left)


def keep_right(fill: Colour) -> Drawing:
    """Pass on the right: an arrow down to the right."""
    return turned(ahead(fill), 135)


def roundabout(fill: Colour) -> Drawing:
    """Three arrows chasing each other counter-clockwise."""
    shapes: Drawing = ()
    for start in (30, 150, 270):
        line = arc((50, 50), 36, start, start - 62)
        (x0, y0), (x1, y1) = line[-2], line[-1]
        length = math.hypot(x1 - x0, y1 - y0)
        end = (x1 + (x1 - x0) / length * 26, y1 + (y1 - y0) / length * 26)
        shapes += arrow(fill, [*line, end], 13, 34)
    return shapes


def curve_left(fill: Colour) -> Drawing:
    """A road that bends to the left."""
    line = [(66, 100), (66, 66), *curve((66, 66), (66, 46), (50, 36)), (20, 16)]
    return arrow(fill, line, 16, 40)


def double_curve(fill: Colour) -> Drawing:
    """A road that bends to the left, then to the right."""
    line = [(60, 100), (60, 82), *curve((60, 78), (60, 70), (50, 64)), *curve((46, 61), (34, 54), (36, 44))]
    return arrow(fill, [*line, *curve((38, 38), (44, 28), (54, 20)), (66, 2)], 14, 36)
