"""What the default detector says of each frame of real footage, benign and with a patch in it: judged once, stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.networks import Network
from benchmarks.detection.scorers import CombinedScorer
from benchmarks.held_print import HeldPrint
from benchmarks.makers.library import Patch
from taintwatch.sources.camera_model import SimulatedCamera
from taintwatch_models.detection.detector import CombinedDetector
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.looks import CombinedRadar
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_classifier import RadarClassifier
from taintwatch_models.records import Frame, Prediction, read_only

__all__ = ["FPS", "RATES", "VIDEOS", "judge_video", "videos_of"]

FPS = 10.0
RATES = (0.001, 0.02)
"""Target false-positive rates: the default, and one at which enough frames are suspicious to compare votes by."""
VIDEOS = ("parking", "highway", "one-by-one-person-detection", "bottle-detection")
_LEARNT = 200
_SCENE_S = 6.0
_SIZES = (0.25, 0.35)
_HEIGHT = 360
_BATCH = 8

Judged = dict[str, Any]
"""`score`, `label` and `box` ((x, y, width, height) or None) of one frame. JSON-ready."""


def videos_of(data: Path) -> dict[str, Path]:
    """Return the files of `VIDEOS` that are below DATA/footage and DATA/videos."""
    found = {path.stem: path for folder in ("footage", "videos") for path in sorted((data / folder).glob("*"))}
    return {name: found[name] for name in VIDEOS if name in found}


def judge_video(
    network: Network, patches: Mapping[str, Patch], path: Path, report: Callable[[str], None]
) -> dict[str, Any]:
    """Learn the first half of a video; judge the second, and scenes of it with each patch. JSON-ready.

    Each patch is held in one place, and carried from one side to the other, at each of two sizes.
    """
    frames = _frames(path)
    half, pre = len(frames) // 2, network.radar.info.preprocessing
    camera = SimulatedCamera(drift=0.02, noise=2.0)
    scorer = CombinedScorer(network.radar, threads=1)
    learnt = np.linspace(0, half - 1, min(_LEARNT, half)).astype(int)
    report(f"{path.stem}: learning {len(learnt)} frames")
    pixels = np.stack([pre.pixels(camera(frames[row], int(row))) for row in learnt])
    scorer.fit(general_pictures(pre), pixels, footage=True)
    judge = _Judge(network, scorer)
    report(f"{path.stem}: judging {len(frames) - half} frames")
    benign = judge([camera(frame, half + row) for row, frame in enumerate(frames[half:])])
    scenes = []
    for number, (name, size, carried) in enumerate(
        (name, size, carried) for name in sorted(patches) for size in _SIZES for carried in (False, True)
    ):
        report(f"{path.stem}: scene {number + 1} of {len(patches) * len(_SIZES) * 2}")
        first, shown = _scene(frames[half:], patches[name], size, carried, number)
        judged = judge([camera(frame, half + first + row) for row, frame in enumerate(shown)])
        about = {"patch": name, "size": size, "carried": carried, "target": patches[name].target}
        scenes.append({**about, "first": first, "frames": judged})
    return {"thresholds": {f"{rate:g}": judge.thresholds[rate] for rate in RATES}, "benign": benign, "scenes": scenes}


class _Judge:
    """The classifier and the detector, as the daemon runs them."""

    def __init__(self, network: Network, scorer: CombinedScorer) -> None:
        if scorer.reference is None:
            raise ValueError("the scorer was not fitted yet")
        info, reference = network.radar.info, scorer.reference
        detectors = {rate: CombinedDetector(reference, rate, info.labels, info.preprocessing) for rate in RATES}
        self.thresholds = {rate: detector.point.threshold for rate, detector in detectors.items()}
        self._classifier = RadarClassifier(CombinedRadar(network.radar, reference, SessionSettings("cpu", threads=1)))
        self._detector = detectors[max(RATES)]

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Judged]:
        found = []
        for start in range(0, len(pictures), _BATCH):
            part = pictures[start : start + _BATCH]
            for outcome in self._classifier([Frame("footage", 0, read_only(each), 0, 0) for each in part]):
                if not isinstance(outcome, Prediction):
                    raise ValueError(f"the classifier rejects a frame: {outcome.reason}")
                verdict = self._detector(outcome)
                box = None if verdict.region is None else list(verdict.region.box)
                found.append({"score": round(verdict.score, 3), "label": verdict.label, "box": box})
        return found


def _scene(
    frames: Sequence[NDArray[np.uint8]], patch: Patch, size: float, carried: bool, number: int
) -> tuple[int, list[NDArray[np.uint8]]]:
    """Return a scene's frames with the patch in each, and where in `frames` it begins."""
    rng, count = np.random.default_rng([7, number]), round(_SCENE_S * FPS)
    first = int(rng.integers(0, max(1, len(frames) - count)))
    height, width = frames[0].shape[:2]
    reach = (height / width) * (1 - size) / 2  # the classifier sees the square in the middle
    x, y = rng.uniform(0.5 - reach, 0.5 + reach), rng.uniform(size / 2, 1 - size / 2)
    picture = np.ascontiguousarray(patch.pixels[:, :, ::-1])
    shown = []
    for row, frame in enumerate(frames[first : first + count]):
        across = 0.5 - reach + 2 * reach * row / count if carried else x
        copy = frame.copy()
        HeldPrint(picture, (across, y), size).lay(copy, row)
        shown.append(copy)
    return first, shown


def _frames(path: Path) -> list[NDArray[np.uint8]]:
    """Return a video's frames, at most `FPS` a second and `_HEIGHT` high."""
    stream = cv2.VideoCapture(str(path))
    every = max(1, round((stream.get(cv2.CAP_PROP_FPS) or FPS) / FPS))
    frames = []
    while (read := stream.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    stream.release()
    kept = frames[::every]
    scale = min(1.0, _HEIGHT / kept[0].shape[0])
    return [np.asarray(cv2.resize(each, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)) for each in kept]
