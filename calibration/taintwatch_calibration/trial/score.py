"""Clips through the classifier, its detectors and the vote, as the daemon would see them; one process for each core."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from taintwatch.footage.processes import Task, fingerprint_of
from taintwatch.footage.task_map import TaskResult, map_resumably
from taintwatch.sources.source import read_through
from taintwatch.sources.video import VideoSource
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Voter
from taintwatch_calibration.camera_model.pinhole_camera import CameraPose
from taintwatch_calibration.json_file import from_json
from taintwatch_calibration.machine import machine
from taintwatch_calibration.trial.clips import ClipMetadata, PoseRow, pose_during, read_clip, read_poses
from taintwatch_calibration.trial.markers import MarkerFinder
from taintwatch_calibration.trial.overlay import as_data_uri, draw_example
from taintwatch_calibration.trial.scored import ScoredClip, Trial
from taintwatch_models.classifier import Rejected
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import LoadedModel, load_model
from taintwatch_models.model_files import ModelSettings
from taintwatch_models.records import Frame, Prediction, Verdict

__all__ = ["ScoringOptions", "score_clips"]

_BATCH = 8


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """What clips are scored with. Can be sent to another process."""

    model: ModelSettings
    k: int = 3
    n: int = 5
    """The vote: k suspicious frames among the last n."""


def score_clips(
    videos: Sequence[Path], options: ScoringOptions, done: Path | None, *,
    poses: tuple[PoseRow, ...] = (), defaults: ClipMetadata | None = None, workers: int = 0, engine: str = "processes",
    progress: Callable[[TaskResult], None] = lambda finished: None,
) -> Trial:  # fmt: skip
    """Score every video; what is in the folder `done` is not scored again.

    `defaults` stand in for the JSON beside a video where there is none. Raises `UsageError`: a video that has neither,
    or no frame with a pose in any of them; `ModelError`, `CalibrationError`.
    """
    model = _model(options.model)
    infos = [_info(video, defaults) for video in videos]
    hashes = (model.classifier.card.model_hash, repr(model.calibration))
    tasks = []
    for video, info in zip(videos, infos, strict=True):
        label_of(info.truth, model)
        label_of(info.target, model)
        rows = tuple(row for row in poses if row.video in (None, "", video.name))
        if poses and not rows and info.markers_mm is None:
            raise UsageError(f"{video}: no row of the CSV is about it; check the file names in its column 'video'")
        marks = (repr(options), repr(info), repr(rows), *hashes)
        argument = (str(video), info, options, rows)
        tasks.append(Task(str(video), argument, fingerprint_of(video, *marks)))
    results = map_resumably(_score_one, tasks, done, workers=workers, progress=progress, engine=engine)
    clips = tuple(from_json(ScoredClip, result) for result in results)
    if all(clip.poses_from == "none" for clip in clips):
        raise UsageError(f"{clips[0].video}: {_why_unplaced(clips[0].info, poses)}")
    thresholds = {detector.name: threshold_of(detector.name, model) for detector in model.detectors}
    return Trial(clips, thresholds, _settings(options, model))


def _why_unplaced(info: ClipMetadata, rows: tuple[PoseRow, ...]) -> str:
    if rows:
        return "no row of the CSV is about it; check its times and its name"
    if info.markers_mm is not None:
        return "its sheet's markers are in no picture; record them too, or give the poses in a CSV with --poses"
    return "there are neither markers (--sheet) nor a CSV (--poses) to tell distance and angle from; give one"


def threshold_of(detector: str, model: LoadedModel) -> float:
    """Return what a detector's score is held against."""
    if detector == "tight":
        return model.calibration.tight.threshold
    if detector == "paper":
        return float(model.calibration.paper.rank_change)
    if detector == "joint" and model.calibration.combination is not None:
        return model.calibration.combination.threshold
    return 0.0  # cmag's score is the largest excess over its limits


def label_of(label: str | int | None, model: LoadedModel) -> int | None:
    """Return a label's number, by its name or number. Raises `UsageError` for one that the model has not."""
    names = model.classifier.card.labels
    if label is None:
        return None
    if isinstance(label, int) and 0 <= label < len(names):
        return label
    if label in names:
        return names.index(str(label))
    raise UsageError(f"the model has no label {label!r}; give its name, or a number from 0 to {len(names) - 1}")


def _info(video: Path, defaults: ClipMetadata | None) -> ClipMetadata:
    found = read_clip(video)
    if found is not None:
        return found
    if defaults is None:
        raise UsageError(
            f"{video}: nothing says what is in this clip; give --condition (and --truth), or record it with "
            "`taintwatch trial record`"
        )
    return defaults


@lru_cache(maxsize=1)
def _model(settings: ModelSettings) -> LoadedModel:
    return load_model(settings)


def _score_one(argument: tuple[str, ClipMetadata, ScoringOptions, tuple[PoseRow, ...]]) -> dict[str, Any]:
    """Score one clip in a worker; return a `ScoredClip` as JSON."""
    name, info, options, rows = argument
    video, model = Path(name), _model(options.model)
    placed = _Placing(video, info, rows)
    truth, target = label_of(info.truth, model), label_of(info.target, model)
    clip = ScoredClip(
        name, hashlib.sha256(video.read_bytes()).hexdigest(), info, [], [], [], [], [], [], [],
        {detector.name: [] for detector in model.detectors}, [], placed.how, 0, [],
    )  # fmt: skip
    voter = Voter(KofN(options.k, options.n), detectors=(model.detectors[0].name,))
    rejected = 0
    gallery = _Gallery(info)
    for frames in _batches(video):
        for outcome in model.classifier(frames):
            if isinstance(outcome, Rejected):
                rejected += 1
                continue
            verdicts = tuple(detector(outcome) for detector in model.detectors)
            right = None if truth is None else outcome.label == truth
            pose = placed(outcome.frame)
            _append(clip, outcome, verdicts, pose, right, None if target is None else outcome.label == target)
            clip.raised.append(voter(outcome.frame, verdicts)[-1].raised)
            gallery.look(outcome, verdicts, pose, right)
    true = placed.true_poses()
    if true is not None:
        distances = [None if pose is None else round(pose.distance_m, 4) for pose in true]
        angles = [None if pose is None else round(pose.angle_deg, 2) for pose in true]
        clip = replace(clip, distance_m=distances, angle_deg=angles)
    how = placed.how if placed.found else "none"
    return asdict(replace(clip, rejected=rejected, poses_from=how, examples=gallery.pictures()))


def _append(
    clip: ScoredClip, outcome: Prediction, verdicts: Sequence[Verdict], pose: CameraPose | None,
    right: bool | None, hit: bool | None,
) -> None:  # fmt: skip
    time_s = float(outcome.frame.media_s or 0.0)
    clip.time_s.append(round(time_s, 4))
    clip.attacked.append(clip.info.attacked(time_s))
    clip.distance_m.append(None if pose is None else round(pose.distance_m, 4))
    clip.angle_deg.append(None if pose is None else round(pose.angle_deg, 2))
    clip.labels.append(outcome.label_name)
    clip.right.append(right)
    clip.hit.append(hit)
    for verdict in verdicts:
        clip.scores[verdict.detector].append(round(verdict.score, 5))


def _batches(video: Path) -> Iterator[list[Frame]]:
    batch = []
    for index, grab in enumerate(read_through(VideoSource(video))):
        time_s = grab.media_s if grab.media_s is not None else index / 25
        batch.append(Frame(video.name, index, grab.image, round(time_s * 1e9), 0, time_s))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _Placing:
    """Where the camera stands in each frame: by the CSV, the markers, or as planned."""

    def __init__(self, video: Path, info: ClipMetadata, rows: tuple[PoseRow, ...]) -> None:
        self._video, self._info, self._rows = video, info, rows
        self._finder = None if info.markers_mm is None else MarkerFinder(info.markers_mm, info.fov_deg)
        self.how = "csv" if rows else "markers" if self._finder is not None else "plan"
        self._placed = 0
        self._moments: list[float] = []

    def __call__(self, frame: Frame) -> CameraPose | None:
        if self._rows:
            pose = pose_during(self._rows, self._video.name, frame.media_s or 0.0)
        elif self._finder is not None:
            pose = self._finder.pose(frame.image)
        else:
            cell = self._info.cell
            pose = None if cell is None else CameraPose(cell.distance_m, cell.angle_deg)
        self._placed += pose is not None
        self._moments.append(frame.media_s or 0.0)
        return pose

    def true_poses(self) -> list[CameraPose | None] | None:
        """Return the poses of NAME.truth.csv beside a simulated clip, where no marker was seen in any frame."""
        path = self._video.with_suffix(".truth.csv")
        if self._placed or self.how != "markers" or not path.is_file():
            return None
        rows = read_poses(path)
        poses = [pose_during(rows, self._video.name, moment) for moment in self._moments]
        self._placed = sum(pose is not None for pose in poses)
        self.how = "truth" if self._placed else self.how
        return poses if self._placed else None

    @property
    def found(self) -> bool:
        """Whether any frame had a pose."""
        return self._placed > 0


class _Gallery:
    """Keeps the most telling frames of a clip: the first one fooled, and the middle one; before them the first."""

    def __init__(self, info: ClipMetadata) -> None:
        self._info = info
        self._kept: dict[str, tuple[float, Any]] = {}

    def look(self, p: Prediction, verdicts: Sequence[Verdict], pose: CameraPose | None, right: bool | None) -> None:
        time_s = float(p.frame.media_s or 0.0)
        attacked = self._info.attacked(time_s)
        told = any(verdict.suspicious for verdict in verdicts[:1])
        wanted = {"first": not self._kept}
        if attacked:
            wanted |= {"found": right is False and told, "missed": right is False and not told}
        else:
            wanted |= {"false": told}
        for name, is_one in wanted.items():
            if is_one and name not in self._kept:
                fooled = None if right is None else not right
                picture = draw_example(p, verdicts, pose, fooled=fooled, attacked=attacked)
                self._kept[name] = (round(time_s, 3), as_data_uri(picture))

    def pictures(self) -> list[tuple[float, str]]:
        chosen = [self._kept[name] for name in ("found", "missed", "false") if name in self._kept]
        return chosen or [self._kept["first"]] if self._kept else []


def _settings(options: ScoringOptions, model: LoadedModel) -> dict[str, Any]:
    card, calibration = model.classifier.card, model.calibration
    return {
        "model": card.name,
        "model_sha256": card.model_hash,
        "provider": card.provider,
        "calibrated": calibration.calibrated,
        "calibration": {"benign": calibration.benign, "target_fpr": calibration.target_fpr},
        "calibration_sha256": hashlib.sha256(repr(calibration).encode()).hexdigest(),
        "vote": {"policy": "k-of-n", "k": options.k, "n": options.n, "detector": model.detectors[0].name},
        "machine": machine(),
    }
