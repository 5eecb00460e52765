"""One run of `taintwatch craft`: what all kinds of attack share, from the model to the folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from taintwatch_calibration.craft.adaptive import against, high_rank_target
from taintwatch_calibration.craft.attack_folder import Folder, as_picture, whole
from taintwatch_calibration.craft.engine import Checkpoint, Schedule, Step, optimise
from taintwatch_calibration.craft.kinds import KINDS
from taintwatch_calibration.craft.materials import (
    Labelled,
    differentiable,
    find_label,
    load_classifier,
    pick_device,
    read_pictures,
    to_pictures,
)
from taintwatch_calibration.craft.measurement import Measured, faintness, held_apart, measure
from taintwatch_calibration.craft.physical import (
    Pattern,
    PhysicalObjective,
    Pictures,
    normaliser,
    plain_pattern,
    start_values,
)
from taintwatch_calibration.progress import bars
from taintwatch_calibration.torch_tuning import denormals_flushed, keep_freed_memory
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import LoadedModel, open_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["HIGH_RANK", "Session", "SessionOptions", "Uneven", "craft_physical", "finish_pictures", "watched"]

HIGH_RANK = "high-rank"
"""As a target: the label that ranks highest without being the pictures' own."""
_PLACEMENTS = 2


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What every kind is told."""

    images: Path
    out: Path
    model: str | None = None
    labels: Path | None = None
    class_names: str | None = None
    preprocessing: str | None = None
    calibration: str | None = None
    target: str | None = None
    most: int = 0
    seed: int = 0
    device: str = "auto"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Uneven:
    """An attacker who knows a detector."""

    name: str
    weight: float


class Session:
    """Model, pictures, target and folder, loaded and checked."""

    def __init__(self, options: SessionOptions) -> None:
        """Raises `UsageError`, `ModelError`, `CalibrationError`."""
        torch.set_num_threads(options.threads)
        keep_freed_memory()
        self.options = options
        self.device = pick_device(options.device)
        self.radar: RadarFile = load_classifier(options.model, options.preprocessing, options.class_names)
        settings = ModelSettings(
            path=options.model,
            calibration=options.calibration,
            detectors=("tight", "paper"),
            session=SessionSettings(device="cpu", threads=options.threads),
        )
        self.product: LoadedModel = open_model(self.radar, settings)
        self.model: TorchGraph = differentiable(self.radar, self.device)
        every = read_pictures(options.images, self.radar, options.labels, most=options.most, seed=options.seed)
        self.read = every
        self.target = self._target(every)
        self.usable: Labelled = every.subset([i for i, label in enumerate(every.labels) if label != self.target])
        if not len(self.usable):
            raise UsageError(f"{options.images}: every picture that the classifier gets right already shows the target")
        self.folder = Folder.at(options.out)

    @property
    def preprocessing(self) -> Preprocessing:
        return self.radar.info.preprocessing

    def pictures(self, labelled: Labelled) -> Pictures:
        """Return pictures as crafting takes them."""
        return to_pictures(labelled, self.preprocessing, self.device)

    def identity(self, **settings: Any) -> str:
        """Tell this run from any other."""
        shown = {name: repr(value) for name, value in settings.items()}
        pictures = hashlib.sha256(self.usable.pixels.tobytes()).hexdigest()
        text = json.dumps([shown, self.radar.info.source_sha256, pictures, self.target], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return what every recipe says of model and pictures."""
        info, names = self.radar.info, self.radar.info.labels
        return {
            "model": {"name": info.name, "sha256": info.source_sha256},
            "pictures": {
                "folder": str(self.options.images), "used": len(self.usable), "wrong_and_skipped": self.read.wrong,
                "unreadable": self.read.unreadable, "labelled": self.read.declared,
            },
            "target": {"index": self.target, "name": None if self.target is None else names[self.target]},
        }  # fmt: skip

    def summary(self, kind: str, measured: Measured, **more: Any) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "attack": kind,
            "folder": str(self.folder.path),
            **self.tables(),
            **dataclasses.asdict(measured),
            **more,
        }

    def _target(self, pictures: Labelled) -> int | None:
        name = self.options.target
        if name is None:
            return None
        if name == HIGH_RANK:
            return high_rank_target(self.model, self.pictures(pictures), normaliser(self.preprocessing, self.device))
        return find_label(name, self.radar.info.labels)


def craft_physical(
    session: Session,
    kind: str,
    pattern: Pattern,
    schedule: Schedule,
    masks: Tensor,
    *,
    adaptive: Uneven | None = None,
    console: Console,
) -> dict[str, Any]:
    """Craft a printed attack, measure it, write its folder; return what was found.

    The folder: pattern.png (one for each, RGBA: transparent outside of the mask), mask.png, preview.png, recipe.toml.
    """
    craft_on, test_images, apart = held_apart(session.usable, session.options.seed)
    detector = None
    if adaptive is not None:
        calibration = session.product.calibration
        detector = against(adaptive.name, adaptive.weight, session.model, session.preprocessing, calibration)
    pattern = dataclasses.replace(pattern, target=session.target)
    objective = PhysicalObjective(
        session.model, session.pictures(craft_on), session.preprocessing, masks, pattern, detector
    )
    checkpoint = Checkpoint(
        session.folder.checkpoint, session.identity(kind=kind, pattern=pattern, adaptive=adaptive, area=masks.sum())
    )
    with denormals_flushed(), watched(kind, schedule.iterations, session.folder, console) as on_step:
        start = start_values(masks.to(session.device))
        values = whole(optimise(objective, start, schedule, report=on_step, checkpoint=checkpoint))
    generator = torch.Generator().manual_seed(7000 + session.options.seed)
    with torch.no_grad():
        pixels = session.pictures(test_images).pixels
        attacked = torch.cat([objective.show(pixels, values, generator)[0].cpu() for _ in range(_PLACEMENTS)])
    own = test_images.labels.tolist() * _PLACEMENTS
    measured = measure(session.product, whole(attacked), own, session.target, held_out=apart)
    session.folder.contact(attacked)
    files = []
    for index, (colours, mask) in enumerate(zip(values.cpu(), masks.cpu(), strict=True)):
        suffix = "" if len(masks) == 1 else f"_{index + 1}"
        rgba = torch.cat([pattern.inked(colours).flip(0), mask]).mul(255).round().byte().permute(1, 2, 0).numpy()
        files += [session.folder.picture(f"pattern{suffix}.png", rgba)]
        files += [session.folder.picture(f"mask{suffix}.png", as_picture(mask))]
    session.folder.recipe(
        {
            "attack": {"kind": kind, "words": KINDS[kind].words, "adaptive": adaptive},
            **session.tables(),
            "pattern": plain_pattern(pattern),
            "schedule": dataclasses.asdict(schedule),
            "files": {"pictures": files},
            "measured": dataclasses.asdict(measured),
        }
    )
    session.folder.finish()
    return session.summary(kind, measured, files=[file["file"] for file in files])


_PREVIEW_EVERY_S = 2.0


@contextmanager
def watched(
    name: str, total: int, folder: Folder, console: Console, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Step], None]]:
    """Yield what is told of each step: it moves the bar, and rewrites preview.png every two seconds."""
    last = [float("-inf")]
    with bars(console) as bar:
        task = bar.add_task(name, total=total)

        def on_step(step: Step) -> None:
            text = f"{name}: loss {step.loss:8.3f}, success {step.success:4.0%}"
            bar.update(task, completed=step.iteration, description=text)
            if step.pictures is not None and clock() - last[0] >= _PREVIEW_EVERY_S:
                folder.contact(step.pictures)
                last[0] = clock()

        yield on_step


def finish_pictures(
    session: Session, kind: str, made: Tensor, recipe: Any, *, masks: Tensor | None = None
) -> dict[str, Any]:
    """Judge attacked pictures (N, 3, H, W), write the folder, return what was found."""
    made = whole(made).cpu()
    pictures = session.pictures(session.usable)
    measured = measure(session.product, made, session.usable.labels.tolist(), session.target, held_out=False)
    faint = dataclasses.asdict(faintness(pictures.pixels.cpu(), made))
    files = []
    for index, name in enumerate(session.usable.names):
        stem = f"{index:04d}_{name.rpartition('.')[0] or name}"
        files.append(session.folder.picture(f"pictures/{stem}.png", as_picture(made[index])))
        if masks is not None:
            files.append(session.folder.picture(f"masks/{stem}.png", as_picture(masks[index])))
    session.folder.contact(made)
    settings = (
        dataclasses.asdict(recipe) if dataclasses.is_dataclass(recipe) and not isinstance(recipe, type) else recipe
    )
    session.folder.recipe(
        {"attack": {"kind": kind}, **session.tables(), "settings": settings, "files": {"pictures": files},
         "faintness": faint, "measured": dataclasses.asdict(measured)}
    )  # fmt: skip
    session.folder.finish()
    return session.summary(kind, measured, faintness=faint)
