"""Craft attacks on YOLOX-nano, guard it at three sites, and count: `python -m benchmarks.objects --help`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch

from benchmarks.objects.jedi import JediPeer, peer_row
from benchmarks.objects.scenes import crops, frames_of, general_pictures, photographs
from benchmarks.objects.trials import Attack, benign_row, ratio_gated, trial_row
from benchmarks.scripts import run_script
from benchmarks.street.patches import street_patches
from benchmarks.street.tracks import measure_tracks
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.object_attacks import ObjectAttack, ObjectScenes, craft_object_patch
from taintwatch_calibration.machine import machine
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.guard import ObjectGuard, learn_guard
from taintwatch_models.objects.torch_detector import TorchDetector
from taintwatch_models.storage import write_atomically

__all__ = ["objects"]

_LEARNT = 0.6  # of each video; what comes later is attacked and counted
_PEOPLE = "videos/one-by-one-person-detection.mp4"
_SITES = {"motorway": "footage/highway.avi", "car park": "footage/parking.mp4", "hallway": _PEOPLE}
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("objects")
@click.option("--data", default=Path("../shared/data"), show_default=True, type=_FOLDER, help="Folder of the data.")
@click.option("--work", default=Path("build/bench/objects"), show_default=True, type=_FOLDER, help="Crafted patches: "
              "a later run takes them from there.")  # fmt: skip
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there.")
@click.option("--iterations", default=90, show_default=True, help="Of each patch; DPatch takes half of them.")
@click.option("--frames", default=200, show_default=True, help="Benign frames of each site that are counted.")
@click.option("--attacked", default=60, show_default=True, help="Attacked frames of each attack at most.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--only", type=click.Choice(["speed", "tracks", "peers"]), help="Measure this alone, and put it into "
              "the results of --json.")  # fmt: skip
@click.option(
    "--streets", default=24, show_default=True, help="Streets of rendered signs, 1.4 seconds of patch in each."
)
def objects(
    data: Path, work: Path, out: Path | None, iterations: int, frames: int, attacked: int, threads: int,
    only: str | None, streets: int,
) -> None:  # fmt: skip
    """Measure the guarded detector: hiding, class-changing and corner patches, digital and as printed and recorded.

    And a classifier behind a detector: signs followed through rendered streets, a patch on one of three.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.set_flush_denormal(True)
    models = data / "models"
    settings = FinderSettings(
        str(models / "yolox_nano.onnx"), labels=str(models / "coco_labels.json"), device="cpu", threads=threads
    )
    if only == "tracks":
        _tracks_alone(work, iterations, streets, out)
        return
    plain = ObjectFinder(settings)
    if only == "speed":
        _speed_alone(settings, plain, data, out)
        return
    if only == "peers":
        _peers_alone(plain, data, work, iterations, frames, attacked, out)
        return
    patches = _patches(plain, data, work, iterations)
    general = general_pictures(data / "general", 120)
    control = torch.from_numpy(
        np.moveaxis(cv2.resize(photographs(data / "coco")[3], (48, 48)), -1, 0)[::-1].astype(np.float32) / 255
    ).contiguous()
    attacks = _attacks(patches)
    sites, rows, ratio = {}, [], {}
    for name, video in _SITES.items():
        _say(f"{name}: learn")
        guard = ObjectGuard(settings, learn_guard(settings, frames_of(data / video, 140, 0.0, _LEARNT), general))
        later = frames_of(data / video, frames, _LEARNT, 1.0)
        sites[name] = benign_row(guard, later) | {"threshold": round(guard.threshold, 3)}
        _say(f"{name}: {sites[name]}")
        for attack in attacks.get(name, ()):
            for recorded in (False, True):
                row = {"site": name} | trial_row(guard, plain, later, attack, recorded, control, attacked)
                rows.append(row)
                _say(str(row))
        if name == "motorway":
            ratio = ratio_gated(guard, plain, later[:40])
            _say(f"speed: {ratio}")
    followed = _tracks(work, iterations, streets)
    found = {"summary": _summary(sites, rows, ratio, followed), "sites": sites, "attacks": rows, "speed": ratio,
             "tracks": followed, "iterations": iterations, "machine": machine()}  # fmt: skip
    _finish(found, out)


def _attacks(patches: dict[str, torch.Tensor]) -> dict[str, list[Attack]]:
    """Return what is attacked at each site."""
    return {
        "motorway": [
            Attack("hide car", patches["hide_car"], "car", 0.45),
            Attack("dpatch", patches["dpatch"], None, 0.2),
        ],
        "hallway": [
            Attack("hide person", patches["hide_person"], "person", 0.5),
            Attack("person becomes teddy bear", patches["change_person"], "person", 0.5),
        ],
    }


def _peers_alone(
    plain: ObjectFinder, data: Path, work: Path, iterations: int, frames: int, attacked: int, out: Path | None
) -> None:
    """Measure Jedi on the sites' frames and the same patches, and put it into the results that are there."""
    found = _earlier(out)
    attacks = _attacks(_patches(plain, data, work, iterations))
    jedi: dict[str, Any] = {}
    for name, planned in attacks.items():
        peer = JediPeer(plain, frames_of(data / _SITES[name], 140, 0.0, _LEARNT))
        later = frames_of(data / _SITES[name], frames, _LEARNT, 1.0)
        alarms = sum(float(peer.entropies(frame).max()) > peer.threshold for frame in later)
        rows = [peer_row(peer, plain, later, attack, how, attacked) for attack in planned for how in (False, True)]
        jedi[name] = {"benign_frames": len(later), "benign_suspicious": alarms, "attacks": rows}
        _say(f"jedi, {name}: {jedi[name]}")
    found["peers"] = {"jedi": jedi}
    _finish(found, out)


def _finish(found: dict[str, Any], out: Path | None) -> None:
    text = json.dumps(found, indent=1)
    click.echo(text)
    if out is not None:
        write_atomically(out, (text + "\n").encode())


def _speed_alone(settings: FinderSettings, plain: ObjectFinder, data: Path, out: Path | None) -> None:
    """Measure the speed and put it into the results that are there."""
    found = _earlier(out)
    video = data / _SITES["motorway"]
    reference = learn_guard(settings, frames_of(video, 140, 0.0, _LEARNT), general_pictures(data / "general", 120))
    found["speed"] = ratio_gated(ObjectGuard(settings, reference), plain, frames_of(video, 40, _LEARNT, 1.0))
    found["summary"] = _summary(found["sites"], found["attacks"], found["speed"], found.get("tracks"))
    _finish(found, out)


def _tracks(work: Path, iterations: int, streets: int) -> dict[str, Any]:
    """Count alerts by track in streets of signs, behind the bundled finder."""
    patches = street_patches(load_radar_file(ModelSettings()), work, iterations, _say)
    return measure_tracks(patches, streets)


def _tracks_alone(work: Path, iterations: int, streets: int, out: Path | None) -> None:
    found = _earlier(out)
    found["tracks"] = _tracks(work, iterations, streets)
    found["summary"] = _summary(found["sites"], found["attacks"], found["speed"], found["tracks"])
    _finish(found, out)


def _earlier(out: Path | None) -> dict[str, Any]:
    """Return the results that a part is put into. Raises `UsageError` where there are none."""
    if out is None or not out.is_file():
        raise UsageError("a part alone is put into earlier results; name their file with --json")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def _summary(
    sites: dict[str, Any], rows: list[dict[str, Any]], ratio: dict[str, Any], tracks: dict[str, Any] | None
) -> dict[str, Any]:
    def tpr(corner: bool, *recorded: bool) -> float | None:
        chosen = [row for row in rows if (row["attack"] == "dpatch") == corner and row["recorded"] in recorded]
        effective = sum(row["effective"] for row in chosen)
        return round(sum(row["suspicious_of_effective"] for row in chosen) / effective, 4) if effective else None

    benign = sum(site["frames"] for site in sites.values())
    return {
        "hiding_tpr": tpr(False, False, True),
        "hiding_tpr_digital": tpr(False, False),
        "hiding_tpr_recorded": tpr(False, True),
        "dpatch_tpr": tpr(True, False, True),
        "dpatch_tpr_digital": tpr(True, False),
        "dpatch_tpr_recorded": tpr(True, True),
        "benign_frame_fpr": round(sum(site["suspicious"] for site in sites.values()) / benign, 4),
        "track_tpr": None if tracks is None else tracks["all_attacked"]["tpr"],
        "untouched_tracks_alerted": None if tracks is None else tracks["untouched"]["alerted"],
        "ratio_gated": ratio["ratio"],
    }


def _patches(plain: ObjectFinder, data: Path, work: Path, iterations: int) -> dict[str, torch.Tensor]:
    """Craft the patches on the first parts of the footage and 60 photographs, or take them from `work`."""
    work.mkdir(parents=True, exist_ok=True)
    names = ("hide_car", "hide_person", "dpatch", "change_person")
    if not all((work / f"{name}.npy").is_file() for name in names):
        _craft(plain, data, work, iterations)
    return {name: torch.from_numpy(np.load(work / f"{name}.npy")) for name in names}


def _craft(plain: ObjectFinder, data: Path, work: Path, iterations: int) -> None:
    detector = TorchDetector(plain.proto)
    label = plain.labels.index
    road = frames_of(data / _SITES["motorway"], 24, 0.0, 0.5)
    pictures = photographs(data / "coco")[:60]
    videos = [frame for name in ("walk", "help", "no") for frame in frames_of(data / f"videos/{name}.mkv", 8)]
    people = crops(plain, [*pictures, *videos, *frames_of(data / _PEOPLE, 20, 0.0, 0.5)], "person")
    cars = crops(plain, [*road, *pictures], "car")
    size = plain.preprocessing.size[0]
    middle = slice((size - 320) // 2, (size + 320) // 2)
    whole = [plain.preprocessing.pixels(picture)[middle, middle, ::-1] for picture in [*pictures[:30], *road[:10]]]
    stacked = np.moveaxis(np.stack(whole), -1, 1).astype(np.float32) / 255
    anywhere = ObjectScenes(torch.from_numpy(np.ascontiguousarray(stacked)), torch.zeros(len(whole), 4))
    plans = {
        "hide_car": (cars, ObjectAttack("hide", label("car"), smooth=0.1, printable=0.03), iterations),
        "hide_person": (people, ObjectAttack("hide", label("person"), smooth=0.1, printable=0.03), iterations),
        "dpatch": (anywhere, ObjectAttack("dpatch", label("person"), size=0.2, batch=4), iterations // 2),
        "change_person": (people, ObjectAttack("change", label("person"), wanted=label("teddy bear")), iterations),
    }
    for name, (scenes, attack, steps) in plans.items():
        schedule = Schedule(iterations=steps, step=0.05, rule="adam")
        patch = craft_object_patch(
            detector, plain.decoder, plain.preprocessing, scenes, attack, schedule, report=_reporter(name)
        )
        np.save(work / f"{name}.npy", patch.numpy())


def _reporter(name: str) -> Any:
    def report(step: Step) -> None:
        if step.iteration % 10 == 0:
            _say(f"{name}: step {step.iteration}, loss {step.loss:.3f}, success {step.success:.2f}")

    return report


def _say(words: str) -> None:
    click.echo(words, err=True)


if __name__ == "__main__":
    sys.exit(run_script(objects, "objects"))
