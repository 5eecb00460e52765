"""Make targeted adversarial patches by Adam, as an independent adversary for measurements.

Expectation over transformation (Athalye et al. 2018) on the patch of Brown et al. 2017: the
patch is `sigmoid(theta)`, pasted at random places, sizes and angles under changing light onto
photographs, and Adam minimises the cross-entropy to the target class. Three styles: `universal`;
`smooth`, with a total-variation weight; and `spot`, for one photograph and one fixed place.

    python -m benchmarks.makers.adam universal --model M.onnx --images DIR --target 859 --out P.npz
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.makers.onnx_torch import load_onnx
from benchmarks.makers.placement import (
    Images,
    Placement,
    apply_at,
    apply_patch,
    load_images,
    paste,
    random_placement,
    to_tensor,
    to_uint8,
)

__all__ = ["Normalise", "apply_patch", "make_patch", "make_spot"]

Normalise = Callable[[Tensor], Tensor]  # RGB in [0, 1], (N, 3, H, W) -> the model's own range
Progress = Callable[[int, float, float], None]  # step, loss, share of the batch on the target


def _in_changing_light(patch: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The patch (3, S, S) in `count` random lights (count, 3, S, S): contrast and brightness."""
    contrast = 0.8 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    brightness = 0.2 * torch.rand(count, 1, 1, 1, generator=generator) - 0.1
    return ((patch - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def _total_variation(patch: Tensor) -> Tensor:
    """The mean absolute difference of neighbouring pixels of (3, S, S), along both axes."""
    return patch.diff(dim=1).abs().mean() + patch.diff(dim=2).abs().mean()


def _optimise(
    model: Callable[[Tensor], Tensor],
    normalise: Normalise,
    target: int,
    scenes: Iterable[tuple[Tensor, Sequence[Placement]]],
    *,
    steps: int,
    size: int,
    seed: int,
    smoothness: float,
    learning_rate: float,
    progress: Progress | None,
) -> Images:
    generator = torch.Generator().manual_seed(seed)
    theta = 0.1 * torch.randn(3, size, size, generator=generator)
    theta.requires_grad_()
    adam = torch.optim.Adam([theta], learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, learning_rate / 20)
    for step, (images, places) in zip(range(steps), scenes, strict=False):
        patch = torch.sigmoid(theta)
        lit = _in_changing_light(patch, len(images), generator)
        scene = paste(images, lit, places)
        noise = 0.02 * torch.randn(scene.shape, generator=generator)
        logits = model(normalise((scene + noise).clamp(0, 1)))  # (N, classes)
        goal = torch.full((len(images),), target)
        entropy = F.cross_entropy(logits, goal)
        loss = entropy + smoothness * _total_variation(patch)
        (theta.grad,) = torch.autograd.grad(loss, [theta])
        adam.step()
        schedule.step()
        if progress is not None:
            hits = (logits.argmax(1) == goal).float()
            progress(step + 1, float(entropy.detach()), float(hits.mean()))
    made: Images = to_uint8(torch.sigmoid(theta.detach())[None])[0]
    return made


def make_patch(
    model: Callable[[Tensor], Tensor],
    images_uint8: Images,
    normalise: Normalise,
    target: int,
    *,
    side_shares: tuple[float, float] = (0.25, 0.6),
    steps: int = 200,
    batch: int = 8,
    seed: int = 0,
    smoothness: float = 0.0,
    size: int = 96,
    learning_rate: float = 0.15,
    progress: Progress | None = None,
) -> Images:
    """Make a patch that turns any image of the kind given into `target`, at any place.

    images_uint8 (N, H, W, 3) are the photographs to craft on; `model` maps normalised images to
    logits (N, classes). The side is drawn uniformly from `side_shares` of the shorter side,
    in the first half of the steps from the upper part of that range.
    `smoothness` weighs the total variation: 5 to 10 gives the `smooth` style. Returns a uint8 RGB
    patch (size, size, 3). Deterministic for a seed, a machine and a torch version.
    """
    rng = np.random.default_rng(seed)

    smallest, largest = side_shares

    def scenes() -> Iterable[tuple[Tensor, list[Placement]]]:
        for step in range(steps):
            # From large patches to all sizes over the first half: else some targets never start.
            low = max(smallest, largest - 2 * step / steps * (largest - smallest))
            chosen = images_uint8[rng.choice(len(images_uint8), batch, len(images_uint8) < batch)]
            shares = rng.uniform(low, largest, size=batch)
            yield to_tensor(chosen), [random_placement(chosen, s, rng) for s in shares]

    return _optimise(
        model, normalise, target, scenes(), steps=steps, size=size, seed=seed,
        smoothness=smoothness, learning_rate=learning_rate, progress=progress,
    )  # fmt: skip


def make_spot(
    model: Callable[[Tensor], Tensor],
    image_uint8: Images,
    normalise: Normalise,
    target: int,
    *,
    place: Placement,
    steps: int = 100,
    batch: int = 2,
    seed: int = 0,
    learning_rate: float = 0.15,
    progress: Progress | None = None,
) -> Images:
    """Make a patch for one photograph (H, W, 3) and one fixed place: the partial attack.

    Only light and noise change, over `batch` copies a step. It may fail where the place is small
    and off the subject: check the result. Returns a uint8 RGB patch whose size is the place's side
    in pixels.
    """
    scene = (to_tensor(np.stack([image_uint8] * batch)), [place] * batch)
    return _optimise(
        model, normalise, target, [scene] * steps, steps=steps, size=max(round(place.side), 1),
        seed=seed, smoothness=0.0, learning_rate=learning_rate, progress=progress,
    )  # fmt: skip


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _on_target(
    session: onnxruntime.InferenceSession, normalise: Normalise, target: int, images: Images
) -> npt.NDArray[np.bool_]:
    """Which images (N,) are given the target by ONNX Runtime: as deployed, not as converted."""
    name = session.get_inputs()[0].name
    inputs = (normalise(to_tensor(image[None])).numpy() for image in images)
    return np.array([session.run(None, {name: x})[0].argmax() == target for x in inputs])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="adam", description="Make an adversarial patch.")
    parser.add_argument("style", choices=["universal", "smooth", "spot"])
    parser.add_argument("--model", type=Path, required=True, help="ONNX classifier, NCHW RGB")
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG photographs: "
                        "the first half by name crafts, the second half tests")  # fmt: skip
    parser.add_argument("--target", type=int, required=True, help="class index to force")
    parser.add_argument("--out", type=Path, required=True, help=".npz: patch uint8, meta JSON")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--mean", type=float, nargs="+", default=[0.5], help="of RGB in [0, 1]")
    parser.add_argument("--std", type=float, nargs="+", default=[0.5])
    parser.add_argument("--shares", type=float, nargs=2, default=[0.25, 0.6])
    parser.add_argument("--test-shares", type=float, nargs="*", default=[0.25, 0.3, 0.4, 0.5])
    parser.add_argument("--smoothness", type=float, default=8.0, help="`smooth` alone")
    parser.add_argument("--spot-image", type=int, default=0, help="index among the test images")
    parser.add_argument("--spot-share", type=float, default=0.3)
    return parser.parse_args(arguments)


def _report(step: int, loss: float, hit: float) -> None:
    if step % 10 == 0:
        print(f"step {step}: cross-entropy {loss:.3f}, on target {hit:.0%}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one patch, test it on the second half of the photographs and write both down."""
    options = _parse(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (options.mean, options.std))
    model, target, begun = load_onnx(options.model), options.target, time.monotonic()
    rng = np.random.default_rng(options.seed)
    paths = sorted(options.images.glob("*.jpg"))
    crafting, testing = paths[: len(paths) // 2], paths[len(paths) // 2 :]

    def normalise(x: Tensor) -> Tensor:
        return (x - mean) / std

    def per_step() -> float:
        return round((time.monotonic() - begun) / max(int(options.steps), 1), 2)

    on_target = partial(_on_target, _session(options.model), normalise, target)
    common = {"steps": options.steps, "batch": options.batch, "seed": options.seed}
    meta: dict[str, object] = {
        "style": options.style,
        "model": options.model.name,
        "target": target,
        **common,
    }
    if options.style == "spot":
        testing = [testing[options.spot_image]]
        test = load_images(testing, options.input_size)
        place = random_placement(test, options.spot_share, rng, max_angle=0).on_grid()
        patch = make_spot(model, test[0], normalise, target, place=place, progress=_report, **common)
        meta |= {"image": testing[0].name, "box": place.box(), "seconds_per_step": per_step()}
        trials = {options.spot_share: apply_at(test, patch, [place])}
    else:
        smoothness = options.smoothness if options.style == "smooth" else 0.0
        patch = make_patch(
            model,
            load_images(crafting, options.input_size),
            normalise,
            target,
            side_shares=tuple(options.shares),
            smoothness=smoothness,
            progress=_report,
            **common,
        )
        meta |= {"side_shares": options.shares, "smoothness": smoothness}
        meta["seconds_per_step"] = per_step()
        test = load_images(testing, options.input_size)
        test = test[~on_target(test)]  # an image already on the target proves nothing
        trials = {share: apply_patch(test, patch, share, rng)[0] for share in options.test_shares}
    meta["tested_on"] = len(test)
    rates = {str(share): round(float(on_target(images).mean()), 4) for share, images in trials.items()}
    meta["success_rate"] = rates
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, patch=patch, meta=json.dumps(meta))
    print(json.dumps(meta))


if __name__ == "__main__":
    main()
