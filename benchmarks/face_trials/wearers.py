"""Glasses at the papers' scale: wearers by photographs, each pair crafted on several, as the printer would have it.

    python -m benchmarks.face_trials.wearers --data ../shared/data --work DIR --json docs/results/faces_wearers.json

The people, the model and the detectors are those of `benchmarks.faces`. A pair is crafted on some of a wearer's
calibration photographs at once (impersonation of one fixed person, total variation and NPS on, small movements, stop at
0.95, at most 300 steps: Sharif et al., 2016), and counts on each of these (`own`), on all of the wearer's test
photographs (`others`), and on these with another pose and light for each (`posed`: yaw up to 15 degrees, pitch 10, roll
5, light 20%). Thresholds for 5% come from bare faces. What was made is kept in --work, so that a run goes on, and more
--wearers add to it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.face_trials.attacks import TARGET, Attacks, template_eyes
from benchmarks.face_trials.glasses_craft import GlassesRecipe, Photos, craft_glasses
from benchmarks.face_trials.model import FaceModel, pictures, pixels
from benchmarks.face_trials.people import CALIBRATION, TEST, People
from benchmarks.face_trials.report import attacking, detecting
from benchmarks.face_trials.worn import PoseLimits, draw_poses, still, wear
from benchmarks.faces import prepared
from benchmarks.scripts import run_script
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.faces.glasses_shape import GlassesShape
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import denormals_flushed

__all__ = ["POSED", "SHOWN", "main", "wearer_attacks"]

POSED = PoseLimits(yaw_degrees=15.0, pitch_degrees=10.0, roll_degrees=5.0, shift=0.03, scale=0.03, light=0.2)
SHOWN = ("own", "others", "posed")
_PUBLISHED = {
    "TaintRadar": "978 of 1,000 (20 people, 50 photographs each); 73.42% of these seen at 5.50%, by SentiNet 0.72%",
    "Sharif et al.": "impersonation 91.67% (DNN_A), 100, 100%",
}

Craft = dict[str, NDArray[Any]]


def wearer_attacks(
    people: People, model: FaceModel, work: Path, wearers: int, photographs: int, seed: int
) -> dict[str, Attacks]:
    """Craft a pair for each of the first `wearers` people of a random order; return them as they are shown."""
    order = np.random.default_rng(5).permutation(len(people.names))
    chosen = [int(label) for label in order if label != TARGET][:wearers]
    made: dict[str, list[Craft]] = {name: [] for name in SHOWN}
    cache = Cache(work / f"wearers-{photographs}-{seed}")
    for wearer in chosen:
        rows = {part: np.flatnonzero((people.labels == wearer) & (people.part == part)) for part in (CALIBRATION, TEST)}
        own = rows[CALIBRATION][:photographs]
        if not len(own):
            continue

        def craft(wearer: int = wearer, own: NDArray[np.intp] = own) -> Craft:
            faces = pixels(people.faces[own])
            photos = Photos(faces, template_eyes(len(own), faces.shape[-1]), wearer)
            crafted = craft_glasses(model.torch_model, photos, GlassesShape(), GlassesRecipe(TARGET, seed=seed))
            click.echo(f"{wearer}: {crafted.probability:.3f} on {len(own)} after {crafted.iterations}")
            return {"pattern": crafted.pattern.numpy(), "iterations": np.array(crafted.iterations),
                    "reached": np.array(crafted.reached)}  # fmt: skip

        pair = cache.arrays(f"{wearer:03d}", (photographs, seed), craft)
        for name, shown in (("own", own), ("others", rows[TEST]), ("posed", rows[TEST])):
            if len(shown):
                made[name].append(_worn(people, pair, wearer, shown, name == "posed", seed))
    return {name: _joined(parts) for name, parts in made.items()}


def _worn(
    people: People, pair: Craft, wearer: int, rows: NDArray[np.intp], posed: bool, seed: int
) -> Craft:  # fmt: skip
    faces, count = pixels(people.faces[rows]), len(rows)
    generator = torch.Generator().manual_seed(seed + wearer)
    poses = draw_poses(count, POSED, generator) if posed else still(count)
    worn, _ = wear(
        faces, template_eyes(count, faces.shape[-1]), torch.from_numpy(pair["pattern"]), GlassesShape(), poses
    )
    return {
        "wearers": np.full(count, wearer), "faces": pictures(worn.clamp(0, 1)), "rows": rows,
        "patterns": np.repeat(pair["pattern"][None], count, 0),
        "iterations": np.full(count, pair["iterations"]), "reached": np.full(count, pair["reached"]),
    }  # fmt: skip


def _joined(parts: Sequence[Craft]) -> Attacks:
    return Attacks(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _row(
    name: str, attack: Attacks, benign: dict[str, Craft], attacked: Craft, known: float
) -> dict[str, Any]:  # fmt: skip
    found = attacking({"impersonation": attack}, {"impersonation": attacked}, known)
    detectors = detecting(benign, {"impersonation": attack}, {"impersonation": attacked}, known)
    kept = ("name", "tpr", "tpr_interval", "fpr", "benign", "attacks")
    interval = wilson_interval(found["successes"], found["attempts"])
    click.echo(f"{name}: {found['successes']} of {found['attempts']} accepted as the target; seen: "
               + ", ".join(f"{row['name']} {row['tpr']:.1%}" for row in detectors))  # fmt: skip
    return {"shown": name, "wearers": len(set(attack.wearers.tolist())), **found, "interval": interval,
            "detectors": [{key: row[key] for key in kept} for row in detectors]}  # fmt: skip


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="The measuring data.")
@click.option("--work", required=True, type=click.Path(path_type=Path, file_okay=False), help="Keeps what is made.")
@click.option("--wearers", default=20, show_default=True, type=click.IntRange(1), help="People who wear a pair.")
@click.option("--photographs", default=3, show_default=True, type=click.IntRange(1), help="To craft each pair on.")
@click.option("--seed", default=0, show_default=True, help="Seed of the pairs and the poses.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows here.")
@denormals_flushed()
def main(data: Path, work: Path, wearers: int, photographs: int, seed: int, document: Path | None) -> None:
    """Craft a pair of glasses for each wearer, and count on whose photographs it works and is seen."""
    torch.set_num_threads(1)
    people, recognised, model = prepared(data, work, 1)
    known = recognised["stranger_below"]
    attacks = wearer_attacks(people, model, work, wearers, photographs, seed)
    benign = {name: model.statistics(people.faces[people.rows(part)], work / f"benign-{name}")
              for name, part in (("calibration", CALIBRATION), ("test", TEST))}  # fmt: skip
    key = f"{wearers}-{photographs}-{seed}"
    rows = [_row(name, attack, benign, model.statistics(attack.faces, work / f"shown-{name}-{key}"), known)
            for name, attack in attacks.items()]  # fmt: skip
    if document is not None:
        write_json(document, {**machine(), **recognised, "photographs_a_pair": photographs, "seed": seed,
                              "published": _PUBLISHED, "rows": rows})  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_script(main, "face_trials.wearers"))
