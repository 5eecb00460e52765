"""The command line itself: what it lists, what it imports, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import pytest
from click.testing import CliRunner

from taintwatch.cli import main as program
from taintwatch.cli.lazy import LazyCommand, LazyGroup
from taintwatch.cli.main import COMMANDS, EXIT_INTERRUPTED, main
from taintwatch.config.load import examine
from taintwatch_models.errors import DeviceError


def group_of(**commands: str) -> LazyGroup:
    return LazyGroup(lazy_commands={name: LazyCommand(target, f"Does {name}.") for name, target in commands.items()})


def test_help_lists_a_command_whose_module_would_not_even_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_command.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(group_of(broken="broken_command:command"), ["--help"])
    assert result.exit_code == 0
    assert "Does broken." in result.output


def test_a_command_whose_module_is_not_there_is_not_listed_and_not_known() -> None:
    group = group_of(absent="taintwatch.no_such_module:command", doctor="taintwatch.cli.doctor:doctor")
    assert "absent" not in CliRunner().invoke(group, ["--help"]).output
    result = CliRunner().invoke(group, ["absent"])
    assert result.exit_code == 2
    assert "no command 'absent'" in result.output


def test_a_target_that_is_no_command_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="not a click command"):
        LazyCommand("taintwatch.cli.main:main", "").load()


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.available])
def test_every_listed_command_loads_and_describes_itself_as_the_list_does(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[name].load()
    assert command.name == name
    assert command.help
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: taintwatch {name} ")


def test_without_a_command_the_help_is_shown_and_the_call_counts_as_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: taintwatch" in capsys.readouterr().err


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(program, "cli", failing)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DeviceError("no CUDA here; use --device cpu"), 78, "taintwatch: no CUDA here; use --device cpu\n"),
        (KeyError("x"), 1, "taintwatch: unexpected KeyError: 'x'; run with --debug for the traceback\n"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "taintwatch: interrupted\n"),
        (click.BadParameter("no"), 2, "taintwatch: Invalid value: no"),
    ],
)
def test_every_kind_of_failure_has_its_status_and_one_line(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fails_with(monkeypatch, error)
    assert main([]) == status
    err = capsys.readouterr().err.lstrip("\n")
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_debug_anywhere_on_the_line_gives_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(monkeypatch, DeviceError("no CUDA here"))
    assert main(["--debug"]) == 78
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("taintwatch: no CUDA here\n")


def test_config_check_accepts_a_good_file_and_lists_every_mistake_of_a_bad_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[[camera]]\nname = "door"\nsource = "0"\n')
    bad.write_text("sight = 1\n[model]\ndevice = 3\n")
    assert main(["config", "check", str(good)]) == 0
    assert "good (1 camera, hash " in capsys.readouterr().out
    assert main(["config", "check", str(bad)]) == 78
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in told] == ["bad.toml, line 3", "bad.toml, line 1", "bad.toml"]


def test_config_example_and_schema_print_what_they_promise(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "example"]) == 0
    assert examine(capsys.readouterr().out, "example").mistakes == ()
    assert main(["config", "schema"]) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_a_thread_that_hangs_neither_keeps_the_program_nor_spoils_its_status_and_output() -> None:
    code = (
        "import sys, threading, time\n"
        "from taintwatch.cli.main import main\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "sys.argv = ['taintwatch', 'no-such-command']\n"
        "print('said', end='')\n"
        "main()\n"
        "print('never reached')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "said")
    assert "no command 'no-such-command'" in done.stderr
