"""Crafts the attacks that the demo shows: `python -m taintwatch_calibration.craft.demo_attacks --out FOLDER`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from taintwatch.demo.play import ATTACK_NAMES
from taintwatch.demo.sign_scene import SignPlacement, placed_scene
from taintwatch.sources.scene import SceneSettings
from taintwatch_calibration.camera_model.variation import CameraVariation
from taintwatch_calibration.craft.attack_folder import toml_of
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_calibration.craft.physical import Pattern, Pictures, craft_patterns, plain_pattern
from taintwatch_calibration.craft.placement import Placement, PlacementBatch
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_calibration.progress import bars
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.classifier import Classifier, Rejected
from taintwatch_models.loading import load_radar_file, open_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.records import Frame
from taintwatch_models.signs import SIGN_NAMES
from taintwatch_models.storage import write_atomically

__all__ = ["PLANS", "Measured", "craft_attack", "main", "measure", "scene_pictures", "write_attack"]

PRINTED_PX = 256  # side of the shipped picture
TRAINING_SEEDS = range(1000, 1004)
HELD_OUT_SEEDS = range(5)
FPS = 15.0


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """One attack to craft."""

    words: str
    placement: SignPlacement
    pattern: Pattern
    schedule: Schedule
    resolution: int = 32
    """Side of the crafted pattern, pixels; about what the classifier's input can resolve of it."""


def in_scene(target: int | None) -> Pattern:
    """Return a pattern for one place in a known scene; what varies is what the print and the camera will change.

    The wanted label should lead by 14 logits: cross-entropy stops pulling long before print and camera are survived.
    """
    errors = Placement(rotation_degrees=5.0, shift=0.02, scale=0.06, light=0.1)
    return Pattern(
        target,
        errors,
        loss="lead",
        lead=14.0,
        smoothness=0.02,
        camera=CameraVariation(0.2, 0.8, 0.02),
        ink=(0.06, 0.94),
    )


_ADAM = Schedule(step=0.06, rule="adam", box="sigmoid")

PLANS: dict[str, AttackPlan] = {
    "on-sign": AttackPlan(
        "a patch stuck on the sign",
        SignPlacement(14, 0.5, 0.5, 0.74, patch_x=0.5, patch_y=0.61, patch_side=0.25),
        in_scene(7),
        dataclasses.replace(_ADAM, iterations=160),
    ),
    "beside": AttackPlan(
        "a patch held beside the sign",
        SignPlacement(17, 0.305, 0.5, 0.48, patch_x=0.658, patch_y=0.5, patch_side=0.43, motion=0.03),
        in_scene(14),
        dataclasses.replace(_ADAM, iterations=220),
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


def scene_pictures(placement: SignPlacement, preprocessing: Preprocessing, seeds: range, each: int) -> Pictures:
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
    own = torch.full((len(stack),), placement.sign)
    return Pictures(stack, own, PlacementBatch(x, y, size, torch.zeros_like(x)))


def craft_attack(radar: RadarFile, plan: AttackPlan, report: Callable[[Step], None] | None = None) -> NDArray[np.uint8]:
    """Craft one attack: (PRINTED_PX, PRINTED_PX, 3) uint8 blue-green-red."""
    preprocessing = radar.info.preprocessing
    pictures = scene_pictures(plan.placement, preprocessing, TRAINING_SEEDS, 20)
    mask = shape_mask("square", plan.resolution)[None]
    model = differentiable(radar)
    return _printed(craft_patterns(model, pictures, preprocessing, mask, plan.pattern, plan.schedule, report=report)[0])


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
    folder: Path, name: str, plan: AttackPlan, model_hash: str, picture: NDArray[np.uint8], measured: Measured
) -> Path:
    """Write NAME.png and NAME.toml, each whole or not at all; return the recipe's path. Raises `OSError`."""
    _, png = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    content = png.tobytes()
    attack: dict[str, object] = {
        "name": name,
        "words": plan.words,
        "picture": f"{name}.png",
        "sha256": hashlib.sha256(content).hexdigest(),
        "model_sha256": model_hash,
        "sign_name": SIGN_NAMES[plan.placement.sign],
        "seen_as_name": (*SIGN_NAMES, "background")[measured.seen_as],
    }
    if plan.pattern.target is not None:
        attack["target"] = plan.pattern.target
    made_with = {"camera": "office", "training_seeds": list(TRAINING_SEEDS), "held_out_seeds": list(HELD_OUT_SEEDS)}
    tables: dict[str, dict[str, Any]] = {
        "attack": attack,
        "placement": dataclasses.asdict(plan.placement),
        "pattern": plain_pattern(plan.pattern),
        "schedule": dataclasses.asdict(plan.schedule),
        "measured": dataclasses.asdict(measured) | made_with,
    }
    text = "# Made by `python -m taintwatch_calibration.craft.demo_attacks`; see docs/demo.md.\n" + toml_of(tables)
    write_atomically(folder / f"{name}.png", content)
    recipe = folder / f"{name}.toml"
    write_atomically(recipe, text.encode())
    return recipe


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


def _craft_with_progress(name: str, radar: RadarFile, plan: AttackPlan, console: Console) -> NDArray[np.uint8]:
    with bars(console) as progress:
        task = progress.add_task(f"{name}: looking at the scene", total=plan.schedule.iterations)

        def on_step(step: Step) -> None:
            words = f"{name}: loss {step.loss:6.2f}, {step.success:4.0%} fooled"
            progress.update(task, completed=step.iteration, description=words)

        return craft_attack(radar, plan, on_step)


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
    settings = ModelSettings(path=model, session=SessionSettings(threads=threads))
    radar = load_radar_file(settings)
    classifier = open_model(radar, settings).classifier
    console = Console(stderr=True)
    for name in ATTACK_NAMES if only is None else (only,):
        plan = PLANS[name]
        if iterations is not None:
            plan = dataclasses.replace(plan, schedule=dataclasses.replace(plan.schedule, iterations=iterations))
        picture = _craft_with_progress(name, radar, plan, console)
        measured = measure(classifier, plan.placement, picture, plan.pattern.target, HELD_OUT_SEEDS)
        recipe = write_attack(out, name, plan, radar.info.source_sha256, picture, measured)
        click.echo(
            f"{recipe}: fools {measured.success:.1%} of {measured.frames} frames, {measured.target:.1%} as meant"
        )


if __name__ == "__main__":
    main()
