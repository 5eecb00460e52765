"""`taintwatch run` on a folder of videos: its files are spread over workers, and told of in their order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from taintwatch.alerts.messages import MessageError
from taintwatch.alerts.publisher import Publisher
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.config.digest import config_hash
from taintwatch.config.sections import Config
from taintwatch.footage.file_worker import FileJob, watch_file
from taintwatch.footage.processes import fingerprint_of
from taintwatch.footage.task_map import Task, TaskResult, map_resumably
from taintwatch.records import Alert, AlertState
from taintwatch.sources.images import list_folder
from taintwatch.sources.video import VIDEO_SUFFIXES
from taintwatch.status import Ending, Reporter, RunStatus, Summary
from taintwatch_models.errors import SourceError, UsageError
from taintwatch_models.loading import LoadedModel

__all__ = ["FootageRun", "footage_of"]

_log = logging.getLogger(__name__)

_ALERT = TypeAdapter(Alert)


def footage_of(config: Config) -> tuple[Path, ...]:
    """Return the videos that are watched side by side; none where the run has to go through one service.

    That is so for anything but one folder of at least two videos, and where somebody looks at the run as it goes: the
    page, metrics, evidence, a loop, real time, a number of frames. Raises `UsageError` where workers, an engine or a
    folder of results are asked for then.
    """
    wanted = bool(config.footage.model_fields_set)
    files: tuple[Path, ...] = ()
    if len(config.camera) == 1:
        folder = Path(config.camera[0].source).expanduser()
        if folder.is_dir():
            content = list_folder(folder, VIDEO_SUFFIXES)
            files = content.videos if content.watches_videos else ()
    if len(files) < 2:
        if wanted:
            raise UsageError("workers, engine and done are for a --source that is one folder of at least two videos")
        return ()
    live = _what_needs_one_process(config)
    if live and wanted:
        raise UsageError(f"{live} needs all frames in one process; leave it out, or leave out workers, engine and done")
    return () if live else files


def _what_needs_one_process(config: Config) -> str | None:
    camera = config.camera[0]
    reasons = {
        "the detector face": "face" in config.detectors,
        "--follow": camera.follow,
        "--loop": camera.loop,
        "realtime": camera.realtime,
        "--max-frames": config.limits.max_frames is not None,
        "[evidence]": config.evidence.folder is not None,
        "the page": config.web.bind is not None,
        "[metrics]": config.metrics.enabled,
    }
    return next((name for name, asked in reasons.items() if asked), None)


NO_MATTER: dict[str, Any] = {
    **dict.fromkeys(("evidence", "footage", "metrics", "site", "web"), True),
    "publish": {"bind", "curve", "enabled", "heartbeat_s", "status_s"},
}
"""Settings that what a worker finds in a file does not depend on."""


class FootageRun:
    """Watches files, publishes and reports their alerts in the files' order as if they were one after the other."""

    def __init__(
        self,
        config: Config,
        files: Sequence[Path],
        reporter: Reporter,
        model: LoadedModel,
        publisher: Publisher | None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model` was loaded here to see that it works; the workers load it for themselves."""
        self._config, self._files = config, tuple(files)
        self._reporter, self._publisher = reporter, publisher
        self._card, self._calibration = model.classifier.card, model.calibration
        self._stopping, self._clock = stopping, clock
        self._start = clock()
        self._waiting: dict[int, dict[str, Any]] = {}
        """Files that ended before one that comes before them."""
        self._told = 0
        self._shift_s, self._shift_frames = 0.0, 0
        self._counts = {"frames": 0, "rejected": 0, "unchecked": 0, "bad": 0, "skipped": 0}
        self._alerts = 0
        self._watched_s = 0.0
        self._fresh = 0
        """Frames that this run watched, those of an earlier one left out."""

    def run(self) -> Summary:
        """Watch to the end, or until told to stop. Raises `SourceError` where no file could be read at all."""
        folder = Path(self._config.camera[0].source).expanduser()
        endpoint = None if self._publisher is None else self._publisher.endpoint
        for said in list_folder(folder, VIDEO_SUFFIXES).left_out():
            _log.warning("%s: %s", folder, said)
        self._reporter.started(self._card, (self._status(CameraState.RUNNING),), endpoint)
        self._reporter.progress(self._run_status())
        # What is worked on side by side must not contend for the same cores.
        threads = self._config.model.threads or 1
        config = self._config.model_copy(update={"model": self._config.model.model_copy(update={"threads": threads})})
        text = config.model_dump_json(exclude=NO_MATTER)
        stamp = f"{text} {self._card.model_hash} {self._calibration}"
        tasks = [
            Task(str(file.relative_to(folder)), FileJob(str(file.resolve()), text), fingerprint_of(file, stamp))
            for file in self._files
        ]
        done = self._config.footage.done
        results = map_resumably(
            watch_file,
            tasks,
            None if done is None else Path(done),
            workers=self._config.footage.workers,
            progress=self._take,
            engine=self._config.footage.engine,
            stopping=self._stopping,
        )
        complete = all(result is not None for result in results)
        if complete and self._counts["frames"] == 0:
            raise SourceError(f"{folder}: none of its {len(self._files)} videos can be decoded")
        summary = self._summary(Ending.ENDED if complete else Ending.STOPPED)
        self._reporter.finished(summary)
        return summary

    def _take(self, finished: TaskResult) -> None:
        self._waiting[finished.index] = finished.result
        if finished.result["trouble"] is not None:
            _log.warning("%s", finished.result["trouble"])
        self._watched_s += finished.result["length_s"]
        self._fresh += 0 if finished.resumed else finished.result["frames"]
        for name in self._counts:
            self._counts[name] += finished.result[name]
        while self._told in self._waiting:
            self._tell(self._waiting.pop(self._told))
            self._told += 1
        self._reporter.progress(self._run_status())

    def _tell(self, result: dict[str, Any]) -> None:
        """Publish and report a file's alerts, placed as if the files were one."""
        for values in result["alerts"]:
            alert = _ALERT.validate_python(values)
            alert = replace(
                alert,
                frame_index=alert.frame_index + self._shift_frames,
                raised_frame_index=alert.raised_frame_index + self._shift_frames,
                media_s=None if alert.media_s is None else alert.media_s + self._shift_s,
            )
            self._alerts += alert.state is AlertState.RAISED
            self._publish(alert)
            self._reporter.alert(alert)
        self._shift_s += result["length_s"]
        self._shift_frames += result["given"]

    def _publish(self, alert: Alert) -> None:
        if self._publisher is None:
            return
        try:
            self._publisher.publish_alert(alert)
        except MessageError as error:
            _log.error("alert %s was not published: %s", alert.event_id, error)

    def _status(self, state: CameraState) -> CameraStatus:
        camera = self._config.camera[0]
        where = f"{camera.source} ({len(self._files)} videos)"
        return CameraStatus(camera.name, state, where)

    def _run_status(self) -> RunStatus:
        seconds = max(self._clock() - self._start, 1e-9)
        return RunStatus(
            frames=self._counts["frames"],
            seconds=seconds,
            fps=self._fresh / seconds,
            alerts=self._alerts,
            open_alerts=0,
            drops=0,
            bad_frames=self._counts["bad"],
            rejected=self._counts["rejected"],
            inference_ms=None,
            delay_ms=None,
            media_s=self._watched_s,
            cameras=(),
            provider=self._card.provider,
            unchecked=self._counts["unchecked"],
        )

    def _summary(self, ending: Ending) -> Summary:
        seconds = max(self._clock() - self._start, 1e-9)
        return Summary(
            frames=self._counts["frames"],
            seconds=round(seconds, 3),
            fps=round(self._fresh / seconds, 2),
            alerts=self._alerts,
            drops=0,
            bad_frames=self._counts["bad"],
            rejected=self._counts["rejected"],
            provider=self._card.provider,
            model=self._card.name,
            config_hash=config_hash(self._config),
            ending=ending,
            unchecked=self._counts["unchecked"],
            skipped=self._counts["skipped"],
        )
