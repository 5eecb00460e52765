"""`taintwatch alerts`: what it lists, shows and takes along, and that pruning has a dry run first."""

from __future__ import annotations

import csv
import io
import json
import stat
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from taintwatch.alerts.messages import as_json
from taintwatch.alerts.outbox import MessageWriter
from taintwatch.cli.alerts import alerts_group
from taintwatch.evidence.evidence import DAY_NS, Evidence, EvidenceSettings
from taintwatch.evidence.export import moment_ns
from taintwatch.evidence.reader import AlertReader
from taintwatch.records import AlertState
from taintwatch_models.errors import UsageError
from tests.alert_fakes import an_alert, an_identity

JPEG = b"\xff\xd8 a picture"


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[Evidence]:
    """A daemon's: one old alert at the gate, one cleared at the door, one open there."""
    it = Evidence(EvidenceSettings(tmp_path / "kept", min_free_mb=0, keep_days=365))
    writer = MessageWriter(an_identity())
    for event_id, camera, days, states in (
        ("aa01", "gate", 40, (AlertState.RAISED, AlertState.CLEARED)),
        ("bb02", "door", 2, (AlertState.RAISED, AlertState.CLEARED)),
        ("bb03", "door", 1, (AlertState.RAISED,)),
    ):
        for state in states:
            alert = replace(an_alert(camera, event_id, state), raised_wall_ns=time.time_ns() - days * DAY_NS)
            it.store.save(writer.write(camera, alert).message)
        (it.folder.root / "media" / event_id).mkdir()
        (it.folder.root / "media" / event_id / "frame.jpg").write_bytes(JPEG)
    yield it
    it.close()


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(alerts_group, [*map(str, arguments)], standalone_mode=False, catch_exceptions=False)
    if result.exception is not None:
        raise result.exception
    return str(result.output)


def listed(evidence: Evidence, *arguments: str) -> list[str]:
    lines = run("list", "--folder", evidence.folder.root, "--json", *arguments).splitlines()
    return [json.loads(line)["event_id"] for line in lines]


def test_the_list_has_one_line_for_each_alert_oldest_first(evidence: Evidence) -> None:
    lines = run("list", "--folder", evidence.folder.root).splitlines()
    assert [line.split()[0] for line in lines] == ["aa01", "bb02", "bb03"]
    assert "gate  cleared      toaster  score 2" in lines[0]
    assert lines[0].endswith("frame")
    assert "raised" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--camera", "door"), ["bb02", "bb03"]),
        (("--state", "open"), ["bb03"]),
        (("--state", "cleared"), ["aa01", "bb02"]),
        (("--state", "interrupted"), []),
        (("--since", "3d"), ["bb02", "bb03"]),
        (("--until", "36h"), ["aa01", "bb02"]),
        (("--since", "2000-01-01", "--until", "2001-01-01T10:00"), []),
        (("--limit", "1"), ["bb03"]),
        (("--camera", "door", "--state", "cleared"), ["bb02"]),
    ],
)
def test_filters_narrow_the_list(evidence: Evidence, arguments: tuple[str, ...], found: list[str]) -> None:
    assert listed(evidence, *arguments) == found


def test_the_list_as_csv_says_the_same_as_its_json(evidence: Evidence) -> None:
    rows = list(csv.DictReader(io.StringIO(run("list", "--folder", evidence.folder.root, "--csv"))))
    wanted = [json.loads(line) for line in run("list", "--folder", evidence.folder.root, "--json").splitlines()]
    assert [(row["event_id"], row["state"], float(row["score"]), row["files"].split("|")) for row in rows] == [
        (each["event_id"], each["state"], each["score"], each["files"]) for each in wanted
    ]
    raised = datetime.fromisoformat(rows[0]["raised"]).timestamp()
    assert raised == pytest.approx(wanted[0]["raised_wall_ns"] / 1e9, abs=1)


def test_show_gives_every_record_as_it_was_published(evidence: Evidence) -> None:
    shown = json.loads(run("show", "aa", "--folder", evidence.folder.root, "--json"))
    records = AlertReader(evidence.folder.history).records("aa01")
    assert shown["published"] == [json.loads(as_json(record)) for record in records]
    assert shown["files"] == [str(evidence.folder.root / "media" / "aa01" / "frame.jpg")]
    text = run("show", "aa01", "--folder", evidence.folder.root)
    assert [word in text for word in ("lab/gate", "raised", "cleared", "frame.jpg", "toaster")] == [True] * 5


def test_an_export_to_a_folder_holds_all_and_is_private(evidence: Evidence, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert run("export", target, "--camera", "door", "--folder", evidence.folder.root) == f"2 alerts to {target}\n"
    objects = json.loads((target / "alerts.json").read_text())
    assert [each["event_id"] for each in objects] == ["bb02", "bb03"]
    for each in objects:
        assert [(target / name).read_bytes() for name in each["files"]] == [JPEG]
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*") if path.is_file()} == {0o600}
    assert stat.S_IMODE(target.stat().st_mode) == 0o700


def test_an_export_to_a_zip_file_holds_the_same(evidence: Evidence, tmp_path: Path) -> None:
    target = tmp_path / "out.zip"
    run("export", target, "aa", "bb02", "--folder", evidence.folder.root)
    with zipfile.ZipFile(target) as archive:
        assert sorted(archive.namelist()) == ["aa01/frame.jpg", "alerts.json", "bb02/frame.jpg"]
        assert archive.read("aa01/frame.jpg") == JPEG
        assert archive.testzip() is None
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_an_export_never_overwrites_and_leaves_nothing_half_written(evidence: Evidence, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(UsageError, match="is there already"):
        run("export", target, "--folder", evidence.folder.root)
    with pytest.raises(UsageError, match="cannot be written"):
        run("export", tmp_path / "none" / "out", "--folder", evidence.folder.root)
    with pytest.raises(UsageError, match="No alert has an id"):
        run("export", tmp_path / "other", "aa01", "zz", "--folder", evidence.folder.root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "out"]


def test_pruning_says_first_what_it_would_do(evidence: Evidence) -> None:
    place = ("--folder", evidence.folder.root)
    said = run("prune", "--keep-days", "30", *place)
    assert said.startswith("aa01  would be removed\n")
    assert "repeat with --yes" in said
    assert listed(evidence) == ["aa01", "bb02", "bb03"]
    assert "aa01  removed" in run("prune", "--keep-days", "30", "--yes", *place)
    assert listed(evidence) == ["bb02", "bb03"]
    assert evidence.folder.media_of("aa01") is None


def test_pruning_everything_spares_an_open_alert_while_the_daemon_goes_on(evidence: Evidence) -> None:
    run("prune", "--keep-days", "0", "--max-mb", "0", "--yes", "--folder", evidence.folder.root)
    assert listed(evidence) == ["bb03"]
    evidence.store.save(MessageWriter(an_identity("later")).write("door", an_alert(event_id="cc04")).message)
    assert "cc04" in listed(evidence)


def test_the_folder_is_taken_from_a_configuration_beside_it(evidence: Evidence, tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text('[evidence]\nfolder = "kept"\n')
    assert len(run("list", "--config", config).splitlines()) == 3
    config.write_text("")
    with pytest.raises(UsageError, match="keeps no alerts"):
        run("list", "--config", config)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list",), "--folder FOLDER or --config FILE"),
        (("list", "--folder", "nowhere"), "No alerts are kept in nowhere"),
        (("prune", "--folder", "nowhere"), "--keep-days, --max-mb"),
    ],
)
def test_a_wrong_call_is_one_sentence(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(*arguments)
    assert says in str(caught.value)


def test_times_are_iso_or_a_while_ago() -> None:
    assert moment_ns("--since", "90s", now_ns=100 * 10**9) == 10 * 10**9
    assert moment_ns("--since", "1970-01-01T00:00:05+00:00") == 5 * 10**9
    for wrong in ("yesterday", "", "5", "1e9d", "99999-01-01", "9999-01-01", "999999d"):
        with pytest.raises(UsageError, match=r"--since: .* is no time"):
            moment_ns("--since", wrong)
