"""How a `python -m` command of this package ends: with one sentence where something was wrong."""

from __future__ import annotations

import sys

import click

from taintwatch_models.errors import TaintwatchError

__all__ = ["run_script"]


def run_script(command: click.Command, name: str, *, interrupted: str = "interrupted") -> None:
    """Run `command`; print what it has to say against its use as `name: sentence` and exit with its status.

    `interrupted` is what is said on Ctrl-C (status 130).
    """
    try:
        command(standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"{name}: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except TaintwatchError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(error.exit_status)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: {interrupted}", err=True)
        sys.exit(130)
