"""`taintwatch craft object`: patches and camouflage against an object detector, to print."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from taintwatch_models.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from taintwatch_calibration.craft.object_attacks import ObjectAttack, ObjectScenes
    from taintwatch_models.objects.finder import ObjectFinder

__all__ = ["object_patch"]

_WORDS = {
    "hide": "a patch on an object that hides it (Thys et al., 2019)",
    "change": "a patch on an object that makes it another one (after Thys et al., 2019)",
    "camouflage": "a texture over a whole object that hides it (after Huang et al., 2020)",
    "dpatch": "a patch in a corner that is seen as an object (Liu et al., 2018)",
}
_LEAST_APART = 10
_SIZES = {"dpatch": 0.2}


@click.command("object")
@click.option("--model", required=True, help="The object detector, an ONNX file: YOLO or DETR.")
@click.option("--class-names", help="Its class names: a JSON list or a text file; default: those in its TOML.")
@click.option("--preprocessing", help="The model's TOML; default: the one beside it.")
@click.option("--decoder", help="Layout of its outputs; default: what they look like.")
@click.option("--images", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of pictures.")
@click.option("--kind", default="hide", show_default=True, type=click.Choice([*_WORDS]), help="What it does.")
@click.option("--class", "label", help="Class that is attacked; of dpatch: that is to be seen.  [default: any, for "
              "dpatch]")  # fmt: skip
@click.option("--target", help="Of change: the class that it becomes.")
@click.option("--size", type=click.FloatRange(0, 2, min_open=True), help="Side: share of the root of the object's "
              "area, of dpatch of the picture's shorter side.  [default: 0.5, dpatch 0.2]")  # fmt: skip
@click.option("--side", default=48, show_default=True, type=click.IntRange(8, 512), help="Pixels of the pattern.")
@click.option("--smallest", default=48, show_default=True, type=click.IntRange(8), help="Least side of an object, in "
              "pixels of the detector's input.")  # fmt: skip
@click.option("--smoothness", default=0.1, show_default=True, type=click.FloatRange(min=0), help="Weight of the total "
              "variation.")  # fmt: skip
@click.option("--printability", default=0.03, show_default=True, type=click.FloatRange(min=0), help="Weight of the "
              "non-printability score.")  # fmt: skip
@click.option("--iterations", default=250, show_default=True, type=click.IntRange(1), help="Steps.")
@click.option("--step", default=0.03, show_default=True, type=click.FloatRange(0, 1, min_open=True), help="Adam's.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1), help="Objects in each step.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the result.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn at random.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="CPU threads.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON.")
def object_patch(model: str, class_names: str | None, preprocessing: str | None, decoder: str | None, images: Path,
                 kind: Literal["hide", "change", "camouflage", "dpatch"], label: str | None, target: str | None,
                 threads: int, out: Path, as_json: bool, **given: Any) -> None:  # fmt: skip
    """Craft a patch or a texture that deceives an object detector, on the objects it finds in IMAGES."""
    import torch

    from taintwatch_calibration.craft.materials import find_label
    from taintwatch_calibration.craft.object_attacks import ObjectAttack
    from taintwatch_models.objects.finder import FinderSettings, ObjectFinder

    torch.set_num_threads(threads)
    finder = ObjectFinder(FinderSettings(model, class_names, preprocessing, decoder, device="cpu", threads=threads))
    own, wanted = (None if name is None else find_label(name, finder.labels) for name in (label, target))
    attack = ObjectAttack(
        kind, own, wanted,
        given["size"] or _SIZES.get(kind, 0.5), given["side"], given["smoothness"], given["printability"],
        given["batch"],
    )  # fmt: skip
    scenes, apart, held_out = _split(_scenes(finder, images, attack, given["smallest"]), given["seed"])
    result = _crafted(finder, attack, scenes, apart, out, given, model=Path(model), images=images)
    result |= {"held_out": held_out}
    click.echo(json.dumps(result) if as_json else _sentence(result, _name(finder, attack)))


def _scenes(finder: ObjectFinder, images: Path, attack: ObjectAttack, smallest: int) -> ObjectScenes:
    from taintwatch.sources.images import IMAGE_SUFFIXES
    from taintwatch_calibration.craft.object_scenes import object_scenes, whole_scenes
    from taintwatch_models.image_file import read_image

    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UsageError(f"{images}: holds no pictures")
    pictures = [read_image(path) for path in files]
    if attack.kind == "dpatch":
        return whole_scenes(finder, pictures)
    name = _name(finder, attack)
    found = object_scenes(finder, pictures, name, smallest)
    if not len(found.boxes):
        raise UsageError(f"{images}: the detector finds no {name} of {smallest} to 230 pixels; give other pictures")
    return found


def _name(finder: ObjectFinder, attack: ObjectAttack) -> str:
    return "any object" if attack.label is None else finder.labels[attack.label]


def _split(scenes: ObjectScenes, seed: int) -> tuple[ObjectScenes, ObjectScenes, bool]:
    """Return the scenes to craft on, and three in ten to measure on; all for both where there are fewer than ten."""
    import torch

    from taintwatch_calibration.craft.object_attacks import ObjectScenes

    count = len(scenes.pictures)
    if count < _LEAST_APART:
        return scenes, scenes, False
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    apart, rest = order[: round(0.3 * count)], order[round(0.3 * count) :]
    parts = [ObjectScenes(scenes.pictures[rows], scenes.boxes[rows]) for rows in (rest, apart)]
    return parts[0], parts[1], True


def _crafted(finder: ObjectFinder, attack: ObjectAttack, scenes: ObjectScenes, apart: ObjectScenes, out: Path,
             given: dict[str, Any], *, model: Path, images: Path) -> dict[str, Any]:  # fmt: skip
    from rich.console import Console

    from taintwatch_calibration.craft.attack_folder import Folder, as_picture, whole
    from taintwatch_calibration.craft.engine import Checkpoint, Schedule
    from taintwatch_calibration.craft.object_attacks import craft_object_patch
    from taintwatch_calibration.craft.session import watched
    from taintwatch_calibration.torch_tuning import denormals_flushed
    from taintwatch_models.model_source import file_hash
    from taintwatch_models.objects.torch_detector import TorchDetector

    folder, detector = Folder.at(out), TorchDetector(finder.proto)
    schedule = Schedule(iterations=given["iterations"], step=given["step"], rule="adam", seed=given["seed"])
    checkpoint = Checkpoint(folder.checkpoint, _identity(model, attack, scenes))
    with denormals_flushed(), watched(attack.kind, schedule.iterations, folder, Console(stderr=True)) as on_step:
        patch = whole(craft_object_patch(
            detector, finder.decoder, finder.preprocessing, scenes, attack, schedule, report=on_step,
            checkpoint=checkpoint,
        ))  # fmt: skip
    measured = _measured(detector, finder, apart, attack, patch)
    files = [folder.picture("pattern.png", as_picture(patch))]
    names = finder.labels
    tables: dict[str, dict[str, Any]] = {
        "attack": {"kind": attack.kind, "words": _WORDS[attack.kind], "class": _name(finder, attack)},
        "model": {"name": model.stem, "sha256": file_hash(model)},
        "pictures": {"folder": str(images), "objects": len(scenes.pictures), "held_apart": len(apart.pictures)},
        "target": {"index": attack.wanted, "name": None if attack.wanted is None else names[attack.wanted]},
        "pattern": {"placement": {"overlay": False, "sizes": [attack.size]}, "side": attack.side,
                    "smoothness": attack.smooth, "printability": attack.printable},
        "schedule": asdict(schedule), "files": {"pictures": files}, "measured": measured,
    }  # fmt: skip
    folder.recipe(tables)
    folder.finish()
    return {"folder": str(folder.path), **{name: tables[name] for name in ("attack", "pictures", "target")}, **measured}


def _identity(model: Path, attack: ObjectAttack, scenes: ObjectScenes) -> str:
    """Tell this run from any other."""
    from taintwatch_models.model_source import file_hash

    text = json.dumps([file_hash(model), asdict(attack)], sort_keys=True).encode()
    return hashlib.sha256(text + scenes.pictures.numpy().tobytes() + scenes.boxes.numpy().tobytes()).hexdigest()


def _measured(
    detector: nn.Module, finder: ObjectFinder, apart: ObjectScenes, attack: ObjectAttack, patch: Any
) -> dict[str, Any]:
    from taintwatch.alarm_rates import wilson_interval
    from taintwatch_calibration.craft.object_attacks import object_success

    wins, count = object_success(detector, finder.decoder, finder.preprocessing, apart, attack, patch)
    return {
        "attempts": count, "successes": wins, "success_rate": round(wins / count, 4),
        "interval": [round(value, 4) for value in wilson_interval(wins, count)],
    }  # fmt: skip


def _sentence(result: dict[str, Any], name: str) -> str:
    target = result["target"]["name"]
    what = {
        "hide": f"hides the {name}", "camouflage": f"hides the {name}", "change": f"shows the {name} as {target}",
        "dpatch": f"is seen as {name}",
    }[result["attack"]["kind"]]  # fmt: skip
    where = "pictures that it was not crafted on" if result["held_out"] else "the pictures that it was crafted on"
    return f"{result['folder']}: {what} in {result['success_rate']:.1%} of {result['attempts']} attempts, on {where}"
