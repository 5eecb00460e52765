"""`taintwatch run` as a process: from a video file to alerts on a socket."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.system.program import PATIENCE_S, finish, records, start, taintwatch
from tests.tiny_model import footage, write_model, write_video

FRAMES = 60
ATTACKED = range(20, 40)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "walk.mp4", footage(FRAMES, ATTACKED))


@pytest.fixture(scope="module")
def attacked_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "attack.mp4", footage(20, range(20)))


def test_a_video_with_an_attack_gives_one_alert_at_its_place_and_a_true_summary(model: Path, video: Path) -> None:
    done = taintwatch("run", "--source", video, "--model", model, "--json", "--no-publish")
    assert done.returncode == 0, done.stderr
    started, *middle, summary = records(done.stdout)
    assert started["kind"] == "started"
    assert started["provider"] == summary["provider"] == "CPUExecutionProvider"
    alerts = [record for record in middle if record["kind"] == "alert"]
    assert [alerts[0]["state"], alerts[-1]["state"]] == ["raised", "cleared"]
    assert len({alert["event_id"] for alert in alerts}) == 1
    assert alerts[0]["label_name"] == "toaster"
    assert alerts[0]["recovered_name"] == "scene"
    assert ATTACKED.start <= alerts[0]["frame_index"] < ATTACKED.start + 10
    assert alerts[-1]["frame_index"] >= ATTACKED.stop
    assert summary["kind"] == "summary"
    assert {key: summary[key] for key in ("frames", "alerts", "drops", "bad_frames", "rejected", "ending")} == {
        "frames": FRAMES,
        "alerts": 1,
        "drops": 0,
        "bad_frames": 0,
        "rejected": 0,
        "ending": "ended",
    }
    assert summary["fps"] > 0


def test_for_people_it_prints_a_line_for_each_alert_and_the_rate_at_the_end(model: Path, video: Path) -> None:
    done = taintwatch("run", "--source", f"door={video}", "--model", model, "--no-publish")
    assert done.returncode == 0, done.stderr
    *alerts, last = done.stdout.splitlines()
    assert "door  RAISED   toaster" in alerts[0]
    assert "without the region scene" in alerts[0]
    assert "door  CLEARED" in alerts[-1]
    assert last.startswith(f"watched {FRAMES} frames to the end in ")
    assert "frames/s on CPUExecutionProvider, 1 alert," in last


def test_quiet_prints_alerts_and_nothing_else(model: Path, video: Path) -> None:
    done = taintwatch("run", "--source", video, "--model", model, "--no-publish", "--quiet")
    assert all("RAISED" in line or "UPDATED" in line or "CLEARED" in line for line in done.stdout.splitlines())
    assert "RAISED" in done.stdout


def test_it_ends_after_exactly_as_many_frames_as_asked_for(model: Path, video: Path) -> None:
    done = taintwatch(
        "run", "--source", video, "--loop", "--model", model, "--json", "--no-publish", "--max-frames", "75"
    )
    summary = records(done.stdout)[-1]
    assert (summary["frames"], summary["ending"]) == (75, "limit")


def test_two_sources_are_watched_together_and_alert_apart(model: Path, video: Path) -> None:
    sources = ("--source", f"left={video}", "--source", f"right={video}")
    done = taintwatch("run", *sources, "--model", model, "--json", "--no-publish")
    raised = [record["camera"] for record in records(done.stdout) if record.get("state") == "raised"]
    assert sorted(raised) == ["left", "right"]
    assert records(done.stdout)[-1]["frames"] == 2 * FRAMES


def test_a_configuration_file_is_followed_and_flags_override_it(model: Path, video: Path, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        f'[model]\npath = "{model}"\n[[camera]]\nname = "gate"\nsource = "{video}"\n'
        "[publish]\nenabled = false\n[limits]\nmax_frames = 5\n"
    )
    summary = records(taintwatch("run", "--config", file, "--json").stdout)[-1]
    assert summary["frames"] == 5
    summary = records(taintwatch("run", "--config", file, "--json", "--max-frames", "7").stdout)[-1]
    assert summary["frames"] == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_clears_the_alert(
    model: Path, attacked_video: Path, number: signal.Signals
) -> None:
    with start("run", "--source", attacked_video, "--loop", "--model", model, "--json", "--no-publish") as process:
        wait_for(process, "alert")
        process.send_signal(number)
        out, err = finish(process)
    *_, cleared, summary = records(out)
    assert process.returncode == 0, err
    assert (cleared["kind"], cleared["state"]) == ("alert", "cleared")
    assert (summary["kind"], summary["ending"]) == ("summary", "stopped")


def test_a_subscriber_gets_the_alert_the_status_and_the_clearing_at_the_end(model: Path, attacked_video: Path) -> None:
    arguments = ("--bind", "tcp://127.0.0.1:*", "--config", status_often(attacked_video.parent))
    with start("run", "--source", attacked_video, "--loop", "--model", model, "--json", *arguments) as process:
        endpoint = wait_for(process, "started")["endpoint"]
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.subscribe(b"taintwatch/v1/")
            socket.connect(endpoint)
            topics = topics_until(socket, "/alert/")
            process.send_signal(signal.SIGTERM)
            finish(process)
            messages = list(messages_to_the_end(socket))
    assert any(topic.endswith("/status/") for topic in topics)
    alerts = [message["body"]["state"] for topic, message in messages if topic.endswith("/alert/")]
    assert alerts[-1] == "cleared"
    states = [message["body"]["state"] for topic, message in messages if topic.endswith("/status/")]
    assert states[-1] == "stopped"


def test_onnx_models_run_without_torch_being_imported(model: Path, video: Path) -> None:
    code = (
        "import sys; from taintwatch.cli.main import main\n"
        f"assert main(['run', '--source', {str(video)!r}, '--model', {str(model)!r}, '--no-publish', '--quiet']) == 0\n"
        "assert 'onnxruntime' in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr


@pytest.mark.shared
def test_real_footage_is_watched_with_a_real_classifier(shared_data: Path) -> None:
    video = shared_data / "videos" / "one-by-one-person-detection.mp4"
    model = shared_data / "models" / "mobilenet_v2_imagenet.onnx"
    done = taintwatch("run", "--source", video, "--model", model, "--json", "--no-publish", "--max-frames", "25")
    assert done.returncode == 0, done.stderr
    summary = records(done.stdout)[-1]
    assert (summary["frames"], summary["rejected"], summary["bad_frames"]) == (25, 0, 0)
    assert summary["fps"] > 0


def status_often(folder: Path) -> Path:
    file = folder / "often.toml"
    file.write_text("[publish]\nstatus_s = 0.1\n")
    return file


def wait_for(process: subprocess.Popen[str], kind: str) -> dict[str, Any]:
    """Read the program's output up to the first record of this kind."""
    assert process.stdout is not None
    for line in process.stdout:
        record: dict[str, Any] = json.loads(line)
        if record["kind"] == kind:
            return record
    raise AssertionError(f"the program ended without a record {kind!r}: {process.communicate()[1]}")


def messages_to_the_end(socket: zmq.Socket[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Take the messages of a daemon that has ended, up to its last heartbeat."""
    stopped = False
    while True:
        assert socket.poll(30_000), "the last status, or a heartbeat after it, never came"
        topic, text = socket.recv_multipart()[:2]
        yield topic.decode(), json.loads(text)
        stopped |= json.loads(text)["body"].get("state") == "stopped"
        if stopped and topic.endswith(b"/heartbeat/"):
            return


def topics_until(socket: zmq.Socket[bytes], part: str) -> list[str]:
    """Take messages until both a status and one whose topic has `part` have come; return the topics."""
    topics: list[str] = []
    while not (any(part in topic for topic in topics) and any("/status/" in topic for topic in topics)):
        assert socket.poll(30_000), f"only {topics} came"
        topics.append(socket.recv_multipart()[0].decode())
    return topics
