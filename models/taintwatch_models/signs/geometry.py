"""Plain shapes that a sign is drawn from: filled polygons on a 100 x 100 canvas, x to the right, y down."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "CANVAS",
    "Colour",
    "Drawing",
    "Point",
    "Shape",
    "arc",
    "curve",
    "disc",
    "ellipse",
    "placed",
    "polygon",
    "rectangle",
    "rounded",
    "stroke",
    "turned",
]

CANVAS = 100.0
"""Side of the square that every sign is drawn in."""

Point = tuple[float, float]
Colour = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One filled polygon. Later shapes cover earlier ones."""

    fill: Colour
    points: tuple[Point, ...]
    """At least three corners, in canvas units; closed by itself."""


Drawing = tuple[Shape, ...]


def polygon(fill: Colour, points: Iterable[Point]) -> Drawing:
    """Return a filled polygon with these corners."""
    return (Shape(fill, tuple(points)),)


def rectangle(fill: Colour, left: float, top: float, right: float, bottom: float) -> Drawing:
    """Return a filled upright rectangle."""
    return polygon(fill, [(left, top), (right, top), (right, bottom), (left, bottom)])


def arc(centre: Point, radius: float, start: float, end: float) -> list[Point]:
    """Return points along an arc; angles in degrees from the x axis, growing clockwise (y points down)."""
    steps = max(2, math.ceil(abs(end - start) / 3))
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)) for angle in angles]


def curve(start: Point, control: Point, end: Point, steps: int = 16) -> list[Point]:
    """Return points along a quadratic Bezier curve."""
    points = []
    for step in range(steps + 1):
        t = step / steps
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t**2
        points.append((a * start[0] + b * control[0] + c * end[0], a * start[1] + b * control[1] + c * end[1]))
    return points


def ellipse(fill: Colour, centre: Point, radius_x: float, radius_y: float) -> Drawing:
    """Return a filled ellipse."""
    # On a card of 180 mm neither count of corners is off the circle by more than 0.04 mm.
    step = 3.0 if max(radius_x, radius_y) > 10 else 9.0
    angles = [math.radians(step * index) for index in range(round(360 / step))]
    return polygon(fill, [(centre[0] + radius_x * math.cos(a), centre[1] + radius_y * math.sin(a)) for a in angles])


def disc(fill: Colour, centre: Point, radius: float) -> Drawing:
    """Return a filled circle."""
    return ellipse(fill, centre, radius, radius)


def rounded(fill: Colour, corners: Sequence[Point], radius: float) -> Drawing:
    """Return a filled convex polygon whose corners are rounded off, starting `radius` units from each corner."""
    points: list[Point] = []
    for index, corner in enumerate(corners):
        before, after = corners[index - 1], corners[(index + 1) % len(corners)]
        points += curve(_towards(corner, before, radius), corner, _towards(corner, after, radius), 8)
    return polygon(fill, points)


def stroke(fill: Colour, points: Sequence[Point], width: float, *, cap: str = "butt") -> Drawing:
    """Return a line of `width` through `points` with round joints; `cap` is `butt` or `round`."""
    shapes: Drawing = ()
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        if length == 0:
            continue
        dx, dy = (y1 - y0) / length * width / 2, (x0 - x1) / length * width / 2
        shapes += polygon(fill, [(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)])
    joints = points if cap == "round" else points[1:-1]
    for joint in joints:
        shapes += disc(fill, joint, width / 2)
    return shapes


def placed(drawing: Drawing, left: float, top: float, scale: float) -> Drawing:
    """Return `drawing` scaled by `scale` about its origin, then moved by (left, top)."""
    return tuple(Shape(s.fill, tuple((left + x * scale, top + y * scale) for x, y in s.points)) for s in drawing)


def turned(drawing: Drawing, degrees: float = 0.0, *, mirror: bool = False) -> Drawing:
    """Return `drawing` mirrored left to right (where asked), then turned clockwise, about the canvas's middle."""
    middle, sign = CANVAS / 2, -1.0 if mirror else 1.0
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def moved(point: Point) -> Point:
        x, y = sign * (point[0] - middle), point[1] - middle
        return middle + cos * x - sin * y, middle + sin * x + cos * y

    return tuple(Shape(s.fill, tuple(moved(p) for p in s.points)) for s in drawing)


def _towards(start: Point, end: Point, distance: float) -> Point:
    share = distance / math.hypot(end[0] - start[0], end[1] - start[1])
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
