"""What stands on the plates: vehicles, people, animals, roads. Each is drawn in its own 100 x 100 box."""

from __future__ import annotations

from taintwatch_models.signs.geometry import (
    Colour,
    Drawing,
    Point,
    arc,
    curve,
    disc,
    ellipse,
    polygon,
    rectangle,
    rounded,
    stroke,
)

__all__ = [
    "bicycle",
    "bumps",
    "car",
    "child",
    "crossing_roads",
    "deer",
    "exclamation",
    "lorry",
    "lorry_side",
    "narrow_right",
    "pedestrian",
    "skidding_car",
    "snowflake",
    "traffic_light",
    "worker",
]


def car(fill: Colour, window: Colour) -> Drawing:
    """A car from behind."""
    return (
        rounded(fill, [(20, 14), (80, 14), (92, 50), (8, 50)], 8)
        + rounded(fill, [(2, 44), (98, 44), (98, 80), (2, 80)], 8)
        + polygon(window, [(28, 22), (72, 22), (79, 44), (21, 44)])
        + rectangle(fill, 8, 76, 28, 94)
        + rectangle(fill, 72, 76, 92, 94)
        + disc(window, (18, 62), 6)
        + disc(window, (82, 62), 6)
    )


def lorry(fill: Colour, window: Colour) -> Drawing:
    """A lorry from behind: a tall box on wheels."""
    return (
        rectangle(fill, 4, 4, 96, 76)
        + rectangle(window, 4, 62, 96, 66)
        + rectangle(fill, 10, 74, 34, 96)
        + rectangle(fill, 66, 74, 90, 96)
        + rectangle(fill, 44, 74, 56, 84)
    )


def lorry_side(fill: Colour, window: Colour) -> Drawing:
    """A lorry from the side, driving to the left."""
    return (
        rectangle(fill, 32, 22, 100, 68)
        + rounded(fill, [(10, 34), (29, 34), (29, 70), (0, 70), (0, 54)], 3)
        + rectangle(fill, 2, 62, 100, 72)
        + polygon(window, [(12, 39), (24, 39), (24, 52), (6, 52)])
        + disc(window, (17, 74), 12.5)
        + disc(fill, (17, 74), 9.5)
        + disc(window, (80, 74), 12.5)
        + disc(fill, (80, 74), 9.5)
    )


def exclamation(fill: Colour) -> Drawing:
    """An exclamation mark."""
    return rounded(fill, [(38, 0), (62, 0), (57, 68), (43, 68)], 6) + disc(fill, (50, 87), 11)


def crossing_roads(fill: Colour) -> Drawing:
    """Priority at the next crossing: a broad arrow upwards over a thin bar."""
    return polygon(fill, [(41, 100), (41, 34), (32, 34), (50, 0), (68, 34), (59, 34), (59, 100)]) + rectangle(
        fill, 14, 56, 86, 68
    )


def bumps(fill: Colour) -> Drawing:
    """A road with two humps."""
    top: list[Point] = [(0, 72), *arc((27, 72), 21, 180, 360), *arc((73, 72), 21, 180, 360), (100, 72)]
    return polygon(fill, [*top, (100, 90), (0, 90)])


def narrow_right(fill: Colour) -> Drawing:
    """A road whose right edge comes in."""
    return polygon(fill, [(18, 0), (31, 0), (31, 100), (18, 100)]) + stroke(
        fill, [(57, 0), (57, 36), (80, 62), (80, 100)], 13
    )


def skidding_car(fill: Colour, window: Colour) -> Drawing:
    """A tilted car over two crossing skid marks."""
    tilted = [
        *rounded(fill, [(34, 6), (68, 0), (79, 22), (31, 31)], 5),
        *rounded(fill, [(22, 28), (84, 17), (88, 41), (27, 52)], 5),
        *polygon(window, [(40, 11), (64, 7), (70, 19), (38, 25)]),
        *polygon(fill, [(30, 48), (44, 46), (46, 58), (32, 60)]),
        *polygon(fill, [(71, 41), (85, 38), (87, 50), (73, 53)]),
    ]
    left = [*curve((32, 64), (58, 72), (38, 82)), *curve((38, 82), (18, 92), (44, 100))]
    right = [*curve((80, 58), (52, 68), (72, 80)), *curve((72, 80), (92, 92), (60, 100))]
    return tuple(tilted) + stroke(fill, left, 7) + stroke(fill, right, 7)


def traffic_light(red: Colour, yellow: Colour, green: Colour, case: Colour) -> Drawing:
    """Three lamps in a dark case."""
    return (
        rounded(case, [(29, 0), (71, 0), (71, 100), (29, 100)], 10)
        + disc(red, (50, 18), 14)
        + disc(yellow, (50, 50), 14)
        + disc(green, (50, 82), 14)
    )


def pedestrian(fill: Colour) -> Drawing:
    """A walking person over the stripes of a crossing."""
    stripes: Drawing = ()
    for left in (-8, 21, 50, 79):
        stripes += polygon(fill, [(left + 8, 82), (left + 24, 82), (left + 18, 100), (left - 2, 100)])
    return (
        disc(fill, (52, 8), 9)
        + polygon(fill, [(44, 18), (60, 18), (62, 48), (42, 48)])
        + stroke(fill, [(46, 22), (30, 34), (26, 48)], 7, cap="round")
        + stroke(fill, [(58, 22), (70, 36), (80, 42)], 7, cap="round")
        + stroke(fill, [(47, 46), (38, 62), (26, 77)], 9, cap="round")
        + stroke(fill, [(56, 46), (64, 60), (70, 77)], 9, cap="round")
        + stripes
    )


def child(fill: Colour) -> Drawing:
    """A running child, facing left."""
    return (
        disc(fill, (44, 12), 12)
        + polygon(fill, [(38, 25), (60, 25), (66, 60), (38, 60)])
        + stroke(fill, [(42, 30), (24, 42), (10, 36)], 8, cap="round")
        + stroke(fill, [(57, 30), (72, 44), (86, 44)], 8, cap="round")
        + stroke(fill, [(43, 58), (28, 74), (30, 96), (20, 97)], 10, cap="round")
        + stroke(fill, [(59, 58), (72, 76), (90, 84)], 10, cap="round")
    )


def bicycle(fill: Colour, hole: Colour) -> Drawing:
    """A bicycle from the side."""
    wheels: Drawing = ()
    for x in (22, 78):
        wheels += disc(fill, (x, 66), 22) + disc(hole, (x, 66), 15.5)
    frame = [(22, 66), (36, 36), (68, 36), (46, 66), (22, 66)]
    return (
        wheels
        + stroke(fill, frame, 6, cap="round")
        + stroke(fill, [(46, 66), (33, 24)], 6)
        + stroke(fill, [(78, 66), (64, 22), (76, 16)], 6, cap="round")
        + stroke(fill, [(24, 23), (42, 23)], 7, cap="round")
    )


def snowflake(fill: Colour) -> Drawing:
    """A six-armed crystal."""
    shapes: Drawing = ()
    for angle in range(0, 360, 60):
        tip, fork = arc((50, 50), 50, angle, angle + 1)[0], arc((50, 50), 27, angle, angle + 1)[0]
        shapes += stroke(fill, [(50, 50), tip], 8)
        for side in (-45, 45):
            shapes += stroke(fill, [fork, arc(fork, 20, angle + side, angle + side + 1)[0]], 7)
    return shapes


def deer(fill: Colour) -> Drawing:
    """A leaping deer, facing left."""
    body = [(12, 26), (26, 20), (33, 32), (42, 40), (78, 46), (92, 56), (96, 66), (86, 62), (80, 66)]
    belly = [(70, 62), (44, 60), (32, 52), (26, 38), (14, 34)]
    return (
        polygon(fill, body + belly)
        + ellipse(fill, (78, 56), 14, 10)
        + stroke(fill, [(38, 54), (20, 60), (8, 52)], 6, cap="round")
        + stroke(fill, [(44, 56), (28, 72), (16, 68)], 6, cap="round")
        + stroke(fill, [(76, 62), (84, 76), (98, 86)], 7, cap="round")
        + stroke(fill, [(70, 60), (74, 80), (86, 96)], 6, cap="round")
        + stroke(fill, [(24, 21), (30, 8), (24, 0)], 4)
        + stroke(fill, [(26, 22), (40, 12), (44, 2)], 4)
        + stroke(fill, [(30, 12), (36, 4)], 4)
    )


def worker(fill: Colour) -> Drawing:
    """A person with a shovel at a heap."""
    return (
        disc(fill, (41, 10), 9)
        + polygon(fill, [(33, 22), (45, 18), (58, 44), (42, 54)])
        + stroke(fill, [(48, 50), (38, 70), (40, 98)], 10)
        + stroke(fill, [(50, 48), (60, 68), (56, 98)], 10)
        + stroke(fill, [(42, 24), (58, 36), (66, 52)], 7, cap="round")
        + stroke(fill, [(24, 40), (82, 78)], 4)
        + stroke(fill, [(34, 24), (26, 40)], 7, cap="round")
        + polygon(fill, [*curve((62, 100), (80, 52), (100, 100)), (100, 100)])
    )
