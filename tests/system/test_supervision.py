"""`taintwatch run` under a service manager: a real process, a real notification socket, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.notify_socket import NotifySocket
from tests.ports import free_port
from tests.system.program import ENVIRONMENT, PATIENCE_S, PROGRAM
from tests.tiny_model import footage, write_model, write_video

WATCHDOG_USEC = "4000000"

# The real program, whose inference is made to hang once it has seen a few frames.
HANGING = """
import sys, time
from taintwatch.cli.main import main
from taintwatch_models.radar_classifier import RadarClassifier
classify, frames = RadarClassifier.__call__, []
def driver_that_never_returns(self, batch):
    frames.extend(batch)
    if len(frames) > 20:
        time.sleep(600)
    return classify(self, batch)
RadarClassifier.__call__ = driver_that_never_returns
sys.exit(main(sys.argv[1:]))
"""


class Managed:
    """The program as a service manager would run it."""

    def __init__(self, folder: Path, manager: NotifySocket) -> None:
        self.manager = manager
        self.file = folder / "site.toml"
        self._model = write_model(folder / "tiny.onnx")
        self._video = write_video(folder / "walk.mp4", footage(50, range(20, 30)))
        self.process: subprocess.Popen[str]
        self.configure("door")

    def configure(self, *cameras: str, more: str = "") -> None:
        text = (
            f'[learn]\nenabled = false\n[model]\npath = "{self._model}"\n[publish]\nbind = "tcp://127.0.0.1:*"\n{more}'
        )
        for name in cameras:
            text += f'[[camera]]\nname = "{name}"\nsource = "{self._video}"\nloop = true\nrealtime = true\n'
        self.file.write_text(text)

    @contextmanager
    def running(self, *program: str) -> Iterator[None]:
        command = program or (str(PROGRAM),)
        environment = {"NOTIFY_SOCKET": self.manager.address, "WATCHDOG_USEC": WATCHDOG_USEC}
        self.process = subprocess.Popen(
            [*command, "run", "--config", str(self.file), "--quiet", "--log-json"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | environment,
        )
        with self.process:
            try:
                yield
            finally:
                self.process.kill()

    def ready(self) -> list[dict[str, str]]:
        """Wait until it says that it is ready; return what it said before, and that."""
        return self.manager.until(lambda message: message.get("READY") == "1", PATIENCE_S)

    def status(self, part: str) -> str:
        """Wait for a status line that holds `part`."""
        return self.manager.until(lambda message: part in message.get("STATUS", ""), PATIENCE_S)[-1]["STATUS"]

    def stop(self) -> str:
        """End it as a service manager does; return what it logged."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=PATIENCE_S)[1]


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[Managed]:
    with NotifySocket(tmp_path / "notify") as manager:
        yield Managed(tmp_path, manager)


def test_it_asks_for_time_says_when_it_is_ready_how_it_goes_and_that_it_stops(managed: Managed) -> None:
    with managed.running():
        before = managed.ready()[:-1]
        assert before
        assert all(set(message) == {"EXTEND_TIMEOUT_USEC"} for message in before)
        managed.manager.until(lambda message: message.get("WATCHDOG") == "1", PATIENCE_S)
        assert managed.status("1 of 1 cameras running").endswith("open alerts")
        managed.process.send_signal(signal.SIGTERM)
        managed.manager.until(lambda message: message.get("STOPPING") == "1", PATIENCE_S)  # its queue is short
        managed.process.communicate(timeout=PATIENCE_S)
        assert managed.process.returncode == 0


def test_it_is_ready_though_no_camera_is(managed: Managed) -> None:
    managed.file.write_text(managed.file.read_text().partition("[[camera]]")[0] + UNREACHABLE)
    with managed.running():
        managed.ready()
        status = managed.status("gate lost")
        assert "0 of 1 cameras running" in status
        assert "hunter2" not in status
        managed.manager.until(lambda message: message.get("WATCHDOG") == "1", PATIENCE_S)
        log = managed.stop()
    assert "hunter2" not in log


UNREACHABLE = '[[camera]]\nname = "gate"\nsource = "rtsp://admin:hunter2@127.0.0.1:1/live"\n'


def test_hanging_up_reloads_and_a_mistake_leaves_all_as_it_was(managed: Managed) -> None:
    with managed.running():
        managed.ready()
        managed.status("1 of 1 cameras running")
        managed.configure("door", "yard")
        managed.process.send_signal(signal.SIGHUP)
        *_, ready = managed.manager.until(lambda message: message.get("STATUS") == "reloaded", PATIENCE_S)
        assert ready["READY"] == "1"
        managed.status("2 of 2 cameras running")
        managed.configure("door", "yard", more="[vote]\nk = -1\n")
        managed.process.send_signal(signal.SIGHUP)
        refusal = managed.manager.until(lambda message: "refused" in message.get("STATUS", ""), PATIENCE_S)[-1]
        assert refusal["READY"] == "1"
        assert "site.toml, line" in refusal["STATUS"]
        standing = managed.status("2 of 2 cameras running")
        assert "reload refused: site.toml, line" in standing  # for as long as that is so
        managed.configure("door", "yard")
        managed.process.send_signal(signal.SIGHUP)
        managed.manager.until(lambda message: message.get("STATUS") == "reloaded", PATIENCE_S)
        assert "refused" not in managed.status("2 of 2 cameras running")
        log = managed.stop()
    assert "the old one stays: site.toml, line" in log
    assert managed.process.returncode == 0


def test_an_inference_that_hangs_starves_the_watchdog_and_abort_leaves_its_traceback(managed: Managed) -> None:
    with managed.running(sys.executable, "-c", HANGING):
        managed.configure("door", more="[limits]\ninference_s = 1.0\n")
        managed.process.kill()
        managed.process.wait()
    with managed.running(sys.executable, "-c", HANGING):
        managed.ready()
        managed.manager.until(lambda message: message.get("STATUS") == "hanging: inference", PATIENCE_S)
        managed.manager.waiting()
        assert "WATCHDOG" not in {key for _ in range(2) for key in (managed.manager.next(2.5) or {})}
        managed.process.send_signal(signal.SIGABRT)  # as systemd does when it was not fed
        log = managed.process.communicate(timeout=PATIENCE_S)[1]
    assert managed.process.returncode == -signal.SIGABRT
    assert "inference hangs" in log
    assert "Fatal Python error: Aborted" in log
    assert "in driver_that_never_returns" in log


def test_metrics_are_served_while_it_runs(managed: Managed) -> None:
    managed.configure("door", more=f'[metrics]\nenabled = true\nbind = "127.0.0.1:{(port := free_port())}"\n')
    with managed.running():
        managed.ready()
        managed.status("1 of 1 cameras running")
        pages = {}
        for page in ("healthz", "readyz", "metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=PATIENCE_S) as answer:
                pages[page] = answer.read().decode()
        managed.stop()
    assert pages["healthz"] == pages["readyz"] == "ok\n"
    assert 'taintwatch_camera_running{camera="door"} 1.0' in pages["metrics"]
    assert 'provider="CPUExecutionProvider"' in pages["metrics"]


def test_a_wrong_configuration_ends_it_with_the_status_that_is_not_restarted(managed: Managed) -> None:
    managed.configure("door", more="[vote]\nk = -1\n")
    with managed.running():
        managed.process.communicate(timeout=PATIENCE_S)
    assert managed.process.returncode == 78
    assert managed.manager.waiting() == []


def test_the_notification_socket_is_not_left_to_children() -> None:
    code = (
        "import os; from taintwatch.service_manager import supervision\n"
        "supervision(os.environ, os.getpid()); assert 'NOTIFY_SOCKET' not in os.environ"
    )
    environment = os.environ | {"NOTIFY_SOCKET": "/run/none"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0
