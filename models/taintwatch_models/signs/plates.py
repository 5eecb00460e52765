"""The blank plates: outlines, rings and colours of the sign families, each filling the 100 x 100 canvas."""

from __future__ import annotations

import math

from taintwatch_models.signs.geometry import Colour, Drawing, disc, polygon, rounded, stroke

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "RED",
    "WHITE",
    "YELLOW",
    "blue_disc",
    "diamond",
    "end_disc",
    "no_entry_disc",
    "octagon",
    "red_ring",
    "slashes",
    "warning_triangle",
    "yield_triangle",
]

# RAL traffic colours (3020, 5017, 1023, 6024, 9017, 9016), near enough in sRGB.
RED: Colour = (193, 18, 28)
BLUE: Colour = (0, 85, 150)
YELLOW: Colour = (247, 181, 0)
GREEN: Colour = (0, 131, 81)
BLACK: Colour = (24, 22, 24)
WHITE: Colour = (246, 246, 246)
GREY: Colour = (130, 130, 130)

_CENTRE = (50.0, 50.0)


def red_ring() -> Drawing:
    """A prohibition: white disc in a red ring."""
    return disc(WHITE, _CENTRE, 50) + disc(RED, _CENTRE, 48.5) + disc(WHITE, _CENTRE, 37)


def end_disc() -> Drawing:
    """The end of a prohibition: a white disc with a thin black rim (its stripes go on top, see `pictograms`)."""
    return disc(WHITE, _CENTRE, 50) + disc(BLACK, _CENTRE, 48.5) + disc(WHITE, _CENTRE, 46.5)


def blue_disc() -> Drawing:
    """A mandatory direction: blue disc with a thin white rim."""
    return disc(WHITE, _CENTRE, 50) + disc(BLUE, _CENTRE, 48)


def no_entry_disc() -> Drawing:
    """Red disc with a thin white rim."""
    return disc(WHITE, _CENTRE, 50) + disc(RED, _CENTRE, 48.5)


def octagon() -> Drawing:
    """The stop sign's plate: a red octagon with a white border."""

    def ring(radius: float) -> list[tuple[float, float]]:
        angles = [math.radians(22.5 + 45 * corner) for corner in range(8)]
        return [(50 + radius * math.cos(a), 50 + radius * math.sin(a)) for a in angles]

    outer = 50 / math.cos(math.radians(22.5))
    return polygon(WHITE, ring(outer)) + polygon(RED, ring(outer - 3.5))


def diamond() -> Drawing:
    """The priority road's plate: a yellow square on its corner, with a broad white border and a thin black rim."""

    def square(radius: float) -> list[tuple[float, float]]:
        return [(50, 50 - radius), (50 + radius, 50), (50, 50 + radius), (50 - radius, 50)]

    return (
        rounded(WHITE, square(51.5), 5)
        + rounded(BLACK, square(50), 5)
        + rounded(WHITE, square(48.5), 5)
        + rounded(YELLOW, square(33), 3)
    )


def warning_triangle() -> Drawing:
    """White triangle in a red border, point upwards."""
    return _triangle(WHITE, 0) + _triangle(RED, 1.5) + _triangle(WHITE, 14)


def yield_triangle() -> Drawing:
    """The same, point downwards, with a broader border."""
    shapes = _triangle(WHITE, 0) + _triangle(RED, 1.5) + _triangle(WHITE, 17)
    return tuple(type(s)(s.fill, tuple((x, 100 - y) for x, y in s.points)) for s in shapes)


def _triangle(fill: Colour, inset: float) -> Drawing:
    """An equilateral triangle as wide as the canvas, drawn in by `inset` on each side, measured from the corners."""
    height = 100 * math.sqrt(3) / 2
    middle = 50 - height / 2 + height * 2 / 3  # the centroid: insets shrink towards it
    share = 1 - inset / 50
    corners = [(50.0, 50 - height / 2), (100.0, 50 + height / 2), (0.0, 50 + height / 2)]
    return rounded(fill, [(50 + (x - 50) * share, middle + (y - middle) * share) for x, y in corners], 8 * share)


def slashes(fill: Colour, offsets: tuple[float, ...], width: float) -> Drawing:
    """Parallel stripes across a disc, from lower left to upper right; offsets from the middle line in units."""
    shapes: Drawing = ()
    for offset in offsets:
        half = math.sqrt(46.5**2 - offset**2)
        along, across = half * math.sqrt(0.5), offset * math.sqrt(0.5)
        ends = [(50 - along + across, 50 + along + across), (50 + along + across, 50 - along + across)]
        shapes += stroke(fill, ends, width)
    return shapes
