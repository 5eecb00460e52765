"""`taintwatch craft patch|lavan|sticker|hat|glasses`: attacks to print."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from taintwatch_calibration.craft.options import numbers, physical_options, tell
from taintwatch_models.errors import UsageError

__all__ = ["glasses", "hat", "lavan", "patch", "sticker"]

_SESSION = ("model", "images", "labels", "class_names", "preprocessing", "calibration", "target", "most", "out", "seed",
            "device", "threads")  # fmt: skip
_PATTERN = ("batch", "loss", "smoothness", "printability", "nps_rule", "norm")
_SCHEDULE = ("iterations", "step", "rule", "stop_at")

_mask = click.option("--mask", type=click.Path(path_type=Path, dir_okay=False), help="Picture, white where it shows.")
_position = click.option("--position", "positions", multiple=True, help="Centre X,Y as shares; repeat for several.")


@click.command()
@physical_options("patch")
@click.option(
    "--size", "sizes", multiple=True, type=float, help="Share of the side; repeat to craft for several.  [default: 0.3]"
)
@click.option(
    "--shape", type=click.Choice(["square", "circle", "star", "lightning"]), help="Outline.  [default: square]"
)
@_mask
@_position
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 8), help="Patches at once.")
def patch(count: int, **given: Any) -> None:
    """Craft a universal patch: anywhere on any picture."""
    _run("patch", given, count=count)


@click.command()
@physical_options("lavan")
@click.option("--size", "sizes", multiple=True, type=float, help="Share of the side.  [default: 0.2]")
@_mask
@_position
def lavan(**given: Any) -> None:
    """Craft a small patch for one place off the object."""
    _run("lavan", given)


@click.command()
@physical_options("sticker")
@_mask
@click.option("--box", "boxes", multiple=True, help="Sticker X,Y,WIDTH,HEIGHT as shares of the picture; repeat.")
def sticker(**given: Any) -> None:
    """Craft stickers for an object that fills the pictures in the same way."""
    _run("sticker", given)


@click.command()
@physical_options("hat")
@click.option("--size", "sizes", multiple=True, type=float, help="Width as a share of the side.  [default: 0.55]")
@_position
@_mask
@click.option("--bend", type=click.FloatRange(0, 1), help="Largest bend around the head.  [default: 0.7]")
def hat(bend: float | None, **given: Any) -> None:
    """Craft a sticker for a hat: bent around the head, seen from below or above."""
    _run("hat", given, bend=bend)


@click.command()
@physical_options("glasses")
@_mask
@click.option("--eyes", help="Pupils in the aligned pictures: LEFT,RIGHT,ROW as shares.  [default: 0.31,0.69,0.41]")
def glasses(**given: Any) -> None:
    """Craft eyeglasses for aligned pictures of one face: --target impersonates, without it dodges."""
    _run("glasses", given)


def _run(kind: str, given: dict[str, Any], *, count: int = 1, bend: float | None = None) -> None:
    from taintwatch_calibration.craft.kinds import KINDS, masks_of
    from taintwatch_calibration.craft.session import Session, SessionOptions, Uneven, craft_physical

    chosen = KINDS[kind]
    schedule = replace(chosen.schedule, seed=given["seed"], **_given(given, _SCHEDULE))
    placement = _placement(chosen.pattern.placement, given, count, bend)
    pattern = replace(chosen.pattern, placement=placement, **_given(given, _PATTERN))
    if given["weight"] < 0:
        raise UsageError(f"--lambda must not be below 0, not {given['weight']:g}")
    boxes = tuple(numbers(box, 4, "--box") for box in given.get("boxes", ()))
    eyes = {"eyes": numbers(given["eyes"], 3, "--eyes")} if given.get("eyes") else {}
    session = Session(SessionOptions(**{name: given[name] for name in _SESSION}))
    size = session.preprocessing.size
    masks = masks_of(
        chosen,
        pattern,
        size,
        shape=given.get("shape"),
        mask=given.get("mask"),
        boxes=boxes,
        **eyes,
    )
    pattern = _seen_by_camera(pattern, given, min(size))
    adaptive = Uneven(given["adaptive"], given["weight"]) if given["adaptive"] else None
    result = craft_physical(session, kind, pattern, schedule, masks, adaptive=adaptive, console=Console(stderr=True))
    tell(result, as_json=given["as_json"])


def _given(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None}


def _placement(placement: Any, given: dict[str, Any], count: int, bend: float | None) -> Any:
    changes: dict[str, Any] = {}
    if given.get("sizes"):
        changes["sizes"] = tuple(given["sizes"])
    positions = tuple(numbers(text, 2, "--position") for text in given.get("positions", ()))
    if positions and count not in (1, len(positions)):
        raise UsageError(f"--count {count} does not fit {len(positions)} positions")
    if positions or count > 1:
        changes["positions"] = positions or (None,) * count
    if given["rotation"] is not None:
        changes["rotation_degrees"] = given["rotation"]
    if bend is not None:
        changes["bend"] = bend
    return replace(placement, **changes)


def _seen_by_camera(pattern: Any, given: dict[str, Any], side: int) -> Any:
    from taintwatch.sources.colour_profile import profile_named
    from taintwatch_calibration.camera_model.variation import CameraVariation

    if given["camera"] is not None:
        camera = None if given["camera"] == "none" else CameraVariation.of(given["camera"], side)
        pattern = replace(pattern, camera=camera)
    profile = profile_named(given["profile"])
    return pattern if profile is None else replace(pattern, profile=profile, palette=profile.palette)
