"""How a `python -m benchmarks.NAME` command ends: with one sentence where something was wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click

from taintwatch_models.errors import TaintwatchError

__all__ = ["run_main", "run_script"]


def run_script(
    command: click.Command, name: str, arguments: Sequence[str] | None = None, *, interrupted: str = "interrupted"
) -> int:
    """Run `command` and return its exit status; an error is printed as `name: sentence`.

    `arguments`: those of the program where they are None. `interrupted` is what Ctrl-C (status 130) prints.
    """
    try:
        command(None if arguments is None else list(arguments), standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"{name}: {error.format_message()}", err=True)
        return error.exit_code
    except TaintwatchError as error:
        click.echo(f"{name}: {error}", err=True)
        return error.exit_status
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: {interrupted}", err=True)
        return 130
    return 0


def run_main(main: Callable[[], int | None], name: str) -> int:
    """Run a command that reads its own arguments; return its exit status, 0 for None. An error is `name: sentence`."""
    try:
        return main() or 0
    except TaintwatchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_status
