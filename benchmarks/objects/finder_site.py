"""The guard on a detector trained here: the bundled sign finder, in rendered streets, with patches that hide a sign.

Learnt from streets of earlier seeds, crafted on others, counted on later ones. Each patch is laid into a street's frame
(digital), and printed on the sign in the street that the simulator records (recorded).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.objects.scenes import general_pictures
from benchmarks.objects.trials import Attack, Count, benign_row, judge, laid, printed_patch, ratio_gated, trial_rows
from benchmarks.street.random_street import random_street
from taintwatch.demo.street_scene import Sticker, StreetPlan, StreetScene
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.scene import SceneSettings
from taintwatch_calibration.craft.engine import Schedule, Step
from taintwatch_calibration.craft.object_attacks import ObjectAttack, craft_object_patch
from taintwatch_calibration.craft.object_scenes import object_scenes, whole_scenes
from taintwatch_models.bundled import BUNDLED_FINDER, bundled_path
from taintwatch_models.objects.finder import FinderSettings, FoundObject, ObjectFinder
from taintwatch_models.objects.guard import ObjectGuard
from taintwatch_models.objects.guard_learning import learn_guard
from taintwatch_models.objects.torch_detector import TorchDetector
from taintwatch_models.storage import write_atomically

__all__ = ["finder_part"]

_LEARNT, _CRAFTED, _ATTACKED, _BENIGN = 141_000, 142_000, 143_000, 144_000
_APART = 10000
"""First seeds of the streets, and how far those of one patches' seed are from those of the next."""
_SITE_FRAMES, _GENERAL, _SCENES = 400, 120, 60
_STEPS = 4
"""Times as many as for a large detector: this one is small, and has seen stickers."""
_SIGN, _LEAST = "traffic sign", 20
_ATTACKS: tuple[tuple[str, Literal["hide", "dpatch"], float], ...] = (
    ("hide sign, small", "hide", 0.5), ("hide sign", "hide", 0.7), ("dpatch, sign", "dpatch", 0.2),
)  # fmt: skip
"""Name, kind, and the patch's side: as a share of the sign's, in a corner of the picture's shorter side."""
_RAISED = 0.05  # the patch's centre lies so much above the sign's, as a share of its side: `place_on`

Picture = NDArray[np.uint8]
Say = Callable[[str], None]


def finder_part(
    data: Path, work: Path, frames: int, attacked: int, steps: int, seed: int, threads: int, say: Say
) -> dict[str, Any]:
    """Count as `site_part` does, of `frames` benign frames and `attacked` ones of each patch."""
    settings = FinderSettings(str(bundled_path(BUNDLED_FINDER)), overlap=0.2, device="cpu", threads=threads)
    plain = ObjectFinder(settings)
    site = [
        street.render(index) for street in _streets(_LEARNT + _APART * seed, _SITE_FRAMES // 2) for index in (8, 30)
    ]
    guard = ObjectGuard(settings, learn_guard(settings, site, general_pictures(data / "general", _GENERAL)))
    benign = [street.render(index) for street in _streets(_BENIGN + _APART * seed, frames // 2) for index in (8, 30)]
    told = benign_row(guard, benign) | {"threshold": round(guard.threshold, 3)}
    say(f"street: {told}")
    rows = []
    for name, kind, size in _ATTACKS:
        wanted = ObjectAttack(kind, 0, size=size, side=32, smooth=0.1, printable=0.03)
        patch = _crafted(plain, name, wanted, work / f"patches-{seed}", _STEPS * steps, seed, say)
        attack = Attack(name, patch, None if kind == "dpatch" else _SIGN, size)
        found = _corner_rows if attack.victim is None else _rows
        rows += [{"site": "street"} | row for row in found(guard, plain, attack, attacked, seed)]
        say(f"{rows[-2]}\n{rows[-1]}")
    return {"benign": told, "attacks": rows, "speed": ratio_gated(guard, plain, benign[:40])}


def _streets(first: int, count: int, signs: int = 3) -> Iterator[StreetScene]:
    for seed in range(first, first + count):
        yield _street(seed, _plan(seed, signs), None)


def _plan(seed: int, signs: int) -> StreetPlan:
    return random_street(np.random.default_rng([seed, 0x17]), signs, settings=SceneSettings(seed=seed))


def _street(seed: int, plan: StreetPlan, patch: Picture | None) -> StreetScene:
    settings = SceneSettings(seed=seed)
    return StreetScene(plan, patch, settings, CAMERA_MODELS[("street", "office", "corridor")[seed % 3]](seed))


def _crafted(
    plain: ObjectFinder, name: str, attack: ObjectAttack, work: Path, steps: int, seed: int, say: Say
) -> torch.Tensor:
    """Return the patch, (3, side, side) RGB in [0, 1]: as it is in `work`, or crafted into it."""
    path = work / f"{name.replace(', ', '_').replace(' ', '_')}.npy"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        pictures = [street.render(20) for street in _streets(_CRAFTED + _APART * seed, _SCENES)]
        corner = attack.kind == "dpatch"
        scenes = whole_scenes(plain, pictures) if corner else object_scenes(plain, pictures, _SIGN, _LEAST)

        def report(step: Step) -> None:
            if step.iteration % 20 == 0:
                say(f"{name}: step {step.iteration}, loss {step.loss:.3f}, success {step.success:.2f}")

        patch = craft_object_patch(
            TorchDetector(plain.proto), plain.decoder, plain.preprocessing, scenes, attack,
            Schedule(iterations=steps, step=0.05, rule="adam", seed=seed), report=report,
        )  # fmt: skip
        np.save(path, patch.numpy())
        write_atomically(path.with_suffix(".steps"), f"{steps}\n".encode())
    return torch.from_numpy(np.load(path))


def _corner_rows(guard: ObjectGuard, plain: ObjectFinder, attack: Attack, most: int, seed: int) -> list[dict[str, Any]]:
    """Lay the patch into a corner of each street, as it is and as recorded."""
    streets = [street.render(20) for street in _streets(_ATTACKED + _APART * seed, most)]
    return trial_rows(guard, plain, streets, attack, _control(), most)


def _rows(guard: ObjectGuard, plain: ObjectFinder, attack: Attack, most: int, seed: int) -> list[dict[str, Any]]:
    """Lay the patch on one sign of each street, and on it in the simulator; count what is hidden, and suspicious."""
    counts, controls = {False: Count(), True: Count()}, Count()
    sticker, poster = Sticker(0.0, -_RAISED, attack.size), _control()
    first = _ATTACKED + _APART * seed
    for number in range(first, first + 4 * most):
        plan = replace(_plan(number, 3), sticker=sticker)
        clean = _street(number, plan, None)
        frame, box = clean.render(20), clean.sign_boxes(20)[plan.patched]
        before = plain(frame)
        victim = None if box is None else _at(before, box)
        if victim is None:
            continue
        before_camera = _street(number, plan, _as_picture(printed_patch(attack.patch, number)))
        judge(guard, laid(frame, victim, attack.patch, attack).picture, before, victim, counts[False])
        judge(guard, before_camera.render(20), before, victim, counts[True])
        judge(guard, laid(frame, victim, poster, attack).picture, before, victim, controls, every=True)
        if controls.frames >= most:
            break
    told = {"control_effective": controls.effective, "control_suspicious": controls.suspicious}
    return [count.row(attack, recorded) | told for recorded, count in counts.items()]


def _at(found: tuple[FoundObject, ...], box: tuple[int, int, int, int]) -> FoundObject | None:
    """Return the object whose middle lies in a sign's box, the surest."""
    x, y, width, height = box
    return next((each for each in found if x < each.box[0] + each.box[2] / 2 < x + width
                 and y < each.box[1] + each.box[3] / 2 < y + height), None)  # fmt: skip


def _as_picture(patch: torch.Tensor) -> Picture:
    """Return (3, side, side) RGB in [0, 1] as (256, 256, 3) blue-green-red."""
    large = cv2.resize(patch.permute(1, 2, 0).numpy(), (256, 256), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray((np.clip(large, 0, 1)[:, :, ::-1] * 255).round().astype(np.uint8))


def _control() -> torch.Tensor:
    """Return a harmless drawing, (3, 32, 32) RGB in [0, 1]: a price tag."""
    tag = np.full((32, 32, 3), (40, 220, 250), np.uint8)
    cv2.putText(tag, "-20", (1, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 200), 2, cv2.LINE_AA)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(tag, -1, 0)[::-1])).float() / 255
