"""Drawn material that the papers take from elsewhere: scrawls as of QuickDraw, weathered paint, a smiling face."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

__all__ = ["scrawls", "smile", "weathered"]


def scrawls(count: int, side: int, seed: int = 0) -> Tensor:
    """Return hand-drawn lines and figures in flat colours, (count, 3, side, side) in [0, 1].

    Stands in for the pictures of QuickDraw that PS-GAN begins with: they are not here.
    """
    rng = np.random.default_rng(seed)
    made = np.stack([_scrawl(side, rng) for _ in range(count)])
    return torch.from_numpy(made).permute(0, 3, 1, 2).float() / 255


def _scrawl(side: int, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    paper = np.full((4 * side, 4 * side, 3), rng.integers(150, 256, 3), np.uint8)
    for _ in range(rng.integers(2, 6)):
        walk = rng.normal(0, 0.12, (rng.integers(6, 14), 2)).cumsum(axis=0) + rng.uniform(0.2, 0.8, 2)
        points = np.round(np.clip(walk, 0.03, 0.97) * 4 * side).astype(np.int32)
        colour = tuple(int(value) for value in rng.integers(0, 140, 3))
        cv2.polylines(
            paper, [points], bool(rng.integers(2)), colour, int(rng.integers(side // 8, side // 3)), cv2.LINE_AA
        )
    return np.asarray(cv2.resize(paper, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def weathered(side: int, seed: int = 0) -> Tensor:
    """Return rust and stains, (1, 3, side, side) in [0, 1]: the style of AdvCam's worn signs."""
    rng = np.random.default_rng(seed)
    cloud = np.zeros((side, side), np.float32)
    for cells, strength in ((3, 0.5), (6, 0.3), (12, 0.2), (24, 0.12)):
        coarse = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        cloud += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    share = np.clip(0.5 + cloud, 0, 1)[..., None]
    colours = share * np.array([0.62, 0.58, 0.5], np.float32) + (1 - share) * np.array([0.32, 0.17, 0.08], np.float32)
    return torch.from_numpy(colours.astype(np.float32)).permute(2, 0, 1)[None].clamp(0, 1)


def smile(side: int) -> tuple[Tensor, Tensor]:
    """Return DAS's seed content, a smiling face (3, side, side) in [0, 1], and its edges (1, side, side) in {0, 1}."""
    big = np.full((4 * side, 4 * side, 3), (250, 210, 60), np.uint8)
    ink, width, centre = (25, 20, 20), max(2, side // 6), (2 * side, 2 * side)
    cv2.circle(big, centre, int(1.8 * side), ink, width, cv2.LINE_AA)
    for x in (1.4, 2.6):
        cv2.circle(big, (int(x * side), int(1.5 * side)), max(2, side // 4), ink, -1, cv2.LINE_AA)
    cv2.ellipse(big, (2 * side, int(2.2 * side)), (side, int(0.8 * side)), 0, 15, 165, ink, width, cv2.LINE_AA)
    small = cv2.resize(big, (side, side), interpolation=cv2.INTER_AREA)
    edges = cv2.Canny(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), 60, 160) > 0
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255, torch.from_numpy(edges[None].astype(np.float32))
