"""`taintwatch alerts`: look at what the daemon kept, take it along, and make room."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taintwatch.cli.review import add_review_commands

if TYPE_CHECKING:
    from taintwatch.evidence.folder import EvidenceFolder
    from taintwatch.evidence.reader import Filter, StoredAlert

__all__ = ["alerts_group"]

MEGABYTE = 1_000_000


@click.group(name="alerts")
def alerts_group() -> None:
    """List, show, judge, export and prune the alerts that a daemon kept. It may be running meanwhile.

    TIME is like 2026-11-20 or "2026-11-20 14:30" (of this machine's time zone unless it says another), or a while ago:
    30m, 12h, 7d.
    """


def _place(command: Callable[..., Any]) -> Callable[..., Any]:
    folder = click.option("--folder", type=click.Path(path_type=Path), help="Read this evidence folder of a daemon.")
    config = click.option(
        "--config", type=click.Path(path_type=Path), help="Take the folder from this configuration's [evidence]."
    )
    return folder(config(command))


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", type=click.IntRange(min=1), help="Take only so many, the latest.  [default: all]"),
        click.option(
            "--state", type=click.Choice(["open", "cleared", "interrupted"]), help="Take only alerts in this state."
        ),
        click.option("--until", metavar="TIME", help="Take only alerts raised before TIME."),
        click.option("--since", metavar="TIME", help="Take only alerts raised at or after TIME."),
        click.option("--camera", help="Take only alerts of this camera."),
    ):
        command = option(command)
    return command


@alerts_group.command(name="verify")
@_place
@click.option(
    "--key", type=click.Path(path_type=Path), help="The daemon's public key.  [default: signing.pub in the folder]"
)
@click.option("--daemon", help="Verify this daemon's chain alone, in a history of several.")
@click.option("--head", help="Look for this hash, which a heartbeat named: an older copy put back lacks it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(
    folder: Path | None, config: Path | None, key: Path | None, daemon: str | None, head: str | None, as_json: bool
) -> int:
    """Verify that no stored alert was changed, removed or put back since the daemon wrote it.

    Exit with status 1 where one was. Keep a copy of the public key elsewhere: whoever can write the folder can put
    another there.
    """
    from dataclasses import asdict

    from taintwatch.evidence.chain import verify_chain
    from taintwatch_models.signatures import read_public

    place = _folder(folder, config)
    found = verify_chain(place.history, read_public(key or place.root / "signing.pub"), head, daemon)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return 1 if found.findings else 0
    for finding in found.findings:
        click.echo(finding)
    unsigned = f", {found.unsigned} of them not signed yet" if found.unsigned else ""
    click.echo(f"{found.records} records{unsigned}; {found.removed} removed by the daemon; head {found.head}")
    click.echo("The chain is broken." if found.findings else "The chain holds.")
    return 1 if found.findings else 0


@alerts_group.command(name="audit")
@_place
@click.option(
    "--key", type=click.Path(path_type=Path), help="The daemon's public key.  [default: signing.pub in the folder]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def audit(folder: Path | None, config: Path | None, key: Path | None, as_json: bool) -> int:
    """Show who logged in, what people said of alerts, and which keys and configurations changed, oldest first.

    Exit with status 1 where a line was changed or removed since it was written.
    """
    from taintwatch.evidence.audit import entry_line, read_audit
    from taintwatch_models.signatures import read_public

    place = _folder(folder, config)
    report = read_audit(place.root / "audit.jsonl", read_public(key or place.root / "signing.pub"))
    for entry in report.entries:
        click.echo(json.dumps(entry) if as_json else entry_line(entry))
    for finding in report.findings:
        click.echo(finding, err=True)
    return 1 if report.findings else 0


@alerts_group.command(name="list")
@_place
@_filters
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
def list_alerts(folder: Path | None, config: Path | None, as_json: bool, as_csv: bool, **filters: Any) -> None:
    """List alerts, one on a line, oldest first."""
    from taintwatch.csv_rows import csv_row
    from taintwatch.evidence.export import CSV_COLUMNS, as_object, csv_line, one_line
    from taintwatch.evidence.reader import AlertReader

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    place = _folder(folder, config)
    if as_csv:
        click.echo(csv_row(CSV_COLUMNS))
    for kept in AlertReader(place.history).alerts(_filter(**filters)):
        media = place.media_of(kept.event_id)
        if as_csv:
            click.echo(csv_line(kept, media))
        else:
            click.echo(json.dumps(as_object(kept, media), ensure_ascii=False) if as_json else one_line(kept, media))


@alerts_group.command()
@click.argument("event_id")
@_place
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the alert, its files and all its records.")
def show(event_id: str, folder: Path | None, config: Path | None, as_json: bool) -> None:
    """Show one alert: all its records and its files. The first characters of its id are enough."""
    from taintwatch.evidence.export import as_object, record_lines
    from taintwatch.evidence.reader import AlertReader

    place = _folder(folder, config)
    reader = AlertReader(place.history)
    kept = reader.find(event_id)
    media, records = place.media_of(kept.event_id), reader.records(kept.event_id)
    if as_json:
        click.echo(json.dumps(as_object(kept, media, records), ensure_ascii=False, indent=2))
        return
    for line in record_lines(kept, media, records):
        click.echo(line)


@alerts_group.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.argument("event_ids", nargs=-1)
@_place
@_filters
def export(target: Path, event_ids: tuple[str, ...], folder: Path | None, config: Path | None, **filters: Any) -> None:
    """Copy alerts with their records, pictures and clips to TARGET: a .zip file, or a new folder.

    All that the filters let through, or those named by EVENT_IDS (the first characters are enough).
    """
    from taintwatch.evidence.export import export_alerts
    from taintwatch.evidence.reader import AlertReader

    place = _folder(folder, config)
    reader = AlertReader(place.history)
    wanted = [reader.find(each) for each in event_ids] if event_ids else reader.alerts(_filter(**filters))
    export_alerts(place, wanted, target)
    click.echo(f"{_count(wanted)} to {target}")


@alerts_group.command()
@_place
@click.option("--keep-days", type=click.FloatRange(min=0), help="Remove alerts raised longer ago.")
@click.option("--max-mb", type=click.FloatRange(min=0), help="Remove pictures, then alerts, beyond so many megabytes.")
@click.option("--yes", is_flag=True, help="Do it; without this, only print what would be removed.")
def prune(folder: Path | None, config: Path | None, keep_days: float | None, max_mb: float | None, yes: bool) -> None:
    """Remove old alerts, oldest first, never one that is open. Without --yes nothing is removed."""
    from taintwatch.evidence.evidence import DAY_NS
    from taintwatch.evidence.removal import Limits
    from taintwatch.evidence.retention import RetentionJob
    from taintwatch.evidence.store import AlertStore
    from taintwatch_models.errors import UsageError

    if keep_days is None and max_mb is None:
        raise UsageError("Say what is to go: --keep-days, --max-mb, or both.")
    place = _folder(folder, config)
    limits = Limits(
        keep_ns=1 << 62 if keep_days is None else round(keep_days * DAY_NS),
        max_bytes=1 << 62 if max_mb is None else round(max_mb * MEGABYTE),
        min_free_bytes=0,
    )
    store = AlertStore(place.history, daemon=place.daemon)
    try:
        retention = RetentionJob(place, store, limits)
        removal = retention.tidy() if yes else retention.plan()
    finally:
        store.close()
    verb = "removed" if yes else "would be removed"
    for item in removal.whole:
        click.echo(f"{item.event_id}  {verb}")
    for item in removal.media:
        click.echo(f"{item.event_id}  pictures {verb}")
    hint = "" if yes or not (removal.whole or removal.media) else "; repeat with --yes to do it"
    click.echo(f"{removal.bytes / MEGABYTE:.1f} MB {verb}{hint}")


def _count(kept: list[StoredAlert]) -> str:
    return f"{len(kept)} alert{'' if len(kept) == 1 else 's'}"


def _filter(camera: str | None, since: str | None, until: str | None, state: str | None, limit: int | None) -> Filter:
    from taintwatch.evidence.export import moment_ns
    from taintwatch.evidence.reader import MOST, Filter

    return Filter(
        camera,
        None if since is None else moment_ns("--since", since),
        None if until is None else moment_ns("--until", until),
        state,
        limit or MOST,
    )


def _folder(folder: Path | None, config: Path | None) -> EvidenceFolder:
    """Return the evidence folder. Raises `UsageError` where it is not said, or not there."""
    from taintwatch.evidence.folder import EvidenceFolder
    from taintwatch_models.errors import UsageError

    if (folder is None) == (config is None):
        raise UsageError("Say where the alerts are kept: --folder FOLDER or --config FILE.")
    named = None
    if config is not None:
        from taintwatch.config.load import load_config

        loaded = load_config(config)
        named = EvidenceFolder.of_section(loaded.evidence, loaded.site)
        if named is None:
            raise UsageError(f"{config} keeps no alerts: its [evidence] names no folder.")
    place = named or EvidenceFolder(folder or Path())
    if not place.history.is_there():
        raise UsageError(f"No alerts are kept in {place.root}: there is no {Path(place.history.name).name}.")
    return place


add_review_commands(alerts_group, _place, _folder)
