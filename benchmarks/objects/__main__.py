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

from benchmarks.objects.scenes import crops, frames_of, general_pictures, photographs
from benchmarks.objects.trials import Attack, benign_row, ratio_gated, trial_row
from benchmarks.scripts import run_script
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.object_attacks import ObjectAttack, ObjectScenes, craft_object_patch
from taintwatch_calibration.machine import machine
from taintwatch_models.errors import UsageError
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
@click.option("--speed", is_flag=True, help="Measure the speed alone, and put it into the results of --json.")
def objects(
    data: Path, work: Path, out: Path | None, iterations: int, frames: int, attacked: int, threads: int, speed: bool
) -> None:
    """Measure the guarded detector: hiding, class-changing and corner patches, digital and as printed and recorded."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.set_flush_denormal(True)
    models = data / "models"
    settings = FinderSettings(
        str(models / "yolox_nano.onnx"), labels=str(models / "coco_labels.json"), device="cpu", threads=threads
    )
    plain = ObjectFinder(settings)
    if speed:
        _speed_alone(settings, plain, data, out)
        return
    patches = _patches(plain, data, work, iterations)
    general = general_pictures(data / "general", 120)
    control = torch.from_numpy(
        np.moveaxis(cv2.resize(photographs(data / "coco")[3], (48, 48)), -1, 0)[::-1].astype(np.float32) / 255
    ).contiguous()
    attacks = {
        "motorway": [
            Attack("hide car", patches["hide_car"], "car", 0.45),
            Attack("dpatch", patches["dpatch"], None, 0.2),
        ],
        "hallway": [
            Attack("hide person", patches["hide_person"], "person", 0.5),
            Attack("person becomes teddy bear", patches["change_person"], "person", 0.5),
        ],
    }
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
    found = {"summary": _summary(sites, rows, ratio), "sites": sites, "attacks": rows, "speed": ratio,
             "iterations": iterations, "machine": machine()}  # fmt: skip
    _finish(found, out)


def _finish(found: dict[str, Any], out: Path | None) -> None:
    text = json.dumps(found, indent=1)
    click.echo(text)
    if out is not None:
        write_atomically(out, (text + "\n").encode())


def _speed_alone(settings: FinderSettings, plain: ObjectFinder, data: Path, out: Path | None) -> None:
    """Measure the speed and put it into the results that are there."""
    if out is None or not out.is_file():
        raise UsageError("--speed puts the ratio into earlier results; name their file with --json")
    found = json.loads(out.read_text())
    video = data / _SITES["motorway"]
    reference = learn_guard(settings, frames_of(video, 140, 0.0, _LEARNT), general_pictures(data / "general", 120))
    found["speed"] = ratio_gated(ObjectGuard(settings, reference), plain, frames_of(video, 40, _LEARNT, 1.0))
    found["summary"] = _summary(found["sites"], found["attacks"], found["speed"])
    _finish(found, out)


def _summary(sites: dict[str, Any], rows: list[dict[str, Any]], ratio: dict[str, Any]) -> dict[str, Any]:
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
        "track_tpr": None,  # not measured: there is no street of rendered signs yet
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
