"""`taintwatch doctor`: a table of what works here."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

__all__ = ["doctor"]

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of the table.")
@click.option("--torch", "import_torch", is_flag=True, help="Import torch too (slow) and ask it for CUDA.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5556, show_default=True, help="Try this port for alerts."
)
def doctor(as_json: bool, import_torch: bool, port: int) -> int:
    """Show what works on this machine and what does not, and what to do about it.

    Exit status 1 where something that Taintwatch needs fails; a warning is something that it can do without.
    """
    from taintwatch.doctor import State, all_checks

    checks = all_checks(port=port, import_torch=import_torch)
    failed = sum(check.state is State.FAIL for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}, indent=2))
        return int(failed > 0)
    width = max(len(check.name) for check in checks)
    for check in checks:
        state = click.style(f"{check.state.value:<4}", fg=COLOURS[check.state.value])
        advice = f"  -> {check.advice}" if check.advice else ""
        click.echo(f"{state}  {check.name:<{width}}  {check.found}{advice}")
    warned = sum(check.state is State.WARN for check in checks)
    click.echo(f"{len(checks)} checks: {failed} failed, {warned} with a warning")
    sys.stdout.flush()
    return int(failed > 0)
