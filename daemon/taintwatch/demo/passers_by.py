"""Cars and people as plain drawings, so that a street has more in it than signs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Car", "Person", "draw_passers_by"]

Colour = tuple[int, int, int]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Car:
    """A car that drives along; all lengths in shares of the picture's height, except `x` (of its width)."""

    x: float
    """Of its middle at the first frame."""
    ground: float
    """Where its wheels stand, from the top."""
    length: float
    speed: float
    """Shares of the width in a second; negative: to the left."""
    colour: Colour
    """Blue-green-red."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person who walks; lengths as of a car."""

    x: float
    ground: float
    height: float
    speed: float
    coat: Colour
    trousers: Colour


def draw_passers_by(picture: Picture, passers_by: tuple[Car | Person, ...], seconds: float) -> None:
    """Draw them where they are by then, in place; whoever leaves on one side comes back on the other."""
    height, width = picture.shape[:2]
    for each in passers_by:
        share = (each.x + each.speed * seconds + 0.3) % 1.6 - 0.3
        x, ground = share * width, each.ground * height
        if isinstance(each, Car):
            _draw_car(picture, each, x, ground, each.length * height)
        else:
            _draw_person(picture, each, x, ground, each.height * height, math.sin(7.0 * seconds + 9.0 * each.x))


def _draw_car(picture: Picture, car: Car, x: float, ground: float, length: float) -> None:
    ahead = 1.0 if car.speed >= 0 else -1.0

    def corners(*points: tuple[float, float]) -> NDArray[np.int32]:
        return np.array([[round(x + ahead * length * px), round(ground - length * py)] for px, py in points], np.int32)

    dark: Colour = (int(car.colour[0] * 0.7), int(car.colour[1] * 0.7), int(car.colour[2] * 0.7))
    cabin = corners((-0.32, 0.22), (-0.22, 0.36), (0.1, 0.36), (0.24, 0.22))
    body = corners((-0.5, 0.08), (-0.49, 0.2), (-0.34, 0.235), (0.26, 0.23), (0.47, 0.18), (0.5, 0.08))
    cv2.fillPoly(picture, [cabin], dark, cv2.LINE_AA)
    cv2.fillPoly(picture, [body], car.colour, cv2.LINE_AA)
    for glass in (((-0.27, 0.23), (-0.2, 0.34), (-0.07, 0.34), (-0.07, 0.23)),
                  ((-0.04, 0.23), (-0.04, 0.34), (0.08, 0.34), (0.19, 0.23))):  # fmt: skip
        cv2.fillPoly(picture, [corners(*glass)], (150, 140, 120), cv2.LINE_AA)
    cv2.fillPoly(picture, [corners((-0.5, 0.15), (-0.5, 0.19), (-0.46, 0.19), (-0.46, 0.15))], (40, 40, 200))
    cv2.fillPoly(picture, [corners((0.44, 0.14), (0.44, 0.18), (0.49, 0.17), (0.49, 0.14))], (190, 235, 245))
    for wheel in (-0.3, 0.3):
        centre = (round(x + length * wheel), round(ground - length * 0.075))
        cv2.circle(picture, centre, max(1, round(length * 0.08)), (35, 35, 35), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, centre, max(1, round(length * 0.04)), (160, 160, 160), cv2.FILLED, cv2.LINE_AA)


def _draw_person(picture: Picture, person: Person, x: float, ground: float, height: float, stride: float) -> None:
    def at(px: float, py: float) -> tuple[int, int]:
        return round(x + height * px), round(ground - height * py)

    thick = max(1, round(height * 0.09))
    for side in (-1.0, 1.0):
        cv2.line(picture, at(0, 0.46), at(0.1 * side * stride, 0.02), person.trousers, thick, cv2.LINE_AA)
    cv2.ellipse(picture, at(0, 0.64), (max(1, round(height * 0.12)), max(1, round(height * 0.21))), 0, 0, 360,
                person.coat, cv2.FILLED, cv2.LINE_AA)  # fmt: skip
    for side in (-1.0, 1.0):
        cv2.line(picture, at(0.09 * side, 0.78), at(0.13 * side - 0.08 * side * stride, 0.48), person.coat,
                 max(1, thick * 2 // 3), cv2.LINE_AA)  # fmt: skip
    cv2.circle(picture, at(0, 0.915), max(1, round(height * 0.075)), (150, 175, 215), cv2.FILLED, cv2.LINE_AA)
