"""A camera is watched to learn from it: thinned in time, bounded, and what was left out is said."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

from taintwatch.config.load import parse_config
from taintwatch.sources.source import Grab, NotYet
from taintwatch_calibration import live_frames
from taintwatch_calibration.live_frames import Seconds, camera_to_learn, planned_frames, watch_benign
from taintwatch_models.errors import BadFrame, SourceError, UsageError
from taintwatch_models.preprocessing import Preprocessing
from tests.tiny_model import write_model

AS_IT_IS = Preprocessing(size=(8, 8))
BAD, GONE, IDLE = "bad", "gone", "idle"


class Camera:
    """Gives a frame each tenth of a second of its own clock; `faults` says which are none."""

    live = True
    description = "camera"

    def __init__(self, faults: dict[int, str] | None = None) -> None:
        self.now_ns, self.opened, self._index, self._faults = 0, 0, -1, faults or {}

    def clock_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def open(self) -> None:
        self.opened += 1

    def close(self) -> None:
        pass

    def read(self) -> Grab | None:
        self._index += 1
        self.now_ns += 100_000_000
        fault = self._faults.get(self._index)
        if fault == BAD:
            raise BadFrame("torn")
        if fault == GONE:
            raise SourceError("gone")
        if fault == IDLE:
            raise NotYet
        return Grab(np.full((8, 8, 3), self._index % 250, np.uint8))


class Recording(Camera):
    live = False

    def read(self) -> Grab | None:
        grab = super().read()
        assert grab is not None
        return None if self._index >= 1200 else Grab(grab.image, self._index / 10)


def test_a_frame_is_kept_each_second_and_why_others_were_not_is_said() -> None:
    camera = Camera({5: BAD, 40: GONE, 60: IDLE})
    found = watch_benign(camera, AS_IT_IS, 2, 1.0, clock_ns=camera.clock_ns, sleep=camera.sleep)
    kept = len(found.frames.pixels)
    assert 115 <= kept <= 120
    assert camera.opened == 2
    assert (found.frames.footage, found.frames.bad, found.lost) == (True, 1, 1)
    assert found.read == kept + found.early + found.frames.bad
    assert found.sentence() == (
        f"kept {kept} of {found.read} frames: {found.early} came before the next was due (one every 1 s), "
        "1 could not be used; the camera was lost 1 time"
    )


def test_of_a_recording_its_own_time_counts() -> None:
    found = watch_benign(Recording(), AS_IT_IS, 60, 1.0, clock_ns=lambda: 0)
    assert len(found.frames.pixels) == 120
    assert found.read == 1200


def test_a_camera_that_stays_away_ends_with_the_time() -> None:
    camera = Camera(dict.fromkeys(range(1, 10000), GONE))
    found = watch_benign(camera, AS_IT_IS, 2, 1.0, clock_ns=camera.clock_ns, sleep=camera.sleep)
    assert len(found.frames.pixels) == 1
    assert found.lost > 50


@pytest.mark.parametrize(("minutes", "every", "words"), [(1, 1, "are 60 frames, and at least"), (1000, 1, "at most")])
def test_too_few_and_too_many_are_refused_before_anything_is_watched(minutes: float, every: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        planned_frames(minutes, every)
    assert planned_frames(30, 1) == 1800


def test_times_have_units() -> None:
    assert [Seconds().convert(text, None, None) for text in ("500ms", "1s", "2m", "0.25")] == [0.5, 1.0, 120.0, 0.25]
    for wrong in ("1h", "s", "-1s", "nan"):
        with pytest.raises(click.BadParameter, match="no time like"):
            Seconds().convert(wrong, None, None)


def test_a_camera_of_a_configuration_is_learnt_where_its_daemon_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "tiny.onnx")
    text = f'[model]\npath = "{model}"\n[learn]\nfolder = "{tmp_path}/state"\n'
    text += '[[camera]]\nname = "door"\nsource = "rtsp://camera.example/"\n'
    monkeypatch.setattr(live_frames, "load_config", lambda path: parse_config(text, str(path), tmp_path))
    found = camera_to_learn(tmp_path / "site.toml", "door")
    assert found.settings.path == str(model)
    assert found.reference("ab" * 32).parent.parent.is_relative_to(tmp_path / "state")
    with pytest.raises(UsageError, match="has no camera 'gate'; it has: door"):
        camera_to_learn(tmp_path / "site.toml", "gate")
