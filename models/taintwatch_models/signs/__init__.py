"""Drawn traffic signs: the project's own vector drawings of the 43 GTSRB classes."""

from __future__ import annotations

from taintwatch_models.signs.catalogue import SIGN_NAMES, draw_sign
from taintwatch_models.signs.raster import render_sign

__all__ = ["SIGN_NAMES", "draw_sign", "render_sign"]
