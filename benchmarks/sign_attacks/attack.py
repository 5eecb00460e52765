"""Make one attack: craft its patch, show it on pictures of its source class, see on which it succeeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.sign_attacks.plans import EMPTY, AttackSpec, recipe_of
from benchmarks.signs.benign_scenes import BACKGROUND, BenignPictures
from taintwatch.sources.camera_model import SimulatedCamera
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.craft.engine import Step
from taintwatch_calibration.craft.materials import classify
from taintwatch_calibration.craft.physical import Model, craft_patterns, label_pictures
from taintwatch_calibration.craft.placement import apply_patterns
from taintwatch_calibration.craft.shapes import shape_mask
from taintwatch_models.graph.split import classifier_of
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["Attack", "cached_attack", "craftable", "make_attack", "scaled_beside", "sources_of"]

_CAMERA_PX = 240
_PATCH_PX = 64


class Bfloat16:
    """A classifier that can be cut at its last maps, in bfloat16: twice as fast. Success is judged in float32."""

    def __init__(self, graph: TorchGraph) -> None:
        self._graph = graph

    def maps(self, inputs: Tensor) -> Tensor:
        """Return the last maps."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self._graph.maps(inputs.contiguous(memory_format=torch.channels_last))

    def head(self, maps: Tensor) -> Tensor:
        """Return the logits, float32."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self._graph.head(maps).float()


def craftable(radar: RadarFile) -> Bfloat16:
    """Return a prepared classifier that autograd goes through."""
    return Bfloat16(TorchGraph(*classifier_of(radar)))


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """A patch and every picture that it was tried on."""

    patch: NDArray[np.float32]
    """(3, s, s), RGB in [0, 1]."""
    pixels: NDArray[np.uint8]
    """(attempts, 64, 64, 3): what the classifier sees."""
    success: NDArray[np.bool_]
    """(attempts,): the target is seen (untargeted: anything but the sign, which is seen without the patch)."""


def cached_attack(cache: Cache, spec: AttackSpec, model_hash: str, make: Callable[[], Attack]) -> Attack:
    """Return an attack on a model that lies in the cache, or make it."""
    identity = (spec.key(model_hash),)

    def arrays() -> dict[str, NDArray[Any]]:
        made = make()
        return {"patch": made.patch, "pixels": made.pixels, "success": made.success}

    return Attack(**cache.arrays(spec.key(model_hash), identity, arrays))


def sources_of(pictures: BenignPictures, spec: AttackSpec) -> BenignPictures:
    """Return the pictures that the attack is meant for."""
    if spec.source == EMPTY:
        return pictures.subset(pictures.labels == BACKGROUND)
    if spec.source is None:
        return pictures.subset((pictures.labels != BACKGROUND) & (pictures.labels != spec.target))
    return pictures.subset(pictures.labels == spec.source)


def scaled_beside(pictures: NDArray[np.uint8], backgrounds: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Put each (64, 64, 3) picture at 0.55 of its size on the left of a background, so that there is room beside it."""
    rng = np.random.default_rng(seed)
    result = backgrounds[rng.integers(len(backgrounds), size=len(pictures))].copy()
    side = 35
    for picture, scene in zip(pictures, result, strict=True):
        top = int(rng.integers(8, 64 - side - 8))
        scene[top : top + side, :side] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return result


def make_attack(
    spec: AttackSpec,
    model: Model,
    judge: OnnxRadar,
    crafting: BenignPictures,
    test_images: BenignPictures,
    *,
    attempts: int,
    report: Callable[[Step], None] | None = None,
) -> Attack:
    """Craft on `crafting`, try on those `test_images` that `judge` gets right without the patch.

    `model` is the classifier in Torch, `judge` the product's own.
    """
    preprocessing = judge.info.preprocessing
    scenes = [p.subset(p.labels == BACKGROUND).pixels for p in (crafting, test_images)]
    own, others = sources_of(crafting, spec), sources_of(test_images, spec)
    learn, show = own.pixels, others.pixels
    if spec.place == "beside":
        learn, show = scaled_beside(learn, scenes[0], spec.seed), scaled_beside(show, scenes[1], spec.seed)
    pattern, schedule = recipe_of(spec)
    mask, pictures = shape_mask("square", _PATCH_PX)[None], label_pictures(model, _planes(learn), preprocessing)
    patch = craft_patterns(model, pictures, preprocessing, mask, pattern, schedule, report=report)[0]
    truth = others.labels
    right = np.flatnonzero(classify(judge, show) == truth)
    chosen = right[np.random.default_rng(spec.seed).integers(len(right), size=attempts)]
    generator = torch.Generator().manual_seed(7000 + spec.seed)
    shown = _planes(_enlarged(show[chosen])) if spec.camera_model else _planes(show[chosen])
    ink = _printed(patch) if spec.camera_model else patch
    images, _ = apply_patterns(shown, ink[None], mask, replace(pattern.placement, light=0.0), generator)
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    if spec.camera_model:
        pixels = _through_camera(pixels, preprocessing, spec.seed)
    seen = classify(judge, pixels)
    success = seen == spec.target if spec.target is not None else seen != truth[chosen]
    return Attack(patch.numpy(), pixels, success)


def _planes(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (_CAMERA_PX, _CAMERA_PX)
    return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_CUBIC) for p in pixels]).astype(np.uint8)


def _printed(patch: Tensor) -> Tensor:
    """What an office printer makes of the patch: no deep black, no pure white, paler colours."""
    grey = patch.mean(0, keepdim=True)
    return 0.08 + 0.82 * (grey + 0.85 * (patch - grey))


def _through_camera(pixels: NDArray[np.uint8], preprocessing: Preprocessing, seed: int) -> NDArray[np.uint8]:
    """A worse webcam than the simulator's office: more drift, blur and noise, stronger JPEG."""
    camera = SimulatedCamera(seed=seed, drift=0.15, blur_px=1.5, noise=6.0, jpeg_quality=70)
    return np.stack([preprocessing.pixels(camera(p[:, :, ::-1].copy(), i)) for i, p in enumerate(pixels)])
