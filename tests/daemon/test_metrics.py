"""What monitoring reads, over real HTTP on loopback."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from taintwatch.alerts.publisher import PublisherStats
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.config.load import parse_config
from taintwatch.delivery.forwarder import DeliveryStats
from taintwatch.evidence.evidence import EvidenceStats
from taintwatch.evidence.recorder import RecorderStats
from taintwatch.evidence.retention import Holdings
from taintwatch.metric_families import Snapshot
from taintwatch.metrics import Instruments
from taintwatch.notify.outlet import OutletStats
from taintwatch.pipeline import Step
from taintwatch.records import AlertState
from taintwatch.secret_files import read_token
from taintwatch.status import Meter
from taintwatch.web.live import LiveState
from taintwatch.web.server import WebServer
from taintwatch.web.stream import AudienceStats
from taintwatch_models.classifier import Rejected
from taintwatch_models.errors import ConfigError
from taintwatch_models.records import SecondLook, WindowStatistics
from tests.alert_fakes import an_alert
from tests.fakes import CARD, a_frame, a_prediction, a_verdict
from tests.web_scene import detection

OUTLET = OutletStats("mqtt", 51, 52, 53, 54, 55, 56)
TOKEN = "not-a-secret-but-long"  # noqa: S105 - a test's own


class Healthy:
    """A service that is well."""

    def health(self) -> str | None:
        return None

    def readiness(self) -> str | None:
        return "not ready"

    def render(self) -> bytes:
        return Instruments().render()


def metrics_server(bind: str = "127.0.0.1:0", token_file: Path | None = None) -> WebServer:
    token = "" if token_file is None else f'token_file = "{token_file}"\n'
    config = parse_config(f'[metrics]\nenabled = true\nbind = "{bind}"\n{token}', "test.toml")
    return WebServer(lambda: config, detection, LiveState(), Healthy())


def get(server: WebServer, path: str, **headers: str) -> tuple[int, str]:
    host, port = server.metrics_address
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def serving(stack: ExitStack, token_file: Path | None = None) -> WebServer:
    return stack.enter_context(metrics_server(token_file=token_file))


def values(instruments: Instruments) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels."""
    families = text_string_to_metric_families(instruments.render().decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_frames_verdicts_alerts_and_times_are_counted() -> None:
    instruments = Instruments(clock_ns=lambda: 1_000_000_000 + 40_000_000)
    prediction = a_prediction(a_frame())
    instruments.see(Step(prediction.frame, prediction, (a_verdict(prediction, True), a_verdict(prediction, False))))
    instruments.see(Step(a_frame(), Rejected(a_frame(), "NaN")))
    instruments.alert(an_alert("door"))
    instruments.alert(an_alert("door", state=AlertState.CLEARED))
    found = values(instruments)
    assert found["taintwatch_frames_total", ("door",)] == 1
    assert found["taintwatch_frames_rejected_total", ("door",)] == 1
    assert found["taintwatch_verdicts_total", ("door", "tight", "true")] == 1
    assert found["taintwatch_verdicts_total", ("door", "tight", "false")] == 1
    assert found["taintwatch_alerts_total", ("door", "raised")] == 1
    assert found["taintwatch_alerts_total", ("door", "cleared")] == 1
    assert found["taintwatch_stage_seconds_count", ("delay",)] == 2
    assert found["taintwatch_stage_seconds_sum", ("delay",)] == pytest.approx(0.08)
    assert found["taintwatch_stage_seconds_sum", ("inference",)] == pytest.approx(0.001)


def test_what_others_know_is_looked_at_when_asked() -> None:
    publisher = PublisherStats("tcp://x", 11, 2, 33, 4, 5, 6, True)
    recorder = RecorderStats(21, 22, 23, 24, 25, 26, 27, True)
    evidence = EvidenceStats(7, 0, 8, 9, "disk full", 6, 10, recorder, Holdings(31, 32, 33))
    audience = AudienceStats(41, 42, 43, 44, 45, 46)
    instruments = Instruments(lambda: Snapshot(publisher, evidence, ("camera door",), audience))
    camera = CameraStatus(
        "door", CameraState.LOST, "fake", dropped=3, frame_age_s=4.5, reason="away", reconnects=2, captured=20,
        delivered=15, bad=1,
    )  # fmt: skip
    instruments.started(CARD, (camera,), None)
    status = Meter().status((camera, replace(camera, camera="yard", state=CameraState.RUNNING)), 2, "other", "why")
    instruments.progress(status)
    found = values(instruments)
    assert found["taintwatch_publisher_queue", ()] == 6
    assert found["taintwatch_messages_sent_total", ()] == 11
    assert found["taintwatch_messages_dropped_total", ()] == 2
    assert found["taintwatch_store_failures_total", ()] == 5
    assert found["taintwatch_evidence_trouble", ()] == 1
    assert found["taintwatch_evidence_waiting", ()] == 8
    assert found["taintwatch_audit_failures_total", ()] == 6
    assert found["taintwatch_workers_hanging", ()] == 1
    assert [found[f"taintwatch_evidence_{name}", ()] for name in ("alerts", "bytes", "free_bytes")] == [31, 32, 33]
    assert [found["taintwatch_evidence_written_total", (what,)] for what in ("pictures", "clip")] == [21, 22]
    refused = [found["taintwatch_evidence_refused_total", (why,)] for why in ("no_room", "failed", "too_slow")]
    assert refused == [26, 25, 24]
    assert found["taintwatch_evidence_queue", ()] == 27
    counts = ("viewers_refused", "viewers_dropped", "pictures_sent", "frames_skipped", "pictures_encoded")
    assert [found[f"taintwatch_page_{name}_total", ()] for name in counts] == [42, 43, 44, 45, 46]
    assert found["taintwatch_page_viewers", ()] == 41
    assert found["taintwatch_model_info", ("fake", "0" * 64, "other")] == 1
    assert found["taintwatch_degraded", ()] == 1
    assert found["taintwatch_open_alerts", ()] == 2
    assert (found["taintwatch_camera_running", ("door",)], found["taintwatch_camera_running", ("yard",)]) == (0, 1)
    assert found["taintwatch_frames_dropped_total", ("door",)] == 3
    assert found["taintwatch_reconnects_total", ("door",)] == 2
    assert found["taintwatch_frame_age_seconds", ("door",)] == 4.5
    assert found["process_resident_memory_bytes", ()] > 1e6
    assert found["taintwatch_threads", ()] >= 1


def test_what_became_of_notices_is_told() -> None:
    found = values(Instruments(lambda: Snapshot(outlets=(OUTLET,))))
    outcomes = [found["taintwatch_notices_total", (what, "mqtt")] for what in ("sent", "refused", "dropped", "snoozed")]
    assert outcomes == [51, 52, 53, 54]
    assert found["taintwatch_notice_failures_total", ("mqtt",)] == 55
    assert found["taintwatch_notices_waiting", ("mqtt",)] == 56


def test_counters_of_a_camera_stand_at_0_before_anything_happens() -> None:
    instruments = Instruments(detectors=lambda: ["combined"])
    instruments.started(CARD, (CameraStatus("door", CameraState.CONNECTING, "fake"),), None)
    instruments.progress(Meter().status((CameraStatus("yard", CameraState.CONNECTING, "fake"),), 0))
    found = values(instruments)
    for camera in ("door", "yard"):
        assert found["taintwatch_frames_total", (camera,)] == 0
        assert found["taintwatch_verdicts_total", (camera, "combined", "true")] == 0
        assert [found["taintwatch_alerts_total", (camera, state)] for state in AlertState] == [0, 0, 0, 0]
    assert found["taintwatch_stage_seconds_count", ("delay",)] == 0


def test_what_is_installed_is_told() -> None:
    [labels] = [labels for name, labels in values(Instruments()) if name == "taintwatch_build_info"]
    assert version("taintwatch") in labels


def test_every_metric_is_documented(repository: Path) -> None:
    text = (repository / "docs" / "metrics.md").read_text()
    publisher = PublisherStats("tcp://x", 0, 0, 0, 0, 0, 0, True)
    recorder = RecorderStats(0, 0, 0, 0, 0, 0, 0, True)
    evidence = EvidenceStats(0, 0, 0, 0, None, 0, 0, recorder, Holdings(), (DeliveryStats("nats", 0, 0, 0, 0, None),))
    audience = AudienceStats(0, 0, 0, 0, 0, 0)
    instruments = Instruments(lambda: Snapshot(publisher, evidence, audience=audience, outlets=(OUTLET,)))
    camera = CameraStatus("door", CameraState.RUNNING, "fake", frame_age_s=0.0)
    instruments.started(CARD, (camera,), None)
    instruments.progress(Meter().status((camera,), 0))
    names = {name for name, _ in values(instruments)}
    families = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in names}
    assert families
    assert {name for name in families if f"`{name}`" not in text} == set()


def test_health_readiness_and_metrics_are_told(stack: ExitStack) -> None:
    server = serving(stack)
    assert get(server, "/healthz") == (200, "ok\n")
    assert get(server, "/readyz") == (503, "not ready\n")
    status, text = get(server, "/metrics")
    assert (status, "taintwatch_threads" in text) == (200, True)


def test_an_unknown_page_says_which_there_are(stack: ExitStack) -> None:
    server = serving(stack)
    assert get(server, "/healthz?x=1") == (200, "ok\n")
    assert get(server, "/") == (404, "there are /healthz, /metrics, /readyz\n")
    assert get(server, "/api/config")[0] == 404  # the page is not served here


def test_with_a_token_nothing_is_told_without_it(stack: ExitStack, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN)
    server = serving(stack, file)
    assert get(server, "/healthz")[0] == 401
    assert get(server, "/nowhere")[0] == 401
    assert get(server, "/healthz", Authorization=f"Bearer {TOKEN}x")[0] == 401
    assert get(server, "/healthz", Authorization=f"Basic {TOKEN}")[0] == 401
    assert get(server, "/healthz", Authorization=f"Bearer {TOKEN}") == (200, "ok\n")


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "example.org:9108"])
def test_beyond_loopback_a_token_is_needed(bind: str) -> None:
    with pytest.raises(ConfigError, match=r"set metrics\.token_file"):
        metrics_server(bind)


@pytest.mark.parametrize("bind", ["9108", "localhost", "127.0.0.1:99999", "tcp://127.0.0.1:1", "::1:80"])
def test_a_malformed_address_is_told(bind: str) -> None:
    with pytest.raises(ConfigError, match="it must be like"):
        metrics_server(bind)


def test_an_address_in_use_is_told(stack: ExitStack) -> None:
    host, port = serving(stack).metrics_address
    with pytest.raises(ConfigError, match="in use"):
        metrics_server(f"{host}:{port}")


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [("x" * 20, 0o644, "chmod 600"), ("short", 0o600, "fewer than 16"), ("ä" * 20, 0o600, "not ASCII")],
)
def test_a_token_that_is_none_is_told(tmp_path: Path, text: str, mode: int, said: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=said):
        read_token(file, "metrics.token_file")
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "none", "metrics.token_file")


def test_a_good_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(f"{TOKEN}\n")
    assert read_token(file, "metrics.token_file") == TOKEN


def test_hundreds_of_clients_that_ask_nothing_whole_keep_nobody_from_the_health(stack: ExitStack) -> None:
    server = serving(stack)
    for _ in range(300):
        stack.enter_context(socket.create_connection(server.metrics_address)).sendall(b"GET /heal")
    assert get(server, "/healthz") == (200, "ok\n")


def test_a_frame_that_was_let_pass_is_never_counted_as_checked_and_benign() -> None:
    instruments, meter = Instruments(), Meter()
    for index, checked in enumerate((True, False, False)):
        prediction = a_prediction(a_frame(index))
        step = Step(prediction.frame, prediction, (replace(a_verdict(prediction, False), checked=checked),))
        instruments.see(step)
        meter.see(step)
    found = values(instruments)
    assert found["taintwatch_frames_unchecked_total", ("door",)] == 2
    counts = {labels: value for (name, labels), value in found.items() if name == "taintwatch_verdicts_total"}
    assert sorted(counts.values()) == [1, 2]
    assert any("unchecked" in labels for labels in counts)
    assert (meter.frames, meter.unchecked, meter.status((), 0).unchecked) == (3, 2, 2)


def test_what_became_of_second_looks_is_counted() -> None:
    instruments = Instruments()
    for became in (SecondLook.TAKEN, SecondLook.SHARED, SecondLook.SHARED, SecondLook.WAITING, SecondLook.NOT_NEEDED):
        window = WindowStatistics((0, 0, 4, 4), 1.0, became, None, {}, {})
        prediction = replace(a_prediction(a_frame(0)), window=window)
        instruments.see(Step(prediction.frame, prediction))
    found = values(instruments)
    counts = {labels: value for (name, labels), value in found.items() if name == "taintwatch_second_looks_total"}
    assert counts == {("door", "taken"): 1, ("door", "shared"): 2, ("door", "waiting"): 1}
