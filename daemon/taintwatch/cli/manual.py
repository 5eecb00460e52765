"""`taintwatch manual`: the manual page, made from the commands themselves as `--help` is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

__all__ = ["STATUSES", "manual", "manual_page"]

STATUSES = {
    0: "Done; also a clean stop of taintwatch run after SIGTERM or Ctrl-C.",
    1: "Something unforeseen, a check that did not pass, or a suspicious picture (taintwatch check).",
    2: "Wrong use: an unknown option or command, a missing or empty source, a wrong value.",
    78: "Wrong configuration, model, calibration, device or endpoint: starting again cannot help.",
    130: "Interrupted before a run had begun.",
}
"""What each exit status means; docs/errors.md says which error has which."""


@click.command("manual")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
@click.pass_context
def manual(ctx: click.Context, out: Path | None) -> None:
    """Print the manual page of all commands, in roff.

    Read it with `taintwatch manual | man -l -`, or install it: `taintwatch manual --out
    ~/.local/share/man/man1/taintwatch.1`.
    """
    from taintwatch_models.errors import UsageError

    page = manual_page(ctx.find_root())
    if out is None:
        click.echo(page, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error


def manual_page(root: click.Context) -> str:
    """Return the page of the program and of every command below it; groff's man macros, section 1."""
    from taintwatch import __version__

    program = root.command
    lines = [
        f'.TH TAINTWATCH 1 "" "Taintwatch {__version__}" "Taintwatch"',
        ".SH NAME",
        "taintwatch \\- " + _roff(_first_sentence(program)),
        ".SH SYNOPSIS",
        ".B taintwatch",
        _roff("[--debug] COMMAND [ARGS]..."),
        ".SH OPTIONS",
        *_options(root),
        ".SH COMMANDS",
        *_commands(root),
        ".SH EXIT STATUS",
    ]
    for status, words in STATUSES.items():
        lines += [".TP", f"\\fB{status}\\fP", _roff(words)]
    lines += [".SH ENVIRONMENT", ".TP", "\\fBNO_COLOR\\fP", "Where it is set, output has no colours."]
    lines += [".TP", "\\fBSTATE_DIRECTORY\\fP", "Keeps what is learnt of each camera, unless learn.folder says where."]
    return "\n".join(lines) + "\n"


def _commands(ctx: click.Context) -> Iterator[str]:
    """Yield a subsection for each command that can be called, groups' own commands after them."""
    group = ctx.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        own = click.Context(command, info_name=name, parent=ctx)
        usage = " ".join(command.collect_usage_pieces(own))
        yield f".SS {_roff(f'{own.command_path} {usage}')}"
        yield from _paragraphs(command.help or "")
        yield from _options(own)
        yield from _commands(own)


def _options(ctx: click.Context) -> Iterator[str]:
    for parameter in ctx.command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            flags, words = record
            yield from (".TP", f"\\fB{_roff(flags)}\\fP", _roff(words) or "\\&")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph:
            yield ".PP"
            yield _roff(" ".join(paragraph.replace("\b", "").split()))


def _first_sentence(command: click.Command) -> str:
    return (command.help or "").strip().partition("\n\n")[0].rstrip(".")


def _roff(text: str) -> str:
    """Return text as roff shows it: backslashes and dashes as they are, no line that looks like a request."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").strip()
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
