"""Craft attacks on object detectors, guard these, and count: `python -m benchmarks.objects --help`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import cv2
import torch

from benchmarks.objects.attackers import adaptive_part
from benchmarks.objects.finder_site import finder_part
from benchmarks.objects.jedi import jedi_part
from benchmarks.objects.patches import crafted_patches, crafted_steps
from benchmarks.objects.sites import SITES, Measuring, attacks_of, site_part, speed_part
from benchmarks.objects.summary import MODELS, summary_of
from benchmarks.objects.trials import Attack
from benchmarks.scripts import run_script
from benchmarks.street.patches import street_patches
from benchmarks.street.tracks import measure_tracks
from taintwatch_calibration.machine import machine
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.objects.finder import FinderSettings
from taintwatch_models.storage import write_atomically

__all__ = ["objects"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_PARTS = ("tracks", *SITES, "street", "speed", "jedi", "adaptive")


@click.command("objects")
@click.option("--data", default=Path("../shared/data"), show_default=True, type=_FOLDER, help="Folder of the data.")
@click.option("--work", default=Path("build/bench/objects"), show_default=True, type=_FOLDER, help="Crafted patches "
              "and finished parts: a later run takes them from there.")  # fmt: skip
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there.")
@click.option(
    "--iterations", default=90, show_default=True, help="Steps of each patch not in --work; DPatch takes half."
)
@click.option("--frames", default=200, show_default=True, help="Benign frames of each site that are counted.")
@click.option("--attacked", default=60, show_default=True, help="Attacked frames of each attack at most.")
@click.option("--streets", default=104, show_default=True, help="Streets of rendered signs, 0.6 s of patch in each.")
@click.option("--seed", default=1, show_default=True, help="Of the patches: 0 is what the guard was developed on.")
@click.option("--scenes", default=12, show_default=True, help="Frames that attackers who know the guard are tried on.")
@click.option("--adaptive-steps", default=80, show_default=True, help="Steps of each of their patches.")
@click.option("--peer-frames", default=40, show_default=True, help="Benign frames of each site that the peer judges.")
@click.option("--peer-attacked", default=10, show_default=True, help="Attacked frames of each attack, of the peer.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--part", "chosen", multiple=True, type=click.Choice(_PARTS), help="Measure this part, and of the others "
              "take those that are in --work; repeat for several.")  # fmt: skip
@click.option("--again", multiple=True, type=click.Choice(_PARTS), help="Measure this part anew; repeat for several.")
def objects(
    data: Path, work: Path, out: Path | None, iterations: int, frames: int, attacked: int, streets: int, seed: int,
    scenes: int, adaptive_steps: int, peer_frames: int, peer_attacked: int, threads: int,
    chosen: tuple[str, ...], again: tuple[str, ...],
) -> None:  # fmt: skip
    """Measure guarded detectors: hiding, class-changing and corner patches, camouflage; digital and recorded.

    Two detectors, attackers who know the guard, and a classifier behind a detector: signs followed through rendered
    streets, a patch on one of three. An interrupted run goes on with the next part.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.set_flush_denormal(True)
    models = data / "models"
    settings = FinderSettings(
        str(models / "yolox_nano.onnx"), labels=str(models / "coco_labels.json"), device="cpu", threads=threads
    )
    with_ = Measuring(settings, data, frames, attacked)

    @cache
    def attacks() -> dict[str, list[Attack]]:
        return attacks_of(crafted_patches(with_.plain, data, work, iterations, _say, seed))

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "tracks": lambda: measure_tracks(
            street_patches(load_radar_file(ModelSettings()), work, iterations, _say, seed), streets, work / "streets"
        ),
        **{name: partial(site_part, with_, name, attacks, _say) for name in SITES},
        "street": lambda: finder_part(data, work, frames, attacked, iterations, seed, threads, _say),
        "speed": partial(speed_part, with_),
        "jedi": partial(jedi_part, with_, attacks, peer_frames, peer_attacked, _say),
        "adaptive": lambda: adaptive_part(with_, scenes, adaptive_steps, seed, _say),
    }
    found = {
        name: _measured(work, name, part, name in again) for name, part in parts.items()
        if not chosen or name in chosen or _path(work, name).is_file()
    }  # fmt: skip
    told = {
        "summary": summary_of(found), "models": MODELS, "seed": seed, **found,
        "steps": crafted_steps(work / f"patches-{seed}"), "machine": machine(),
    }  # fmt: skip
    text = json.dumps(told, indent=1)
    click.echo(text)
    if out is not None:
        write_atomically(out, (text + "\n").encode())


def _measured(work: Path, name: str, part: Callable[[], dict[str, Any]], again: bool) -> dict[str, Any]:
    """Return what a part found: as an earlier run left it in `work`, or measured now."""
    path = _path(work, name)
    if path.is_file() and not again:
        _say(f"{name}: measured before ({path})")
        earlier: dict[str, Any] = json.loads(path.read_text())
        return earlier
    _say(f"{name}: measure")
    found = part()
    write_atomically(path, json.dumps(found).encode())
    return found


def _path(work: Path, name: str) -> Path:
    return work / f"part-{name.replace(' ', '-')}.json"


def _say(words: str) -> None:
    click.echo(words, err=True)


if __name__ == "__main__":
    sys.exit(run_script(objects, "objects"))
