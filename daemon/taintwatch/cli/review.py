"""What people say of alerts, from the command line: judge, acknowledge, list and undo dismissals, snooze a camera."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from taintwatch.evidence.folder import EvidenceFolder
    from taintwatch.review.dismissals import Dismissal
    from taintwatch.review.judgements import Judgements

__all__ = ["add_review_commands"]

Place = Callable[[Path | None, Path | None], "EvidenceFolder"]
Options = Callable[[Callable[..., object]], Callable[..., object]]


def add_review_commands(group: click.Group, options: Options, place: Place) -> None:
    """Add the commands to `taintwatch alerts`. `options`: --folder and --config; `place`: what they name."""

    def judgements(folder: Path | None, config: Path | None) -> Judgements:
        from taintwatch.config.load import load_config
        from taintwatch.config.outputs import EvidenceSection
        from taintwatch.evidence.audit import AuditLog
        from taintwatch.review.judgements import Judgements

        where = place(folder, config)
        evidence = EvidenceSection() if config is None else load_config(config).evidence
        key = None if evidence.signing_key is None else Path(evidence.signing_key)
        return Judgements(where, AuditLog.of(where.root, key), acknowledged_h=evidence.acknowledged_h)

    @group.command()
    @click.argument("event_id")
    @click.argument("judgement", type=click.Choice(["attack", "false-alarm", "nothing"]))
    @options
    def judge(event_id: str, judgement: str, folder: Path | None, config: Path | None) -> None:
        """Say what an alert was. What a false alarm showed raises none again; an attack in its place does.

        `nothing` takes the judgement back. The first characters of the id are enough.
        """
        from taintwatch.review.judgements import Judgement

        said = None if judgement == "nothing" else Judgement(judgement.replace("-", " "))
        event = _find(place(folder, config), event_id)
        judgements(folder, config).judge(event, said, _speaker())
        click.echo(f"{event}  {'judgement taken back' if said is None else said.value}")

    @group.command()
    @click.argument("event_ids", nargs=-1, required=True)
    @click.option("--undo", is_flag=True, help="Take the acknowledgement back.")
    @options
    def acknowledge(event_ids: tuple[str, ...], undo: bool, folder: Path | None, config: Path | None) -> None:
        """Say that somebody knows of these alerts. What they show raises no new one for a day, unless it changes."""
        found = [_find(place(folder, config), each) for each in event_ids]
        for event in found:
            judgements(folder, config).acknowledge(event, not undo, _speaker())
            click.echo(f"{event}  {'not acknowledged' if undo else 'acknowledged'}")

    @group.command()
    @click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
    @options
    def dismissals(as_json: bool, folder: Path | None, config: Path | None) -> None:
        """List what people dismissed, oldest first: it raises no alert while it looks as it did."""
        for one in judgements(folder, config).dismissals.all():
            click.echo(json.dumps(asdict(one), ensure_ascii=False) if as_json else _line(one))

    @group.command()
    @click.argument("event_id")
    @options
    def undo(event_id: str, folder: Path | None, config: Path | None) -> None:
        """Take a dismissal back: what it shows is judged again. The first characters of the id are enough."""
        from taintwatch_models.errors import UsageError

        said = judgements(folder, config)
        found = [one.event_id for one in said.dismissals.all() if one.event_id.startswith(event_id)]
        if len(found) != 1:
            raise UsageError(
                f"{len(found)} dismissals start with '{event_id}'. `taintwatch alerts dismissals` lists them."
            )
        click.echo(f"{said.undo(found[0], _speaker()).event_id}  judged again")

    @group.command()
    @click.argument("camera")
    @click.argument("minutes", type=click.FloatRange(0, 1440))
    @options
    def snooze(camera: str, minutes: float, folder: Path | None, config: Path | None) -> None:
        """Let a camera's alerts notify nobody for so many MINUTES (0: wake it). They are still kept and published."""
        until = judgements(folder, config).snooze(camera, minutes, _speaker())
        click.echo(f"{camera}  {'awake' if until is None else f'snoozed until {_moment(until)}'}")


def _speaker() -> str:
    return f"command line, user {os.getuid()}"


def _find(folder: EvidenceFolder, start: str) -> str:
    from taintwatch.evidence.reader import AlertReader

    return AlertReader(folder.history).find(start).event_id


def _line(one: Dismissal) -> str:
    until = "" if one.until_wall_ns is None else f" until {_moment(one.until_wall_ns)}"
    said = f"{one.reason.value}{until}, by {one.by}"
    return f"{one.event_id}  {_moment(one.created_wall_ns)}  {one.camera}  {one.label_name}  {said}"


def _moment(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M")
