"""Streams through the classifier and its detector: score sequences, each kept in a file of its own, resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2

from benchmarks.votes.pictures import Patch, read_patches
from benchmarks.votes.scenes import (
    BACKGROUND,
    FPS,
    STREAM_S,
    AttackScene,
    attack_scenes,
    benign_stream,
    light_of,
)
from benchmarks.votes.streams import Stream, stream_from_json
from taintwatch.footage.file_worker import FileFrames
from taintwatch.footage.processes import Task, fingerprint_of
from taintwatch.footage.task_map import TaskResult, map_resumably
from taintwatch.sources.scene import Scene
from taintwatch_calibration.trial.score import threshold_of
from taintwatch_models.classifier import Rejected
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import LoadedModel, load_model, load_radar_file
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.records import Frame, read_only
from taintwatch_models.signs import SIGN_NAMES

__all__ = ["Scenery", "score_streams", "threshold_in"]

_VERSION = "1"
"""Of what the scenes are: those of another one are rendered and scored anew."""
_BATCH = 8
_DRAWS = 16
"""Ways of showing a patch that an attacker tries before giving it up."""
_PROBES = (5, 40)
"""Frames after its appearance that such a trial looks at."""


@dataclass(frozen=True, slots=True)
class Scenery:
    """What is scored, and by what. Can be sent to another process."""

    model: ModelSettings
    """With one detector, in `variants`."""
    scenes: str | None = None
    """Photographs to stand before, a folder or a tar; None: drawn streets."""
    patches: str | None = None
    """Folder of patches beside the bundled ones."""
    seed: int = 0
    stream_s: float = STREAM_S
    """Seconds of a benign stream, in which five things are shown."""


def score_streams(
    scenery: Scenery, videos: Sequence[Path], benign: int, attacks: int, done: Path, *,
    workers: int = 1, progress: Callable[[TaskResult], None] = lambda finished: None,
) -> list[Stream]:  # fmt: skip
    """Return the footage, `attacks` scenes with a patch and `benign` benign streams, scored.

    What is in the folder `done` is not scored again, unless the model, the patches or the detector's settings (the
    threshold of `tight` apart) are others. Raises `UsageError`; `ModelError` or `CalibrationError` for the model.
    """
    marks = _marks(scenery)
    names = [("footage", str(video)) for video in videos]
    names += [("attack", f"{number:04}") for number in range(attacks)]
    names += [("benign", f"{number:04}") for number in range(benign)]
    tasks = []
    for kind, name in names:
        own = (*marks, f"{scenery.stream_s:g} s") if kind == "benign" else marks
        mark = fingerprint_of(Path(name), *marks) if kind == "footage" else _digest(*own)
        tasks.append(Task(f"{kind}-{name}", (scenery, kind, name), mark))
    results = map_resumably(_score, tasks, done, workers=workers, progress=progress)
    return [stream_from_json(result) for result in results]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _marks(scenery: Scenery) -> tuple[str, ...]:
    """Return all that a stream's scores depend on, files by their content. Raises as `score_streams`."""
    graph = load_radar_file(scenery.model).proto.SerializeToString(deterministic=True)
    calibration = _model(scenery.model).calibration
    settings = repr(calibration)
    if scenery.model.detectors == ("tight",):
        settings = repr(replace(calibration.tight, threshold=0.0, held_out=None))  # it is applied to the scores later
    pictures = [hashlib.sha256(patch.picture.tobytes()).hexdigest() for patch in _patches(scenery.patches)]
    scenes = Path(scenery.scenes) if scenery.scenes is not None else None
    if scenes is not None and not scenes.exists():
        raise UsageError(f"--scenes {scenes}: there is no such folder or archive of photographs")
    size = str(scenes.stat().st_size) if scenes is not None and scenes.is_file() else ""
    hashed = hashlib.sha256(graph).hexdigest()
    return (
        _VERSION,
        hashed,
        repr(scenery.model.detectors),
        settings,
        repr(pictures),
        scenes.name if scenes else "",
        size,
        str(scenery.seed),
    )


@lru_cache(maxsize=1)
def _model(settings: ModelSettings) -> LoadedModel:
    return load_model(settings)


@lru_cache(maxsize=1)
def _patches(folder: str | None) -> tuple[Patch, ...]:
    return read_patches(None if folder is None else Path(folder))


def _score(argument: tuple[Scenery, str, str]) -> dict[str, Any]:
    """Score one stream in a worker; return a `Stream` as JSON. Raises `UsageError` for a video that cannot be read."""
    cv2.setNumThreads(1)  # workers run side by side
    scenery, kind, name = argument
    model = _model(scenery.model)
    if kind == "footage":
        return asdict(_footage(name, model))
    if kind == "attack":
        return asdict(_attack(int(name), scenery, model))
    scene = benign_stream(int(name), scenery.seed, scenery.scenes, _patches(scenery.patches), scenery.stream_s)
    judged = _score_frames(_frames(scene, range(scene.frame_count or 0)), model)
    return asdict(Stream("benign", name, tuple(score for score, _ in judged), light_of(int(name))))


def _footage(name: str, model: LoadedModel) -> Stream:
    supply = FileFrames("footage", Path(name), fps=FPS)
    supply.open()
    judged: list[tuple[float, int]] = []
    try:
        while batch := supply.next_batch(_BATCH, 0.0):
            judged += _score_frames(batch, model)
    finally:
        supply.close()
    if not judged:
        raise UsageError(f"{name}: no usable frame is in it ({supply.trouble or 'it is empty'}); take it out")
    return Stream("footage", Path(name).name, tuple(score for score, _ in judged))


def _attack(number: int, scenery: Scenery, model: LoadedModel) -> Stream:
    patches = _patches(scenery.patches)
    patch = patches[number % len(patches)]
    for shown in attack_scenes(number, scenery.seed, scenery.scenes, patch, _DRAWS):
        if _works(shown, model):
            judged = _score_frames(_frames(shown.scene, range(shown.scene.frame_count or 0)), model)
            wrong = [_label(label, model) != shown.truth for _, label in judged]
            fooled = tuple(is_wrong and index >= shown.appears for index, is_wrong in enumerate(wrong))
            scores = tuple(score for score, _ in judged)
            return Stream(
                "attack", f"{number:04}", scores, light_of(number), shown.appears, fooled, patch.name, shown.how,
                round(shown.size, 3),
            )  # fmt: skip
    return Stream("attack", f"{number:04}", (), light_of(number), patch=patch.name)


def _works(shown: AttackScene, model: LoadedModel) -> bool:
    """Whether the classifier is right just before the patch comes and with its control, and wrong with the patch."""
    later = [shown.appears + probe for probe in _PROBES]
    frames = [*_frames(shown.scene, [shown.appears - 1, *later]), *_frames(shown.control, later)]
    right = [_label(label, model) == shown.truth for _, label in _score_frames(frames, model)]
    return right == [True, *(False for _ in later), *(True for _ in later)]


def _label(label: int, model: LoadedModel) -> int:
    """Return a label with everything that is no sign as `BACKGROUND`."""
    return label if model.classifier.card.labels[label] in SIGN_NAMES else BACKGROUND


def _frames(scene: Scene, indices: Iterable[int]) -> list[Frame]:
    return [Frame("scene", index, read_only(scene.render(index)), 0, 0, index / FPS) for index in indices]


def _score_frames(frames: Sequence[Frame], model: LoadedModel) -> list[tuple[float, int]]:
    """Return (score, label) of each frame. Raises `UsageError` where the classifier rejects one."""
    found = []
    for start in range(0, len(frames), _BATCH):
        for outcome in model.classifier(frames[start : start + _BATCH]):
            if isinstance(outcome, Rejected):
                raise UsageError(f"frame {outcome.frame.index} of {outcome.frame.camera}: {outcome.reason}")
            verdict = model.detectors[0](outcome)
            found.append((round(verdict.score, 4), outcome.label))
    return found


def threshold_in(scenery: Scenery) -> tuple[float, dict[str, Any]]:
    """Return what the detector's scores are held against, and which model and calibration that is; JSON-ready."""
    model = _model(scenery.model)
    card, calibration = model.classifier.card, model.calibration
    about = {
        "model": card.name,
        "model_sha256": card.model_hash,
        "calibration": {"created": calibration.created, "target_fpr": calibration.target_fpr},
        "patches": len(_patches(scenery.patches)),
    }
    return threshold_of(scenery.model.detectors[0], model), about
