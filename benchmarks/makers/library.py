"""The patches that detection is measured with: of each network, by several makers, crafted once and stored."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.makers.adam import make_patch
from benchmarks.makers.onnx_torch import OnnxModule
from taintwatch_calibration.craft.digital import art_classifier
from taintwatch_calibration.craft.engine import Schedule, optimise
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_calibration.craft.physical import Pattern, PhysicalObjective, Pictures, start_values
from taintwatch_calibration.craft.placement import Placement
from taintwatch_calibration.torch_tuning import denormals_flushed
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.radar_file import RadarFile
from taintwatch_models.storage import write_atomically

__all__ = ["MAKERS", "Patch", "patches_of"]

MAKERS = ("ours", "adam", "smooth", "art")
"""`ours`: the project's own engine; `adam`: `benchmarks.makers.adam`, which shares no code with it; `smooth`: the same
with a total-variation weight; `art`: the Adversarial Robustness Toolbox's `AdversarialPatchPyTorch`."""
_STEPS, _BATCH, _SIDE = 250, 16, 64
_SMOOTHNESS = 8.0

RGB = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One patch and who made it for what."""

    pixels: RGB
    """(s, s, 3)."""
    maker: str
    target: int
    network: str


def patches_of(
    name: str, radar: RadarFile, craft_on: Callable[[], tuple[RGB, NDArray[np.int64]]], targets: tuple[int, int],
    folder: Path, report: Callable[[str], None], *, craft: bool = True,
    device: str = "cpu",
) -> dict[str, Patch]:  # fmt: skip
    """Return the patches of a network by name, crafted first where FOLDER/NAME.npz does not hold them.

    `craft_on` gives pictures (N, H, W, 3) RGB that the network gets right, and their labels (N,). `craft`: False takes
    those that are there alone; `device`: where they are crafted.
    """
    path = folder / f"{name}.npz"
    found = _read(path, name)
    first, second = targets
    wanted: dict[str, Callable[[], RGB]] = {
        f"adam_{first}": lambda: _adam(radar, craft_on(), first, 0.0, 1, device),
        f"ours_{first}_0.35": lambda: _ours(radar, craft_on(), first, 0.35, 1, device),
        f"art_{first}": lambda: _art(radar, craft_on(), first, device),
        f"smooth_{first}": lambda: _adam(radar, craft_on(), first, _SMOOTHNESS, 3, device),
        f"adam_{second}": lambda: _adam(radar, craft_on(), second, 0.0, 2, device),
        f"ours_{second}_0.25": lambda: _ours(radar, craft_on(), second, 0.25, 2, device),
    }
    for key, make in wanted.items():
        if key not in found and craft:
            report(f"crafting {key}")
            with denormals_flushed():
                pixels = make()
            found[key] = Patch(pixels, key.partition("_")[0], int(key.split("_")[1]), name)
            _write(path, found)
    return found


def _read(path: Path, name: str) -> dict[str, Patch]:
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored["meta"]))["patches"]
        return {key: Patch(stored[key], each["maker"], int(each["target"]), name) for key, each in about.items()}


def _write(path: Path, patches: Mapping[str, Patch]) -> None:
    import io

    stream = io.BytesIO()
    about = {key: {k: v for k, v in asdict(patch).items() if k != "pixels"} for key, patch in patches.items()}
    arrays: dict[str, Any] = {key: patch.pixels for key, patch in patches.items()}
    np.savez(stream, meta=np.array(json.dumps({"patches": about})), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, stream.getvalue())


def _others(material: tuple[RGB, NDArray[np.int64]], target: int) -> tuple[RGB, NDArray[np.int64]]:
    rows = material[1] != target
    return material[0][rows], material[1][rows]


def _adam(
    radar: RadarFile, material: tuple[RGB, NDArray[np.int64]], target: int, smoothness: float, seed: int, device: str
) -> RGB:
    preprocessing = radar.info.preprocessing
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    scale = 255 / preprocessing.scale
    model = OnnxModule(keep_outputs(radar.proto, ["logits"])).on(device)
    pictures, _ = _others(material, target)
    return make_patch(
        lambda inputs: model(inputs.to(device)).cpu(), pictures, lambda shown: (shown * scale - mean) / std, target,
        steps=_STEPS, batch=_BATCH, seed=seed, smoothness=smoothness, size=_SIDE,
    )  # fmt: skip


def _ours(
    radar: RadarFile, material: tuple[RGB, NDArray[np.int64]], target: int, size: float, seed: int, device: str
) -> RGB:
    pixels, labels = _others(material, target)
    planes = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    pictures = Pictures(planes, torch.from_numpy(labels).to(device))
    masks = torch.ones(1, 1, _SIDE, _SIDE, device=device)
    pattern = Pattern(target, Placement((None,), (size,)), batch=_BATCH)
    objective = PhysicalObjective(differentiable(radar, device), pictures, radar.info.preprocessing, masks, pattern)
    values = optimise(objective, start_values(masks), Schedule(iterations=_STEPS, seed=seed))
    return np.asarray((values[0].permute(1, 2, 0).cpu().numpy() * 255).round(), np.uint8)


def _art(radar: RadarFile, material: tuple[RGB, NDArray[np.int64]], target: int, device: str) -> RGB:
    pixels = _others(material, target)[0][:96]
    info = radar.info
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import AdversarialPatchPyTorch

        wrapped = art_classifier(differentiable(radar, device), info.preprocessing, info.classes, device)
        torch.manual_seed(0)
        np.random.seed(0)
        attack = AdversarialPatchPyTorch(
            wrapped, rotation_max=20.0, scale_min=0.3, scale_max=0.5, learning_rate=0.05, optimizer="Adam",
            max_iter=max(1, _STEPS // 6), batch_size=_BATCH, patch_shape=(3, _SIDE, _SIDE), patch_type="square",
            targeted=True, verbose=False,
        )  # fmt: skip
        shown = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
        wanted = np.eye(info.classes, dtype=np.float32)[np.full(len(shown), target)]
        patch, _ = attack.generate(x=shown, y=wanted)
    return np.asarray(np.clip(np.rint(patch.transpose(1, 2, 0) * 255), 0, 255), np.uint8)
