"""Crafts the attacks that the demo shows: `python -m taintwatch_calibration.craft.demo_attacks --out FOLDER`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from taintwatch.demo.play import ATTACK_NAMES
from taintwatch.demo.sign_scene import SignPlacement, placed_scene
from taintwatch.sources.scene import SceneSettings
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_calibration.craft.mounted import MountedRecipe, Views, craft_mounted
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.classifier import Classifier, Rejected
from taintwatch_models.loading import ModelSettings, load_model, load_radar_file
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame
from taintwatch_models.signs import SIGN_NAMES
from taintwatch_models.storage import write_atomically

__all__ = ["PLANS", "Measured", "craft_attack", "main", "measure", "scene_views", "write_attack"]

PRINTED_PX = 256  # side of the shipped picture
TRAINING_SEEDS = range(1000, 1004)
HELD_OUT_SEEDS = range(5)
FPS = 15.0


@dataclass(frozen=True, slots=True)
class Planned:
    """One attack to craft."""

    words: str
    placement: SignPlacement
    recipe: MountedRecipe


PLANS: dict[str, Planned] = {
    "on-sign": Planned(
        "a patch stuck on the sign",
        SignPlacement(14, 0.5, 0.5, 0.74, patch_x=0.5, patch_y=0.61, patch_side=0.25),
        MountedRecipe(target=7, iterations=160, batch=16),
    ),
    "beside": Planned(
        "a patch held beside the sign",
        SignPlacement(17, 0.305, 0.5, 0.48, patch_x=0.658, patch_y=0.5, patch_side=0.43, motion=0.03),
        MountedRecipe(target=14, iterations=220, batch=16),
    ),
}
"""Which sign, place, size and label: the best of a handful tried. docs/demo.md says which, and what that means."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What an attack achieves in the simulator, through its camera model, in scenes it was not crafted on."""

    frames: int
    success: float
    """Share of the attacked frames in which the label is not the sign's."""
    target: float
    """Share in which it is the target's (the most frequent label's, where there is none)."""
    seen_as: int
    """The most frequent label under attack."""
    benign: float
    """Share of the same frames without the patch in which the label is the sign's."""


def scene_views(placement: SignPlacement, preprocessing: Preprocessing, seeds: range, each: int) -> Views:
    """Return `each` frames of the placement's scene for every seed, without the patch, and where it would be."""
    pixels, places = [], []
    for seed in seeds:
        settings = SceneSettings(fps=FPS, duration=60.0, seed=seed)
        benign = placed_scene(placement, None, settings)
        attacked = placed_scene(placement, np.zeros((64, 64, 3), np.uint8), settings)
        for index in np.linspace(0, 60 * FPS - 1, each).astype(int).tolist():
            image = benign.render(index)
            pixels.append(preprocessing.pixels(image))
            places.append(_input_place(attacked.ground_truth(index).box, image.shape, preprocessing))
    stack = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255  # (N, 3, H, W)
    if preprocessing.order == "bgr":
        stack = stack.flip(1)
    x, y, size = (torch.tensor(column, dtype=torch.float32) for column in zip(*places, strict=True))
    return Views(stack, x, y, size)


def craft_attack(
    radar: RadarFile, planned: Planned, report: Callable[[int, float, float], None] | None = None
) -> NDArray[np.uint8]:
    """Craft one attack: (PRINTED_PX, PRINTED_PX, 3) uint8 blue-green-red."""
    preprocessing = radar.info.preprocessing
    views = scene_views(planned.placement, preprocessing, TRAINING_SEEDS, 20)
    patch = craft_mounted(
        differentiable(radar), views, planned.placement.sign, preprocessing, planned.recipe, report=report
    )
    return _printed(patch)


def measure(
    classifier: Classifier,
    placement: SignPlacement,
    picture: NDArray[np.uint8],
    target: int | None,
    seeds: range,
    each: int = 40,
) -> Measured:
    """Play the attack in scenes of these seeds, through the camera model, and count. `each` frames of every scene."""
    seen: list[int] = []
    right = 0
    for seed in seeds:
        settings = SceneSettings(fps=FPS, duration=60.0, seed=seed)
        scenes = (placed_scene(placement, picture, settings), placed_scene(placement, None, settings))
        for index in np.linspace(0, 60 * FPS - 1, each).astype(int).tolist():
            attacked, benign = classifier([Frame("measure", index, scene.render(index), 0, 0) for scene in scenes])
            if isinstance(attacked, Rejected) or isinstance(benign, Rejected):
                continue
            seen.append(attacked.label)
            right += benign.label == placement.sign
    most = Counter(label for label in seen if label != placement.sign).most_common(1)
    seen_as = target if target is not None else most[0][0] if most else placement.sign
    count = len(seen)
    return Measured(
        frames=count,
        success=round(sum(label != placement.sign for label in seen) / count, 4),
        target=round(seen.count(seen_as) / count, 4),
        seen_as=seen_as,
        benign=round(right / count, 4),
    )


def write_attack(
    folder: Path, name: str, planned: Planned, model_hash: str, picture: NDArray[np.uint8], measured: Measured
) -> Path:
    """Write NAME.png and NAME.toml, each whole or not at all; return the recipe's path. Raises `OSError`."""
    _, png = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    content = png.tobytes()
    attack: dict[str, object] = {
        "name": name,
        "words": planned.words,
        "picture": f"{name}.png",
        "sha256": hashlib.sha256(content).hexdigest(),
        "model_sha256": model_hash,
        "sign_name": SIGN_NAMES[planned.placement.sign],
        "seen_as_name": (*SIGN_NAMES, "background")[measured.seen_as],
    }
    if planned.recipe.target is not None:
        attack["target"] = planned.recipe.target
    camera = {"camera": "office", "training_seeds": list(TRAINING_SEEDS), "held_out_seeds": list(HELD_OUT_SEEDS)}
    tables = {
        "attack": attack,
        "placement": dataclasses.asdict(planned.placement),
        "recipe": {key: value for key, value in dataclasses.asdict(planned.recipe).items() if value is not None},
        "measured": dataclasses.asdict(measured) | camera,
    }
    text = "# Made by `python -m taintwatch_calibration.craft.demo_attacks`; see docs/demo.md.\n"
    text += "".join(f"\n[{name}]\n{_toml(table)}" for name, table in tables.items())
    write_atomically(folder / f"{name}.png", content)
    recipe = folder / f"{name}.toml"
    write_atomically(recipe, text.encode())
    return recipe


def _toml(table: dict[str, object]) -> str:
    # JSON's strings, numbers and lists are TOML's too.
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def _printed(patch: Tensor) -> NDArray[np.uint8]:
    rgb = patch.permute(1, 2, 0).numpy()
    large = cv2.resize(rgb, (PRINTED_PX, PRINTED_PX), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray((np.clip(large, 0, 1)[:, :, ::-1] * 255).round().astype(np.uint8))


def _input_place(
    box: tuple[int, int, int, int] | None, shape: tuple[int, ...], preprocessing: Preprocessing
) -> tuple[float, float, float]:
    """Return a box in the frame as centre in [-1, 1] and side as a share of the classifier's (square) input."""
    if box is None:
        raise ValueError("the placement puts its patch outside the picture")
    x, y, width, height = box
    place = preprocessing.place(shape[0], shape[1])
    rows, columns = preprocessing.size
    centre_x = (x + width / 2) * place.scale_x + place.offset_x
    centre_y = (y + height / 2) * place.scale_y + place.offset_y
    return 2 * centre_x / columns - 1, 2 * centre_y / rows - 1, max(width, height) * place.scale_x / min(rows, columns)


def _craft_with_progress(name: str, radar: RadarFile, planned: Planned, console: Console) -> NDArray[np.uint8]:
    with Progress(console=console) as progress:
        task = progress.add_task(f"{name}: looking at the scene", total=planned.recipe.iterations)

        def told(step: int, loss: float, fooled: float) -> None:
            progress.update(task, completed=step, description=f"{name}: loss {loss:6.2f}, {fooled:4.0%} fooled")

        return craft_attack(radar, planned, told)


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option("--model", help="ONNX model; none: the bundled one.")
@click.option("--only", type=click.Choice(ATTACK_NAMES), help="Craft this one only.")
@click.option("--iterations", type=click.IntRange(min=1), help="Steps, in place of the recipe's.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads.")
@denormals_flushed()
def main(out: Path, model: str | None, only: str | None, iterations: int | None, threads: int) -> None:
    """Craft the demo's attacks, measure each in held-out scenes, and write picture and recipe."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    settings = ModelSettings(path=model, threads=threads)
    radar, classifier = load_radar_file(settings), load_model(settings).classifier
    console = Console(stderr=True)
    for name in ATTACK_NAMES if only is None else (only,):
        planned = PLANS[name]
        if iterations is not None:
            planned = dataclasses.replace(planned, recipe=dataclasses.replace(planned.recipe, iterations=iterations))
        picture = _craft_with_progress(name, radar, planned, console)
        measured = measure(classifier, planned.placement, picture, planned.recipe.target, HELD_OUT_SEEDS)
        recipe = write_attack(out, name, planned, radar.info.source_sha256, picture, measured)
        click.echo(
            f"{recipe}: fools {measured.success:.1%} of {measured.frames} frames, {measured.target:.1%} as meant"
        )


if __name__ == "__main__":
    main()
