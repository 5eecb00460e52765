"""`taintwatch service`: put systemd's unit files in place, take them away, say how the service is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

__all__ = ["service_group"]

ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    show_default=True,
    help="Install into the system below this folder; other than / it is only prepared, systemctl is not run.",
)
DRY = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")


@click.group(name="service")
def service_group() -> None:
    """Install the systemd service, remove it, or show how it is."""


@service_group.command()
@ROOT
@DRY
@click.option(
    "--with",
    "drop_ins",
    multiple=True,
    metavar="DROP-IN",
    help="Add the drop-in curve, gpu, ip-filter, onnx-only or tokens; may be repeated.  [default: none]",
)
@click.option("--program", type=click.Path(path_type=Path), help="Run this `taintwatch`.  [default: this one]")
def install(root: Path, dry_run: bool, drop_ins: tuple[str, ...], program: Path | None) -> None:
    """Put the unit files in place, all or none, after systemd has checked them. Start nothing.

    Installing again brings them up to date; drop-ins that are not named any more are removed.
    """
    from taintwatch.units.installation import Standing, place, standing
    from taintwatch.units.systemctl import run_systemctl, verify
    from taintwatch.units.templates import every_file, render

    files = render(_this_program() if program is None else program, sorted(set(drop_ins)))
    if not verify(files):
        click.echo("taintwatch: systemd-analyze is not here, so the unit files were not checked", err=True)
    obsolete = tuple(path for path in every_file() if path not in files and (root / path).is_file())
    for path, state in standing(root, files).items():
        doing = {Standing.MISSING: "write", Standing.DIFFERS: "replace", Standing.SAME: "leave"}[state]
        click.echo(f"{doing} {root / path}")
    for path in obsolete:
        click.echo(f"remove {root / path}")
    if dry_run:
        click.echo("nothing was done (--dry-run)")
        return
    place(root, files, obsolete)
    if root == Path("/"):
        run_systemctl("daemon-reload")
    click.echo(NEXT)


@service_group.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def monitoring(folder: Path) -> None:
    """Write to FOLDER what Prometheus and Grafana need: a scrape configuration, alerting rules, a dashboard."""
    from taintwatch.units.templates import MONITORING, templates_folder
    from taintwatch_models.errors import UsageError

    found = templates_folder() / "monitoring"
    there = [name for name in MONITORING if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder} has {', '.join(there)} already; give another folder, or remove them.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in MONITORING:
        (folder / name).write_text((found / name).read_text())
        click.echo(f"wrote {folder / name}")


@service_group.command()
@ROOT
@DRY
def uninstall(root: Path, dry_run: bool) -> None:
    """Stop the service and remove its unit files. Configuration, keys and evidence stay."""
    from taintwatch.units.installation import remove
    from taintwatch.units.systemctl import run_systemctl
    from taintwatch.units.templates import every_file
    from taintwatch_models.errors import TaintwatchError

    there = [path for path in every_file() if (root / path).is_file()]
    for path in there:
        click.echo(f"remove {root / path}")
    if dry_run or not there:
        click.echo("nothing was done (--dry-run)" if there else f"nothing is installed below {root}")
        return
    if root == Path("/"):
        run_systemctl("disable", "--now", "taintwatch.service")
        run_systemctl("stop", "taintwatch@*.service")
    try:
        remove(root, there)
    except OSError as error:
        raise TaintwatchError(f"{error.filename} cannot be removed ({error.strerror}); run it as root") from error
    if root == Path("/"):
        run_systemctl("daemon-reload")
    click.echo("removed; /etc/taintwatch and /var/lib/taintwatch were left alone")


@service_group.command()
@ROOT
@click.option("--instance", metavar="NAME", help="Show taintwatch@NAME.service.  [default: taintwatch.service]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--program",
    type=click.Path(path_type=Path),
    help="Compare with units that run this `taintwatch`.  [default: this one]",
)
def status(root: Path, instance: str | None, as_json: bool, program: Path | None) -> int:
    """Show whether the unit files are in place and how the service is. Exit status 1 unless it is active.

    With another --root: 1 unless the unit files are as they should be.
    """
    from taintwatch.units.installation import Standing, standing
    from taintwatch.units.systemctl import service_state
    from taintwatch.units.templates import DROP_INS, UNIT_FOLDER, render

    unit = "taintwatch.service" if instance is None else f"taintwatch@{instance}.service"
    used = [name for name in DROP_INS if (root / UNIT_FOLDER / f"taintwatch.service.d/{name}.conf").is_file()]
    files = render(_this_program() if program is None else program, used, check_program=False)
    found = standing(root, files)
    state = service_state(unit) if root == Path("/") else {}
    if as_json:
        click.echo(json.dumps({"unit": unit, "files": {f"/{path}": found[path] for path in found}, "state": state}))
    else:
        for path, how in found.items():
            click.echo(f"{root / path}: {how}")
        for key, value in state.items():
            click.echo(f"{key}: {value}")
    if root == Path("/"):
        return 0 if state.get("ActiveState") in ("active", "reloading") else 1
    return 0 if all(how is Standing.SAME for how in found.values()) else 1


NEXT = """\
installed. Next:
  systemd-sysusers                                      (makes the group that may read the configuration)
  install -d /etc/taintwatch
  taintwatch config example > /etc/taintwatch/taintwatch.toml    (and edit it)
  chown root:taintwatch-config /etc/taintwatch/taintwatch.toml && chmod 640 /etc/taintwatch/taintwatch.toml
  systemctl enable --now taintwatch.service"""


def _this_program() -> Path:
    """Return the installed program beside this Python, or the one that was called."""
    beside = Path(sys.executable).with_name("taintwatch")
    return beside if beside.is_file() else Path(sys.argv[0]).absolute()
