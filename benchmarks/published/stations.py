"""RP2's fifteen stations (Eykholt et al., 2018): a stickered stop sign, recorded by the simulator from 5 to 40 feet.

    python -m benchmarks.published.stations --model signs_vgg.onnx --json docs/results/published_stations.json

A drawn stop sign of 30 inches stands before a street; two bars are crafted for it with RP2's loss (norm, NPS, total
variation, the camera's variation) on frames of the clean sign, printed with the generic colour profile, and stuck on.
As in the paper the classifier sees the sign cut out of each frame, and the target is `speed limit 80 km/h`. Bars of the
same place that are black, as vandals' tape is, are the control. Everything is a tenth of its size and distance: the
pictures are the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.scripts import run_script
from benchmarks.survey.attacks.universal import STICKERS
from taintwatch.alarm_rates import wilson_interval
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.colour_profile import GENERIC_PROFILE, printed_picture
from taintwatch_calibration.camera_model.pinhole_camera import PinholeCamera, homography, pose_at
from taintwatch_calibration.camera_model.raster import PIXELS_PER_MM, Raster
from taintwatch_calibration.camera_model.sheet_scene import SheetScene, Shot
from taintwatch_calibration.craft.kinds import KINDS, masks_of
from taintwatch_calibration.craft.materials import classify, differentiable, load_classifier
from taintwatch_calibration.craft.physical import Pictures, craft_patterns
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.signs import render_sign

__all__ = ["STATIONS", "Sign", "main", "station_crops"]

STATIONS: tuple[tuple[int, int], ...] = (
    *((5, angle) for angle in (0, 15, 30, 45, 60)), *((10, angle) for angle in (0, 15, 30)),
    *((feet, angle) for feet in (15, 20) for angle in (0, 15)), *((feet, 0) for feet in (25, 30, 40)),
)  # fmt: skip
"""Feet and degrees, of the paper's table."""
_STOP, _TARGET = 14, 5
_SIGN_MM, _FOOT_M, _MARGIN = 76.2, 0.03048, 1.15  # a tenth of 30 inches and of a foot; the cut round the sign
_CAMERA = PinholeCamera(640, 480, 55.0)


@dataclass(frozen=True, slots=True, eq=False)
class Sign:
    """A sign as printed: (side, side, 4) RGBA, the sign in the middle, `_MARGIN` times its size in all."""

    image: NDArray[np.uint8]

    def stuck(self, colours: Tensor, mask: Tensor) -> Sign:
        """Return the sign with a pattern (3, h, w) in [0, 1] where the mask (1, h, w) is 1, laid over all of it."""
        side = len(self.image)
        large = cv2.resize(colours.permute(1, 2, 0).numpy(), (side, side), interpolation=cv2.INTER_LINEAR)
        where = cv2.resize(mask[0].numpy(), (side, side), interpolation=cv2.INTER_NEAREST) > 0
        image = self.image.copy()
        on = where & (image[..., 3] > 0)
        image[on, :3] = np.rint(255 * large.clip(0, 1))[on].astype(np.uint8)
        return Sign(image)

    def raster(self) -> Raster:
        """Return it as what the simulator records, printed with the generic profile."""
        bgra = np.ascontiguousarray(self.image[..., [2, 1, 0, 3]])
        bgra[..., :3] = printed_picture(np.ascontiguousarray(bgra[..., :3]), GENERIC_PROFILE)
        half = len(bgra) / PIXELS_PER_MM / 2
        return Raster(bgra, -half, -half)


def drawn_sign(index: int = _STOP) -> Sign:
    """Return a drawn sign."""
    side, whole = round(_SIGN_MM * PIXELS_PER_MM), round(_MARGIN * _SIGN_MM * PIXELS_PER_MM)
    image = np.zeros((whole, whole, 4), np.uint8)
    start = (whole - side) // 2
    image[start : start + side, start : start + side] = render_sign(index, side)
    return Sign(image)


def station_crops(
    sign: Sign, station: tuple[int, int], preprocessing: Preprocessing, *, frames: int, light: str, seed: int
) -> NDArray[np.uint8]:
    """Record a sign from one station; return what the classifier sees, (frames, H, W, 3), in the model's order."""
    feet, angle = station
    shot = Shot(feet * _FOOT_M, float(angle), duration_s=frames / 15.0, seed=seed)
    background = np.random.default_rng([seed, feet, angle]).integers(60, 190, (6, 8, 3), np.uint8)
    scene = SheetScene(sign.raster(), None, background, _CAMERA, shot, CAMERA_MODELS[light](seed))
    return np.stack([_cut(scene, index, station, preprocessing) for index in range(frames)])


def _cut(scene: SheetScene, index: int, station: tuple[int, int], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The box round the sign where the station puts it: the hand's shake stays in the picture."""
    half = _MARGIN * _SIGN_MM / 2
    to_pixels = homography(_CAMERA, *pose_at(1000 * station[0] * _FOOT_M, float(station[1])))
    corners = to_pixels @ np.array([[-half, half, half, -half], [-half, -half, half, half], [1, 1, 1, 1.0]])
    x, y = corners[:2] / corners[2]
    left, top = (max(0, int(np.floor(values.min()))) for values in (x, y))
    right, bottom = int(np.ceil(x.max())) + 1, int(np.ceil(y.max())) + 1
    height, width = preprocessing.size
    seen = cv2.resize(scene.render(index)[top:bottom, left:right], (width, height), interpolation=cv2.INTER_AREA)
    return preprocessing.pixels(np.asarray(seen, np.uint8))


@click.command()
@click.option("--model", required=True, help="ONNX file of a network of the 43 signs.")
@click.option("--frames", default=20, show_default=True, type=click.IntRange(1), help="Frames at each station.")
@click.option("--iterations", default=300, show_default=True, type=click.IntRange(1), help="Steps of the crafting.")
@click.option("--light", default="street", show_default=True, type=click.Choice(sorted(CAMERA_MODELS)), help="Camera.")
@click.option("--seed", default=0, show_default=True, help="Seed of the shake, the noise and the crafting.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here.")
def main(model: str, frames: int, iterations: int, light: str, seed: int, document: Path | None) -> None:
    """Craft bars for a stop sign, record it from every station, and count what the classifier sees."""
    torch.set_num_threads(1)
    radar = load_classifier(model)
    preprocessing, clean = radar.info.preprocessing, drawn_sign()
    plain = OnnxRadar(radar, (), session=SessionSettings(threads=1))
    given = np.concatenate([station_crops(clean, each, preprocessing, frames=4, light=light, seed=seed + 1)
                            for each in STATIONS])  # fmt: skip
    kind = KINDS["sticker"]
    pattern = replace(kind.pattern, target=_TARGET, norm=0.1)
    masks = masks_of(kind, pattern, preprocessing.size, boxes=STICKERS)
    rgb = torch.from_numpy(given[..., ::-1].copy() if preprocessing.order == "bgr" else given)
    pictures = Pictures(rgb.permute(0, 3, 1, 2).float() / 255, torch.full((len(given),), _STOP))
    schedule = replace(kind.schedule, iterations=iterations, seed=seed)
    made = craft_patterns(differentiable(radar), pictures, preprocessing, masks, pattern, schedule)
    signs = {"clean": clean, "attack": clean.stuck(made[0], masks[0]),
             "black bars": clean.stuck(torch.zeros_like(made[0]), masks[0])}  # fmt: skip
    rows = []
    for station in STATIONS:
        crops = {name: station_crops(sign, station, preprocessing, frames=frames, light=light, seed=seed)
                 for name, sign in signs.items()}  # fmt: skip
        rows.append(_row(station, {name: classify(plain, pixels) for name, pixels in crops.items()}))
        click.echo(f"{station[0]:3d} ft {station[1]:3d} deg: {rows[-1]['target']} of {frames} the target, clean "
                   f"{rows[-1]['clean_right']}, black bars {rows[-1]['bars_right']} right")  # fmt: skip
    total = _total(rows)
    click.echo(f"all: {total}")
    if document is not None:
        settings = {"light": light, "iterations": iterations, "seed": seed}
        about = {"model": radar.info.name, "model_sha256": radar.info.source_sha256}
        write_json(document, {**machine(), **about, **settings, "total": total, "rows": rows})


def _row(station: tuple[int, int], seen: dict[str, NDArray[np.int64]]) -> dict[str, Any]:
    return {
        "feet": station[0], "degrees": station[1], "frames": len(seen["attack"]),
        "clean_right": int((seen["clean"] == _STOP).sum()), "bars_right": int((seen["black bars"] == _STOP).sum()),
        "target": int((seen["attack"] == _TARGET).sum()), "wrong": int((seen["attack"] != _STOP).sum()),
    }  # fmt: skip


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {name: sum(row[name] for row in rows) for name in rows[0] if name not in ("feet", "degrees")}
    return sums | {"interval": wilson_interval(sums["target"], sums["frames"]), "published": "GTSRB-CNN 80 to 95.7%"}


if __name__ == "__main__":
    sys.exit(run_script(main, "published.stations"))
