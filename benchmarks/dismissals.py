"""Do dismissals blind the daemon? Patches in the very places of twenty dismissed scenes, before and after.

    python -m benchmarks.dismissals --data ../shared/data --json docs/results/dismissals.json

The bundled model, its own detector. Twenty scenes are dismissed where the detector looks, as by an operator who
dismisses all that there is. Then five patches for each scene, crafted for that scene and place, are shown there.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.detection.networks import Network, load_network
from benchmarks.makers.adam import make_spot
from benchmarks.makers.onnx_torch import OnnxModule
from benchmarks.makers.placement import Placement, apply_at
from taintwatch.detector import Detector
from taintwatch.review.appearance import Appearance
from taintwatch.review.dismissals import Dismissal, Known, Reason
from taintwatch.review.reviewer import Reviewer
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.records import Frame, Verdict, read_only

Picture = NDArray[np.uint8]
SIDE = 320  # pixels of a camera's frame; the network sees 64
SCENES, EACH = 20, 5
PATCH = 0.4  # of the picture's side
TARGETS = (14, 1, 12, 38, 25)


def a_frame(picture: Picture) -> Frame:
    """Return a picture as the network sees it, (64, 64, 3) RGB, as a camera's frame."""
    large = cv2.resize(picture[:, :, ::-1], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return Frame("door", 0, read_only(np.asarray(large, np.uint8)), 0, 0)


class BundledModel:
    """The bundled model with its detector, and one that suspects everything: what an operator could dismiss."""

    def __init__(self) -> None:
        self._model = Detector.load().model
        self._detector = cast(Any, self._model.detectors[0])
        self._suspicious: Any = copy.copy(self._detector)
        self._suspicious.point = replace(self._detector.point, threshold=-1.0)

    def __call__(self, frame: Frame, *, suspect_all: bool = False) -> Verdict:
        """Return the verdict on a frame."""
        outcome: Any = self._model.classifier([frame])[0]
        verdict: Verdict = (self._suspicious if suspect_all else self._detector)(outcome)
        return verdict


def dismissal_of(number: int, frame: Frame, verdict: Verdict) -> Known:
    """Return the dismissal of what a verdict points at."""
    if verdict.region is None:
        raise ValueError("the verdict points at nothing")
    box = verdict.region.box
    kept = Dismissal(f"scene{number}", "door", Reason.FALSE_ALARM, 0, "bench", (verdict.label,), "", (box,))
    jpeg = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return Known(kept, Appearance.of(np.asarray(cv2.imdecode(jpeg, 1), np.uint8), (box,)))


def seen_again(frame: Frame, rng: np.random.Generator) -> list[Frame]:
    """Return the same scene with noise, in other light, compressed, and after a small shake."""
    image = frame.image.astype(np.float32)
    shaken = cv2.warpAffine(
        image, np.array([[1, 0, rng.uniform(-4, 4)], [0, 1, rng.uniform(-4, 4)]]), (SIDE, SIDE),
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    coded = cv2.imdecode(cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1)
    changed = [image + rng.normal(0, 6, image.shape), image * rng.uniform(0.75, 1.3) + rng.uniform(-10, 10), shaken,
               coded]  # fmt: skip
    return [replace(frame, image=read_only(np.clip(each, 0, 255).astype(np.uint8))) for each in changed]


def craft_patches(
    network: Network, normalise: Callable[[Any], Any], model: OnnxModule, scene: Picture, box: Sequence[int], steps: int
) -> list[Picture]:  # fmt: skip
    """Craft patches for one scene, each for another label, in the middle of the dismissed place."""
    scale = scene.shape[0] / SIDE
    x, y = ((box[axis] + box[axis + 2] / 2) * scale for axis in (0, 1))
    side = PATCH * scene.shape[0]
    x, y = (float(np.clip(each, side / 2, scene.shape[0] - side / 2)) for each in (x, y))
    place = Placement(side, x, y)
    made = []
    for number, target in enumerate(TARGETS):
        patch = make_spot(model, scene, normalise, target, place=place, steps=steps, batch=2, seed=number)
        made.append(apply_at(scene[None], patch, [place])[0])
    return made


def measure(data: Path, work: Path, steps: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Return the counts before and after, JSON-ready."""
    network, judge, rng = load_network("bundled", data, work), BundledModel(), np.random.default_rng(0)
    info = network.radar.info.preprocessing
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (info.mean, info.std))
    model = OnnxModule(keep_outputs(network.radar.proto, ["logits"]))
    scenes = network.test[:SCENES]
    frames = [a_frame(scene) for scene in scenes]
    verdicts = [judge(frame, suspect_all=True) for frame in frames]
    known = tuple(dismissal_of(number, *each) for number, each in enumerate(zip(frames, verdicts, strict=True)))
    reviewer = Reviewer(lambda camera: known)
    shown = [each for frame in frames for each in seen_again(frame, rng)]
    verdicts_again = [judge(each, suspect_all=True) for each in shown]
    excused_again = sum(
        not reviewer(frame, [verdict], alert_open=False)[0].suspicious
        for frame, verdict in zip(shown, verdicts_again, strict=True)
    )
    same_label = sum(verdict.label == verdicts[number // 4].label for number, verdict in enumerate(verdicts_again))
    fooled = before = after = alike = 0
    for number, (scene, verdict) in enumerate(zip(scenes, verdicts, strict=True)):
        box = known[number].dismissal.boxes[0]
        for picture in craft_patches(network, lambda shown: (shown - mean) / std, model, scene, box, steps):
            frame = a_frame(picture)
            found = judge(frame)
            if found.label == verdict.label:
                continue
            fooled += 1
            before += found.suspicious
            after += reviewer(frame, [found], alert_open=False)[0].suspicious
            box_now = None if found.region is None else found.region.box
            alike += box_now is not None and any(each.appearance.shows(frame.image, box_now) for each in known)
        report(f"{number + 1} of {SCENES} scenes: {fooled} patches fool it, {before} and {after} are seen")
    return {
        "scenes": SCENES, "patches": SCENES * EACH, "fooled": fooled, "seen_before": before, "seen_after": after,
        "excused_by_appearance_alone": int(alike), "scenes_seen_again": len(shown), "with_the_same_label": same_label,
        "excused_again": excused_again, "machine": machine(),
    }  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dismissals", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("build"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.data, options.work, options.steps, print)
    print({key: value for key, value in found.items() if key != "machine"})
    if options.json is not None:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
