"""The unit files: what systemd itself says of them, and how they come in place and go."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from taintwatch.cli.service import service_group
from taintwatch.units.installation import Standing, place, standing
from taintwatch.units.systemctl import verify
from taintwatch.units.templates import DROP_INS, SYSUSERS, UNIT_FOLDER, every_file, render, templates_folder
from taintwatch_models.errors import TaintwatchError, UsageError

PROGRAM = Path("/bin/true")  # any program that a service could see; these tests never start one
MOST_EXPOSED = 15  # systemd-analyze counts tenths: 1.5
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here (Debian: systemd)"
)
CHOICES = [(), ("curve",), ("gpu",), ("ip-filter",), ("onnx-only",), ("curve", "ip-filter", "onnx-only", "tokens")]


def service(*arguments: str | Path) -> tuple[int, str]:
    """Run `taintwatch service`, return its status and what it printed."""
    done = CliRunner().invoke(service_group, [str(argument) for argument in arguments], standalone_mode=False)
    if isinstance(done.exception, TaintwatchError):
        raise done.exception
    assert done.exception is None, done.exception
    return done.return_value or 0, done.output


def installed(root: Path) -> dict[Path, str]:
    """Every file below `root`."""
    return {path.relative_to(root): path.read_text() for path in root.rglob("*") if path.is_file()}


@needs_systemd
@pytest.mark.parametrize("drop_ins", CHOICES, ids=lambda names: "+".join(names) or "plain")
def test_systemd_finds_nothing_wrong(drop_ins: tuple[str, ...]) -> None:
    assert verify(render(PROGRAM, drop_ins))


@needs_systemd
def test_systemd_is_heard_where_it_finds_something_wrong() -> None:
    files = render(PROGRAM, ())
    unit = UNIT_FOLDER / "taintwatch.service"
    with pytest.raises(TaintwatchError, match="ProtectSystm"):
        verify(files | {unit: files[unit].replace("ProtectSystem", "ProtectSystm")})


@needs_systemd
@pytest.mark.parametrize("name", ["taintwatch.service", "taintwatch@.service"])
@pytest.mark.parametrize("drop_ins", CHOICES, ids=lambda names: "+".join(names) or "plain")
def test_the_service_is_hardly_exposed(name: str, drop_ins: tuple[str, ...], tmp_path: Path) -> None:
    place(tmp_path, render(PROGRAM, drop_ins))
    unit = tmp_path / UNIT_FOLDER / name.replace("@.", "@gate.")
    (tmp_path / UNIT_FOLDER / name).rename(unit)
    if drop_ins:
        (tmp_path / UNIT_FOLDER / f"{name}.d").rename(unit.with_name(f"{unit.name}.d"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


def test_what_the_daemon_and_systemd_agree_on_stands_in_the_units() -> None:
    for name in ("taintwatch.service", "taintwatch@.service"):
        lines = render(PROGRAM, ())[UNIT_FOLDER / name].splitlines()
        for line in ("Type=notify", "WatchdogSec=30", "RestartPreventExitStatus=2 78", "DynamicUser=yes"):
            assert line in lines
        assert [line for line in lines if line.startswith("ExecStart=/bin/true run --config %E/taintwatch/")]
    for name in ("curve", "tokens"):
        assert "LoadCredential=" in (templates_folder() / f"{name}.conf").read_text()


def test_the_template_differs_from_the_unit_only_where_it_names_its_instance() -> None:
    files = render(PROGRAM, ())
    plain = files[UNIT_FOLDER / "taintwatch.service"].partition("[Unit]")[2].splitlines()
    template = files[UNIT_FOLDER / "taintwatch@.service"].partition("[Unit]")[2].splitlines()
    assert [line for line in template if line not in plain] == [line for line in template if "%i" in line]


def test_installing_again_changes_nothing_and_uninstalling_leaves_nothing(tmp_path: Path) -> None:
    arguments = ("--root", tmp_path, "--program", PROGRAM)
    service("install", *arguments, "--with", "gpu", "--with", "ip-filter")
    first = installed(tmp_path)
    assert first == render(PROGRAM, ("gpu", "ip-filter"))
    assert service("status", *arguments)[0] == 0
    _, output = service("install", *arguments, "--with", "ip-filter", "--with", "gpu")
    assert installed(tmp_path) == first
    assert "write" not in output.replace("is written", "")
    service("uninstall", "--root", tmp_path)
    assert installed(tmp_path) == {}
    assert not list((tmp_path / UNIT_FOLDER).glob("*.d"))


def test_a_drop_in_that_is_not_named_any_more_goes_and_a_foreign_one_stays(tmp_path: Path) -> None:
    arguments = ("--root", tmp_path, "--program", PROGRAM)
    service("install", *arguments, "--with", "gpu", "--with", "curve")
    foreign = tmp_path / UNIT_FOLDER / "taintwatch.service.d" / "mine.conf"
    foreign.write_text("[Service]\nNice=5\n")
    service("install", *arguments, "--with", "curve")
    assert set(installed(tmp_path)) == {*render(PROGRAM, ("curve",)), foreign.relative_to(tmp_path)}
    service("uninstall", "--root", tmp_path)
    assert set(installed(tmp_path)) == {foreign.relative_to(tmp_path)}


def test_a_dry_run_says_everything_and_does_nothing(tmp_path: Path) -> None:
    _, output = service("install", "--dry-run", "--root", tmp_path, "--program", PROGRAM, "--with", "gpu")
    assert installed(tmp_path) == {}
    for path in render(PROGRAM, ("gpu",)):
        assert f"write {tmp_path / path}" in output
    service("install", "--root", tmp_path, "--program", PROGRAM)
    before = installed(tmp_path)
    _, output = service("uninstall", "--dry-run", "--root", tmp_path)
    assert installed(tmp_path) == before
    assert output.count("remove ") == len(before)


def test_status_tells_a_changed_and_a_missing_file(tmp_path: Path) -> None:
    arguments = ("--root", tmp_path, "--program", PROGRAM)
    service("install", *arguments)
    unit = tmp_path / UNIT_FOLDER / "taintwatch.service"
    unit.write_text(unit.read_text() + "# mine\n")
    (tmp_path / SYSUSERS).unlink()
    status, output = service("status", *arguments)
    assert status == 1
    assert f"{unit}: differs" in output
    assert f"{tmp_path / SYSUSERS}: missing" in output


def test_where_one_file_cannot_be_written_none_is_changed(tmp_path: Path) -> None:
    files = {Path("a/one"): "new", Path("b/two"): "new", Path("c/three"): "new"}
    place(tmp_path, {Path("a/one"): "old"})
    (tmp_path / "c").write_text("a file where a folder must be")
    with pytest.raises(TaintwatchError, match="nothing was installed"):
        place(tmp_path, files)
    assert installed(tmp_path) == {Path("a/one"): "old", Path("c"): "a file where a folder must be"}
    assert not (tmp_path / "b").exists()


def test_where_the_last_rename_fails_what_was_there_comes_back(tmp_path: Path) -> None:
    place(tmp_path, {Path("a"): "old"})
    (tmp_path / "b").mkdir()  # a file cannot be renamed over a folder
    with pytest.raises(TaintwatchError, match="nothing was installed"):
        place(tmp_path, {Path("a"): "new", Path("b"): "new"})
    assert installed(tmp_path) == {Path("a"): "old"}


def test_what_is_installed_can_be_read_by_all_whatever_the_umask(tmp_path: Path) -> None:
    place(tmp_path, {Path("x"): "text"})
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644
    assert standing(tmp_path, {Path("x"): "text"}) == {Path("x"): Standing.SAME}


@pytest.mark.parametrize(
    ("program", "drop_ins", "said"),
    [
        ("/home/me/.venv/bin/taintwatch", (), "not there"),
        ("taintwatch", (), "not there"),
        ("/bin/true", ("gpu", "onnx-only"), "exclude one another"),
        ("/bin/true", ("cpu",), "there is no drop-in 'cpu'"),
    ],
)
def test_what_cannot_work_is_refused(program: str, drop_ins: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        render(Path(program), drop_ins)


def test_a_program_that_the_service_would_not_see_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "taintwatch"
    program.write_text("")
    if not program.is_relative_to("/tmp"):  # noqa: S108 - where pytest usually works
        pytest.skip("pytest works elsewhere")
    with pytest.raises(UsageError, match="which a service does not see"):
        render(program, ())


def test_a_program_whose_python_the_service_would_not_see_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, program = tmp_path / "home", tmp_path / "taintwatch"
    monkeypatch.setattr("taintwatch.units.templates.HIDDEN", (str(home),))
    home.mkdir()
    (home / "python3").touch()
    (tmp_path / "python3").symlink_to(home / "python3")  # as in a virtual environment
    program.write_text(f"#!{tmp_path}/python3\n")
    with pytest.raises(UsageError, match=rf"is run by {home}/python3, which a service does not see; .*system's Python"):
        render(program, ())
    program.write_text("#!/bin/sh\n")
    assert render(program, ())


def test_everything_that_can_be_installed_is_known_to_uninstall() -> None:
    everything = {path for names in CHOICES for path in render(PROGRAM, names)}
    assert everything == set(every_file())
    assert {path.stem for path in templates_folder().glob("*.conf")} == {*DROP_INS, "sysusers"}
