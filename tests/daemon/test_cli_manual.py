"""The manual page: every command and option, the exit statuses, and roff that groff takes without a word."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from taintwatch.cli.main import COMMANDS, cli, main
from taintwatch.cli.manual import STATUSES, _roff

GROFF = shutil.which("groff")


@pytest.fixture(scope="module")
def page() -> str:
    result = CliRunner().invoke(cli, ["manual"], prog_name="taintwatch", standalone_mode=False, catch_exceptions=False)
    return result.stdout


def test_every_command_has_its_place_with_its_options(page: str) -> None:
    assert [name for name in COMMANDS if f".SS taintwatch {name} " not in page] == []
    assert ".SS taintwatch alerts list [OPTIONS]" in page
    assert "\\fB\\-\\-target\\-fpr FLOAT\\fP" in page
    assert "\\-\\-camera\\-model" not in page  # hidden from --help, too


def test_it_has_every_exit_status_of_the_documentation(page: str, repository: Path) -> None:
    assert all(f"\\fB{status}\\fP" in page for status in STATUSES)
    documented = (repository / "docs" / "errors.md").read_text()
    assert [status for status in STATUSES if f"\n| {status} |" not in documented] == []


@pytest.mark.skipif(GROFF is None, reason="needs groff")
def test_groff_has_nothing_to_complain_of(page: str) -> None:
    done = subprocess.run(
        [GROFF or "groff", "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "starting again cannot help" in " ".join(done.stdout.split())


def test_text_that_looks_like_a_request_stays_text() -> None:
    assert _roff(".TH is no request") == "\\&.TH is no request"
    assert _roff("a\\b --flag") == "a\\eb \\-\\-flag"


def test_it_can_be_written_to_a_file(tmp_path: Path, page: str) -> None:
    target = tmp_path / "man1" / "taintwatch.1"
    main(["manual", "--out", str(target)])
    assert target.read_text() == page
