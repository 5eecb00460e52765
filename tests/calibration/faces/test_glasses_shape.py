"""Eyeglasses: their outline and their mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from taintwatch_calibration.faces.glasses_shape import GlassesShape
from taintwatch_models.errors import UsageError


def test_the_outline_is_symmetric_and_its_openings_lie_before_the_eyes() -> None:
    outline = GlassesShape().outline()
    mirrored = outline.outer * (-1, 1)
    assert {tuple(p) for p in outline.outer.round(9)} == {tuple(p) for p in mirrored.round(9)}
    for hole, eye in zip(outline.holes, (-0.5, 0.5), strict=True):
        assert hole[:, 0].min() < eye < hole[:, 0].max()
        assert hole[:, 1].min() < 0 < hole[:, 1].max()


@pytest.mark.parametrize(
    "shape", [GlassesShape(), GlassesShape(squareness=2, lens_width=0.6, lens_height=0.55, rim=0.1)]
)
def test_the_mask_covers_the_outline_without_its_openings(shape: GlassesShape) -> None:
    mask = shape.mask(60)
    area = mask.sum() / 60**2
    outline = shape.outline()
    polygons = [outline.outer, *outline.holes]
    shoelace = [abs(np.sum(p[:, 0] * np.roll(p[:, 1], 1) - p[:, 1] * np.roll(p[:, 0], 1))) / 2 for p in polygons]
    assert area == pytest.approx(shoelace[0] - shoelace[1] - shoelace[2], rel=0.02)
    rows, columns = mask.shape
    assert mask[rows // 2, columns // 2] > 0.9  # the bridge
    assert mask[rows // 2, columns // 2 + 30] == 0  # a lens


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lens_width": 1.0}, "overlap"),
        ({"rim": 0.0}, "larger than 0"),
        ({"bridge_height": 2.0}, "lower than the rims"),
        ({"squareness": 0.5}, "squareness at least 1"),
    ],
)
def test_a_shape_that_is_no_pair_of_glasses_is_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(GlassesShape(), **change)
