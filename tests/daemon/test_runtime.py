"""The owner of what runs: a change is seen by everybody who asks it, at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.outbox import Identity
from taintwatch.alerts.publisher import Publisher
from taintwatch.assembly import second_looks
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.config.load import parse_config
from taintwatch.detection_stack import ConfigurationChange, DetectionStack
from taintwatch.runtime import Runtime
from taintwatch.vote.voter import Voter
from tests.alert_fakes import an_identity
from tests.daemon.test_service import FakeSource
from tests.fakes import FakeClassifier, FakeDetector

OLD, NEW = parse_config("", "old.toml"), parse_config("[vote]\nk = 2\n", "new.toml")


class RecordingPublisher:
    """Keeps what it is told to say of the daemon, and which cameras it is to expect."""

    endpoint = "inproc://fake"

    def __init__(self) -> None:
        self.identities: list[Identity] = []
        self.expected: list[str] = []

    def identify(self, identity: Identity) -> None:
        self.identities.append(identity)

    def expect_cameras(self, names: list[str]) -> None:
        self.expected += names


def a_stack(**more: Any) -> DetectionStack:
    return DetectionStack(FakeClassifier(), (FakeDetector(),), Voter(), AlertTracker(), **more)


def a_camera(name: str) -> Camera:
    return Camera(name, FakeSource([]))


def a_runtime(detection: DetectionStack) -> tuple[Runtime, RecordingPublisher]:
    publisher = RecordingPublisher()
    identity = replace(an_identity(), provider="CPUExecutionProvider", config_hash="old")
    cameras = CameraSet([a_camera("door"), a_camera("yard")])
    return Runtime(OLD, cameras, detection, cast(Publisher, publisher), identity), publisher


def test_a_change_exchanges_configuration_stack_cameras_and_identity_together() -> None:
    released: list[str] = []
    runtime, publisher = a_runtime(a_stack(release=lambda: released.append("old")))
    new, identity = a_stack(), replace(cast(Identity, runtime.identity), config_hash="new")
    removed = runtime.apply(ConfigurationChange(NEW, ("yard",), (a_camera("gate"),), new, identity))
    assert [camera.name for camera in removed] == ["yard"]
    assert [camera.camera for camera in runtime.cameras.statuses()] == ["door", "gate"]
    assert (runtime.config, runtime.detection, released) == (NEW, new, ["old"])
    assert ([each.config_hash for each in publisher.identities], publisher.expected) == (["new"], ["gate"])


def test_a_change_of_cameras_alone_keeps_the_stack() -> None:
    released: list[str] = []
    old = a_stack(release=lambda: released.append("old"))
    runtime, _ = a_runtime(old)
    runtime.apply(ConfigurationChange(NEW, ("yard",), (), None, runtime.identity))
    assert (runtime.detection, released) == (old, [])


def test_messages_say_when_the_model_is_degraded_and_only_when_that_changes() -> None:
    reason: list[str | None] = [None]
    runtime, publisher = a_runtime(a_stack(degraded=lambda: reason[0]))
    runtime.identify()
    assert publisher.identities == []
    reason[0] = "the GPU was lost"
    runtime.identify()
    runtime.identify()
    assert [each.degraded for each in publisher.identities] == [True]


@pytest.mark.parametrize(
    ("sources", "share"),
    [(["rtsp://one/", "sim:"], 0.2), (["rtsp://one/", "{folder}"], None), (["sim:?pace=0"], None)],
)
def test_second_looks_are_shared_and_bounded_before_live_cameras_alone(
    sources: list[str], share: float | None, tmp_path: Path
) -> None:
    cameras = "".join(
        f'[[camera]]\nname = "camera{index}"\nsource = "{source.format(folder=tmp_path)}"\n'
        for index, source in enumerate(sources)
    )
    found = second_looks(parse_config(f"{cameras}[limits]\nsecond_look_share = 0.2\n", "site.toml"))
    assert (None if found is None else found.share) == share
