"""The audit log: what was done stands in it, nothing in it can be changed unseen, no flood fills it."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from taintwatch.alerts.keys import AllowedClients, load_secret, make_key_pair
from taintwatch.alerts.security import CurveServer
from taintwatch.cli.alerts import alerts_group
from taintwatch.config.load import parse_config
from taintwatch.evidence import audit
from taintwatch.evidence.audit import AuditLog, entry_line, read_audit
from taintwatch.evidence.chain import Signer
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.reload import Reloader
from taintwatch.service_manager import Notifier
from taintwatch_models.errors import UsageError


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    Signer.of(tmp_path / "signing.key")
    return AuditLog.of(tmp_path)


def public(folder: Path) -> str:
    return (folder / "signing.pub").read_text().strip()


def actions(folder: Path) -> list[str]:
    return [entry["action"] for entry in read_audit(folder / "audit.jsonl", public(folder)).entries]


def write_many(folder: Path, who: str) -> None:
    log = AuditLog.of(folder)
    for _ in range(40):
        log.write("note", who)


def test_entries_come_back_in_order_with_who_and_what(log: AuditLog, tmp_path: Path) -> None:
    log.write("login", "page 127.0.0.1")
    log.write("note", "page 127.0.0.1", event_id="e1", text="ein Zettel,\nzwei Zeilen")
    report = read_audit(tmp_path / "audit.jsonl", public(tmp_path))
    assert report.findings == ()
    assert [(entry["action"], entry.get("text")) for entry in report.entries] == [
        ("login", None),
        ("note", "ein Zettel,\nzwei Zeilen"),
    ]
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600
    assert "\n" not in entry_line(report.entries[1])


def test_a_changed_a_removed_and_a_forged_line_are_named(log: AuditLog, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for name in "abcd":
        log.write("note", name)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines).replace(b'"who": "b"', b'"who": "x"'))
    assert [finding[:6] for finding in read_audit(path, public(tmp_path)).findings] == ["Line 2", "Line 3"]
    path.write_bytes(lines[0] + lines[2] + lines[3])
    assert "Line 2" in read_audit(path, public(tmp_path)).findings[0]
    path.write_bytes(b"".join(lines[1:]))
    assert "Line 1" in read_audit(path, public(tmp_path)).findings[0]


def test_a_line_that_a_power_cut_broke_costs_no_further_one(log: AuditLog, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log.write("note", "a")
    path.write_bytes(path.read_bytes() + b'{"at_ns": 1, "acti')
    log.write("note", "b")
    report = read_audit(path, public(tmp_path))
    assert [entry["who"] for entry in report.entries] == ["a", "b"]
    assert len(report.findings) == 1
    assert "power cut" in report.findings[0]


def test_several_processes_write_one_chain(log: AuditLog, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path, who)) for who in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    report = read_audit(tmp_path / "audit.jsonl", public(tmp_path))
    assert (len(report.entries), report.findings) == (80, ())


def test_a_large_log_is_turned_over_and_its_chain_goes_on(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LARGEST", 2000)
    for number in range(40):
        log.write("note", f"{number}")
    report = read_audit(tmp_path / "audit.jsonl", public(tmp_path))
    assert report.findings == ()
    assert report.entries[-1]["who"] == "39"
    assert sum(path.stat().st_size for path in tmp_path.glob("audit.jsonl*")) < 2 * 3000
    (tmp_path / "audit.jsonl.1").unlink()
    assert "Line 1" in read_audit(tmp_path / "audit.jsonl", public(tmp_path)).findings[0]


def test_a_crowd_of_failed_log_ins_is_counted_not_written(tmp_path: Path) -> None:
    now = [0.0]
    log = AuditLog(tmp_path / "audit.jsonl", clock=lambda: now[0])
    for number in range(1000):
        log.write("login_failed", f"page 10.0.0.{number}")
    log.write("login", "page 127.0.0.1")
    now[0] = 4000.0
    log.write("login_failed", "page 10.0.0.1")
    entries = read_audit(tmp_path / "audit.jsonl", None).entries
    assert len(entries) == audit.FAILURES_AN_HOUR + 2
    assert entries[-2]["failed_log_ins_left_out"] == 1000 - audit.FAILURES_AN_HOUR
    assert "failed_log_ins_left_out" not in entries[-1]


def test_what_cannot_be_written_is_counted_and_stops_nobody(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "not there" / "audit.jsonl")
    log.write("login", "page 127.0.0.1")
    assert log.failures == 1
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")
    log = AuditLog(tmp_path / "audit.jsonl")
    log.write("login", "page 127.0.0.1")
    assert log.failures == 1
    assert not (tmp_path / "elsewhere").exists()


def test_start_stop_and_keys_are_the_daemons_own_entries(tmp_path: Path) -> None:
    clients = AllowedClients(tmp_path / "clients")
    _, secret, _ = make_key_pair("server", tmp_path)
    _, _, anna = make_key_pair("anna", tmp_path)
    clients.allow("first", load_secret(secret).public)
    server = CurveServer(load_secret(secret), clients)
    evidence = Evidence(EvidenceSettings(tmp_path / "kept", min_free_mb=0))
    server.report_to(evidence.audit)
    server.revision()
    clients.allow("anna", anna)
    server.revision()
    clients.revoke("anna")
    server.revision()
    evidence.close()
    report = read_audit(tmp_path / "kept" / "audit.jsonl", public(tmp_path / "kept"))
    assert [(entry["action"], entry.get("client")) for entry in report.entries] == [
        ("started", None),
        ("client_allowed", "anna"),
        ("client_revoked", "anna"),
        ("stopped", None),
    ]


def test_a_refused_reload_is_written_without_passwords(log: AuditLog, tmp_path: Path) -> None:
    def read() -> object:
        raise UsageError("rtsp://admin:hunter2hunter@cam/1 cannot be used")

    reloader = Reloader(lambda: parse_config("", "t.toml"), read, lambda old, new: None, Notifier(None), audit=log)  # type: ignore[arg-type,return-value]
    reloader._requested.set()
    while reloader.refused is None:
        reloader.poll()
    text = (tmp_path / "audit.jsonl").read_text()
    assert actions(tmp_path) == ["reload_refused"]
    assert "hunter2" not in text


def test_the_command_prints_it_and_exits_with_1_where_it_was_changed(log: AuditLog, tmp_path: Path) -> None:
    (tmp_path / "alerts.db").touch()
    log.write("acknowledged", "page 127.0.0.1", event_id="e1")
    arguments = ["audit", "--folder", str(tmp_path)]
    assert "page 127.0.0.1  acknowledged  event_id=e1" in CliRunner().invoke(alerts_group, arguments).output
    line = CliRunner().invoke(alerts_group, [*arguments, "--json"]).output
    assert json.loads(line)["action"] == "acknowledged"
    path = tmp_path / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b"acknowledged", b"dismissed"))
    result = CliRunner().invoke(alerts_group, arguments, standalone_mode=False)
    assert result.return_value == 1
