"""Evidence: pictures and clips, who may read them, what is removed when, and that nothing of it stops an alert."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from taintwatch.alerts.messages import Message
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.evidence import folder as folder_module
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.evidence.reader import AlertReader
from taintwatch.evidence.recorder import QUEUE, ClipSettings
from taintwatch.evidence.store import StoreError
from taintwatch.records import Alert, AlertState
from taintwatch_models.errors import ConfigError
from taintwatch_models.records import Frame, Region, read_only
from tests.alert_fakes import an_alert, an_identity

PATIENCE_S = 30.0
FPS = 10
DAY_NS = 86_400 * 10**9


def settings(folder: Path, **changes: object) -> EvidenceSettings:
    """Small and fast: clips from 0.5 s before to 0.5 s after, whatever the disk has free."""
    plain = EvidenceSettings(folder, clips=ClipSettings(0.5, 0.5, FPS, 64), min_free_mb=0, power_safe=False)
    return replace(plain, **changes)  # type: ignore[arg-type]


def frame(index: int, camera: str = "door", size: tuple[int, int] = (48, 65)) -> Frame:
    """The `index`-th at 10 a second, each a little brighter."""
    image = np.full((*size, 3), 40 + 4 * index % 200, np.uint8)
    at_ns = 10**9 + index * 10**9 // FPS
    return Frame(camera, index, read_only(image), at_ns, at_ns, index / FPS)


def raised(at: Frame, event_id: str) -> Alert:
    region = Region((10, 10, 20, 20), (((10, 10), (30, 10), (30, 30), (10, 30)),), 0.1)
    return replace(an_alert(at.camera, event_id), frame_index=at.index, region=region)


def watch(evidence: Evidence, frames: range, alerts: dict[int, str], camera: str = "door") -> None:
    """Offer frames, each once the last was taken, so that none is dropped."""
    for index in frames:
        picture = frame(index, camera)
        evidence.offer(picture, raised(picture, alerts[index]) if index in alerts else None)
        wait(lambda: not evidence._recorder._queue)


def wait(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.002)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


@pytest.fixture
def evidence(folder: Path) -> Iterator[Evidence]:
    it = Evidence(settings(folder))
    yield it
    it.close()


def save(evidence: Evidence, event_id: str, *states: AlertState, at_ns: int = 0) -> list[Message]:
    writer = MessageWriter(an_identity(f"of {event_id}"))
    alerts = [replace(an_alert(event_id=event_id, state=state), raised_wall_ns=at_ns) for state in states]
    messages = [writer.write("door", alert).message for alert in alerts]
    for message in messages:
        evidence.store.save(message)
    return messages


def test_an_alert_gets_its_frame_an_overlay_and_a_clip(evidence: Evidence, folder: Path) -> None:
    watch(evidence, range(30), {15: "e1"})
    wait(lambda: evidence._recorder.stats().clips)
    media = evidence.folder.media_of("e1")
    assert media is not None
    assert [path.name for path in media.files] == ["clip.mp4", "frame.jpg", "overlay.jpg"]
    plain, drawn = (
        cv2.imread(str(evidence.folder.root / "media" / "e1" / name)) for name in ("frame.jpg", "overlay.jpg")
    )
    assert plain is not None
    assert drawn is not None
    assert plain.shape == drawn.shape == (48, 65, 3)
    assert abs(int(plain[20, 20, 0]) - int(frame(15).image[0, 0, 0])) <= 2
    assert int(drawn[10, 20, 2]) > int(drawn[10, 20, 0]) + 40  # the polygon's upper edge is red
    assert abs(int(drawn[45, 60].mean()) - int(plain[45, 60].mean())) <= 3  # far from it nothing is drawn


def test_the_clip_of_a_camera_that_is_lost_meanwhile_is_written_all_the_same(folder: Path) -> None:
    now = [0.0]

    def a_second_later() -> bool:
        now[0] += 1.0
        return True

    evidence = Evidence(settings(folder), clock=lambda: now[0])
    watch(evidence, range(10), {8: "e1"})  # and nothing more
    assert evidence._recorder.stats().clips == 0
    wait(lambda: a_second_later() and evidence._recorder.stats().clips)
    with av.open(str(evidence.folder.root / "media" / "e1" / "clip.mp4")) as container:
        assert len(list(container.decode(video=0))) > 3
    wait(lambda: a_second_later() and not evidence._recorder._clip_buffers)  # what was seen last is let go
    evidence.close()


def test_a_clip_shows_the_seconds_before_and_after_in_their_own_time(evidence: Evidence) -> None:
    watch(evidence, range(30), {15: "e1"})
    wait(lambda: evidence._recorder.stats().clips)
    with av.open(str(evidence.folder.root / "media" / "e1" / "clip.mp4")) as container:
        pictures = list(container.decode(video=0))
    brightness = [float(picture.to_ndarray(format="gray").mean()) for picture in pictures]
    assert len(pictures) == 11  # 0.5 s before, the moment itself, 0.5 s after, at 10 a second
    assert (pictures[0].width, pictures[0].height) == (64, 48)  # 65 is odd, which no codec likes
    assert brightness == sorted(brightness)
    assert abs(brightness[0] - float(frame(10).image.mean())) < 6
    times = [float(picture.time or 0) for picture in pictures]
    assert [round(later - earlier, 2) for earlier, later in itertools.pairwise(times)] == [0.1] * 10


def test_two_cameras_have_clips_of_their_own(evidence: Evidence) -> None:
    for index in range(30):
        for camera, event_id in (("left", "l1"), ("right", "r1")):
            picture = frame(index, camera)
            evidence.offer(picture, raised(picture, event_id) if index == 10 else None)
            wait(lambda: not evidence._recorder._queue)
    wait(lambda: evidence._recorder.stats().clips == 2)
    assert {media.event_id for media in evidence.folder.all_media()} == {"l1", "r1"}


def test_a_camera_that_changes_its_resolution_still_gives_a_clip(evidence: Evidence) -> None:
    for index in range(30):
        picture = frame(index, size=(48, 65) if index < 17 else (100, 60))
        evidence.offer(picture, raised(picture, "e1") if index == 15 else None)
        wait(lambda: not evidence._recorder._queue)
    wait(lambda: evidence._recorder.stats().clips)
    with av.open(str(evidence.folder.root / "media" / "e1" / "clip.mp4")) as container:
        assert len({(picture.width, picture.height) for picture in container.decode(video=0)}) == 1
    assert evidence._recorder.stats().failures == 0


def test_a_clip_that_is_being_taken_at_the_end_is_written_as_far_as_it_goes(evidence: Evidence) -> None:
    watch(evidence, range(17), {15: "e1"})
    evidence.close()
    with av.open(str(evidence.folder.root / "media" / "e1" / "clip.mp4")) as container:
        assert len(list(container.decode(video=0))) == 7


def test_everything_is_private(evidence: Evidence, folder: Path) -> None:
    save(evidence, "e1", AlertState.RAISED)
    watch(evidence, range(30), {15: "e1"})
    wait(lambda: evidence._recorder.stats().clips)
    folders = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")] if path.is_dir()}
    assert folders == {0o700}
    assert modes(folder) == {0o600}


def test_without_images_no_picture_is_ever_written(folder: Path) -> None:
    evidence = Evidence(settings(folder, images=False))
    save(evidence, "e1", AlertState.RAISED)
    for index in range(30):
        picture = frame(index)
        evidence.offer(picture, raised(picture, "e1") if index == 15 else None)
    evidence.close()
    assert list((folder / "media").iterdir()) == []
    assert evidence.stats().recorder is None
    assert len(AlertReader(evidence.folder.history).alerts()) == 1


def test_without_clips_frame_and_overlay_are_kept(folder: Path) -> None:
    evidence = Evidence(settings(folder, clips=ClipSettings(0, 0)))
    watch(evidence, range(30), {15: "e1"})
    evidence.close()
    assert sorted(path.name for path in (folder / "media" / "e1").iterdir()) == ["frame.jpg", "overlay.jpg"]


def test_a_slow_disk_drops_frames_and_never_makes_the_pipeline_wait(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    monkeypatch.setattr(folder_module, "write_private", lambda *_: disk.wait(PATIENCE_S))
    try:
        for index in range(400):  # would take for ever if it waited: the disk does not answer
            picture = frame(index)
            evidence.offer(picture, raised(picture, f"e{index}") if index % 50 == 0 else None)
        stats = evidence._recorder.stats()
    finally:
        disk.set()
    assert stats.waiting <= QUEUE
    assert stats.dropped >= 400 - 2 * QUEUE
    wait(lambda: evidence._recorder.stats().pictures == 8)  # frames of new alerts take the place of plain ones
    assert evidence._recorder.stats().lost == 0


def test_a_picture_that_cannot_be_written_is_counted_and_the_next_one_comes(
    evidence: Evidence, caplog: pytest.LogCaptureFixture
) -> None:
    (evidence.folder.root / "media" / "bad").write_text("a file where a folder should be")
    with caplog.at_level(logging.ERROR, "taintwatch"):
        watch(evidence, range(40), {5: "bad", 25: "good", 8: "../evil"})
    wait(lambda: evidence._recorder.stats().clips)
    assert evidence.folder.media_of("good") is not None
    assert evidence._recorder.stats().failures >= 2
    assert evidence._recorder.stats().alive
    assert "a picture or clip was not kept" in caplog.text
    assert not (evidence.folder.root / "evil").exists()


def test_only_one_daemon_may_use_a_folder(evidence: Evidence, folder: Path) -> None:
    with pytest.raises(ConfigError, match="in use by another daemon"):
        Evidence(settings(folder))
    evidence.close()
    Evidence(settings(folder)).close()


def test_a_folder_that_others_can_read_is_refused_unless_it_is_empty(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    for path in (empty, full):
        path.mkdir()
        path.chmod(0o755)
    (full / "something").touch()
    Evidence(settings(empty)).close()
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    with pytest.raises(ConfigError, match=r"can be read by other users. Run: chmod 700"):
        Evidence(settings(full))
    assert stat.S_IMODE(full.stat().st_mode) == 0o755
    with pytest.raises(ConfigError, match="cannot be used: Not a directory"):
        Evidence(settings(full / "something" / "below"))


def test_what_a_killed_daemon_left_open_ends_as_interrupted(folder: Path) -> None:
    first = Evidence(settings(folder))
    save(first, "over", AlertState.RAISED, AlertState.CLEARED)
    (_, updated) = save(first, "open", AlertState.RAISED, AlertState.UPDATED)
    (folder / "media" / "open").mkdir()
    (folder / "media" / "open" / "clip.mp4.part").touch()
    first.close()
    second = Evidence(settings(folder))
    (ended,) = second.interrupted()
    assert isinstance(updated.body, Alert)
    assert ended == replace(updated.body, state=AlertState.INTERRUPTED)
    second.store.save(MessageWriter(an_identity("second")).write("door", ended).message)
    assert second.interrupted() == ()
    second.close()
    kept = {alert.event_id: alert.state for alert in AlertReader(second.folder.history).alerts()}
    assert kept == {"over": "cleared", "open": "interrupted"}
    assert list((folder / "media" / "open").iterdir()) == []


def test_old_alerts_go_with_their_pictures_but_never_an_open_one(folder: Path) -> None:
    now = 100 * DAY_NS
    evidence = Evidence(settings(folder, keep_days=30), wall_ns=lambda: now)
    save(evidence, "old", AlertState.RAISED, AlertState.CLEARED, at_ns=now - 31 * DAY_NS)
    save(evidence, "old-open", AlertState.RAISED, at_ns=now - 90 * DAY_NS)
    save(evidence, "new", AlertState.RAISED, AlertState.CLEARED, at_ns=now - 29 * DAY_NS)
    for event_id in ("old", "old-open", "new"):
        put(evidence, event_id, 1000)
    evidence._retention.tidy()
    assert {alert.event_id for alert in AlertReader(evidence.folder.history).alerts()} == {"old-open", "new"}
    assert {media.event_id for media in evidence.folder.all_media()} == {"old-open", "new"}
    stats = evidence.stats()
    assert stats.removed == 1
    assert stats.holdings is not None
    assert (stats.holdings.alerts, stats.holdings.bytes) == (2, evidence.folder.bytes_used())
    assert stats.holdings.free_bytes > 0
    evidence.close()


def put(evidence: Evidence, event_id: str, size: int) -> None:
    (evidence.folder.root / "media" / event_id).mkdir(mode=0o700)
    (evidence.folder.root / "media" / event_id / "frame.jpg").write_bytes(bytes(size))


def test_beyond_the_bytes_pictures_of_repeats_go_first_and_records_stay(folder: Path) -> None:
    evidence = Evidence(settings(folder, max_mb=2.0, keep_days=36_500), wall_ns=lambda: 100)
    for number in range(5):
        save(evidence, f"e{number}", AlertState.RAISED, AlertState.CLEARED, at_ns=number)
        put(evidence, f"e{number}", 600_000)
    evidence._retention.tidy()
    left = {media.event_id for media in evidence.folder.all_media()}
    assert "e4" in left
    assert "e1" not in left
    assert evidence.folder.bytes_used() <= 2_000_000
    assert len(AlertReader(evidence.folder.history).alerts()) == 5
    evidence.close()


def test_too_little_free_space_takes_the_oldest_pictures_and_says_when_that_is_not_enough(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    free = [10_000_000]
    evidence = Evidence(settings(folder, min_free_mb=1.0), free_bytes=lambda: free[0])
    save(evidence, "old", AlertState.RAISED, AlertState.CLEARED, at_ns=time.time_ns())
    put(evidence, "old", 5000)
    watch(evidence, range(10), {5: "before"})
    free[0] = 900_000
    with caplog.at_level(logging.ERROR, "taintwatch"):
        watch(evidence, range(10, 60), {12: "full", 40: "full2"})
    stats = evidence._recorder.stats()
    assert evidence.folder.media_of("old") is None
    assert evidence.folder.media_of("full") is None
    assert stats.without_room >= 2
    assert sum("pictures are left out" in record.getMessage() for record in caplog.records) == 1
    free[0] = 10_000_000
    watch(evidence, range(60, 70), {65: "after"})
    wait(lambda: evidence.folder.media_of("after"))
    evidence.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where we may make one."""
    path = tmp_path / "disk"
    path.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], check=False).returncode
    ):
        pytest.skip("only root can make a small disk")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)


def test_a_full_disk_stops_no_alert_and_what_waits_is_kept_when_there_is_room_again(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evidence = Evidence(settings(small_disk / "evidence"))
    ballast = small_disk / "ballast"
    with caplog.at_level(logging.INFO, "taintwatch"):
        writer = MessageWriter(an_identity())
        saved = [writer.write("door", an_alert(event_id=f"e{number}")).message for number in range(300)]
        evidence.store.save(saved[0])
        fill(ballast)
        failed = 0
        for message in saved[1:]:
            try:
                evidence.store.save(message)
            except StoreError:
                failed += 1
        watch(evidence, range(30), {15: "e1"})
        assert failed > 0
        assert "full" in str(evidence.stats().trouble)
        ballast.unlink()
        wait(lambda: evidence.stats().trouble is None)  # by itself
    assert evidence.stats().lost == 0
    evidence.close()
    kept = {alert.event_id for alert in AlertReader(evidence.folder.history).alerts()}
    assert kept == {f"e{number}" for number in range(300)}
    assert "kept again" in caplog.text
