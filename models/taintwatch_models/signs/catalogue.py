"""The 43 signs of the GTSRB classes: their names and what each is drawn from."""

from __future__ import annotations

from functools import cache

from taintwatch_models.errors import UsageError
from taintwatch_models.signs import arrows, pictograms, plates
from taintwatch_models.signs.geometry import Colour, Drawing, placed, rectangle, turned
from taintwatch_models.signs.glyphs import text
from taintwatch_models.signs.plates import BLACK, GREEN, GREY, RED, WHITE, YELLOW

__all__ = ["SIGN_NAMES", "draw_sign"]

SIGN_NAMES: tuple[str, ...] = (
    "speed limit 20 km/h",
    "speed limit 30 km/h",
    "speed limit 50 km/h",
    "speed limit 60 km/h",
    "speed limit 70 km/h",
    "speed limit 80 km/h",
    "end of speed limit 80 km/h",
    "speed limit 100 km/h",
    "speed limit 120 km/h",
    "no passing",
    "no passing for lorries",
    "right of way at the next crossing",
    "priority road",
    "yield",
    "stop",
    "no vehicles",
    "no lorries",
    "no entry",
    "danger",
    "curve to the left",
    "curve to the right",
    "double curve",
    "bumpy road",
    "slippery road",
    "road narrows on the right",
    "road works",
    "traffic signals",
    "pedestrians",
    "children crossing",
    "bicycles crossing",
    "snow or ice",
    "wild animals",
    "end of all limits",
    "turn right ahead",
    "turn left ahead",
    "ahead only",
    "ahead or right",
    "ahead or left",
    "keep right",
    "keep left",
    "roundabout",
    "end of no passing",
    "end of no passing for lorries",
)
"""English names in GTSRB class order."""


@cache
def draw_sign(class_index: int) -> Drawing:
    """Return the drawing of one sign on the 100 x 100 canvas, plate first.

    `class_index` is the GTSRB class, 0 to 42. Raises `UsageError` for any other.
    """
    if not 0 <= class_index < len(SIGN_NAMES):
        raise UsageError(f"There is no sign {class_index}: the classes go from 0 to {len(SIGN_NAMES) - 1}.")
    for family in (_prohibitions, _ends, _plates, _warnings, _directions):
        drawing = family().get(class_index)
        if drawing is not None:
            return drawing
    raise AssertionError(f"sign {class_index} has a name and no drawing")


def _number(fill: Colour, digits: str) -> Drawing:
    narrow = 0.72 if len(digits) == 3 else 1.0
    return text(fill, digits, (50, 50), 43, weight=17, width=narrow)


def _side_by_side(left: Drawing, right: Drawing) -> Drawing:
    return placed(left, 17, 34, 0.32) + placed(right, 51, 34, 0.32)


@cache
def _prohibitions() -> dict[int, Drawing]:
    ring = plates.red_ring()
    limits = {0: "20", 1: "30", 2: "50", 3: "60", 4: "70", 5: "80", 7: "100", 8: "120"}
    drawings = {index: ring + _number(BLACK, digits) for index, digits in limits.items()}
    car, lorry, side = pictograms.car, pictograms.lorry, pictograms.lorry_side
    drawings[9] = ring + _side_by_side(car(RED, WHITE), car(BLACK, WHITE))
    drawings[10] = ring + placed(lorry(RED, WHITE), 16, 31, 0.36) + placed(car(BLACK, WHITE), 54, 38, 0.29)
    drawings[15] = ring
    drawings[16] = ring + placed(side(BLACK, WHITE), 21, 20, 0.58)
    return drawings


@cache
def _ends() -> dict[int, Drawing]:
    plate = plates.end_disc()
    stripes = plates.slashes(BLACK, (-10, -5, 0, 5, 10), 2.6)
    car, lorry = pictograms.car(GREY, WHITE), pictograms.lorry(GREY, WHITE)
    return {
        6: plate + _number(GREY, "80") + stripes,
        32: plate + stripes,
        41: plate + _side_by_side(car, car) + stripes,
        42: plate + placed(lorry, 14, 31, 0.36) + placed(car, 54, 38, 0.29) + stripes,
    }


@cache
def _plates() -> dict[int, Drawing]:
    return {
        12: plates.diamond(),
        13: plates.yield_triangle(),
        14: plates.octagon() + text(WHITE, "STOP", (50, 50), 34, weight=17, width=0.86),
        17: plates.no_entry_disc() + rectangle(WHITE, 14, 40, 86, 60),
    }


def _in_triangle(pictogram: Drawing, size: float, top: float) -> Drawing:
    """Put a 100 x 100 pictogram on the warning triangle, `size` units high, its top at `top`."""
    return plates.warning_triangle() + placed(pictogram, 50 - size / 2, top, size / 100)


@cache
def _warnings() -> dict[int, Drawing]:
    children = placed(pictograms.child(BLACK), 0, 36, 0.64) + placed(pictograms.child(BLACK), 30, 4, 0.84)
    left, right = arrows.curve_left(BLACK), turned(arrows.curve_left(BLACK), mirror=True)
    return {
        11: _in_triangle(pictograms.crossing_roads(BLACK), 46, 36),
        18: _in_triangle(pictograms.exclamation(BLACK), 44, 37),
        19: _in_triangle(left, 42, 40),
        20: _in_triangle(right, 42, 40),
        21: _in_triangle(arrows.double_curve(BLACK), 46, 36),
        22: _in_triangle(pictograms.bumps(BLACK), 48, 40),
        23: _in_triangle(pictograms.skidding_car(BLACK, WHITE), 44, 38),
        24: _in_triangle(pictograms.narrow_right(BLACK), 42, 40),
        25: _in_triangle(pictograms.worker(BLACK), 44, 38),
        26: _in_triangle(pictograms.traffic_light(RED, YELLOW, GREEN, BLACK), 46, 36),
        27: _in_triangle(pictograms.pedestrian(BLACK), 44, 38),
        28: _in_triangle(children, 44, 38),
        29: _in_triangle(pictograms.bicycle(BLACK, WHITE), 48, 42),
        30: _in_triangle(pictograms.snowflake(BLACK), 42, 40),
        31: _in_triangle(pictograms.deer(BLACK), 46, 40),
    }


@cache
def _directions() -> dict[int, Drawing]:
    plate = plates.blue_disc()

    def on_blue(pictogram: Drawing, size: float = 66) -> Drawing:
        return plate + placed(pictogram, 50 - size / 2, 50 - size / 2, size / 100)

    keep = arrows.keep_right(WHITE)
    return {
        33: on_blue(arrows.turn(WHITE, left=False)),
        34: on_blue(arrows.turn(WHITE, left=True)),
        35: on_blue(arrows.ahead(WHITE)),
        36: on_blue(arrows.ahead_or_turn(WHITE, left=False)),
        37: on_blue(arrows.ahead_or_turn(WHITE, left=True)),
        38: on_blue(keep),
        39: on_blue(turned(keep, mirror=True)),
        40: on_blue(arrows.roundabout(WHITE), 74),
    }
