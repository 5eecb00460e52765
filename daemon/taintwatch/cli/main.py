"""The `taintwatch` program: the table of its commands, and the only place that catches everything."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress

import click

from taintwatch import __version__
from taintwatch.cli.lazy import LazyCommand, LazyGroup
from taintwatch.printable import printable
from taintwatch_models.errors import EXIT_FAILURE, TaintwatchError

__all__ = ["EXIT_INTERRUPTED", "cli", "main"]

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

COMMANDS = {
    "demo": LazyCommand("taintwatch.cli.demo:demo", "Show an attack being detected: no camera, printer or GPU needed."),
    "check": LazyCommand("taintwatch.cli.check:check", "Check pictures for attacks, one line each."),
    "run": LazyCommand("taintwatch.cli.run:run", "Watch cameras, streams, videos or pictures."),
    "fleet": LazyCommand("taintwatch.cli.fleet:fleet_group", "Watch live cameras on several machines, over Ray."),
    "watch": LazyCommand("taintwatch.cli.watch:watch", "Follow the alerts of a running daemon."),
    "alerts": LazyCommand("taintwatch.cli.alerts:alerts_group", "List, show, export and prune the alerts kept."),
    "keys": LazyCommand("taintwatch.cli.keys:keys_group", "Make keys for encrypted alerts; allow and revoke clients."),
    "service": LazyCommand("taintwatch.cli.service:service_group", "Install the systemd service, or show how it is."),
    "doctor": LazyCommand("taintwatch.cli.doctor:doctor", "Show what works on this machine and what does not."),
    "manual": LazyCommand("taintwatch.cli.manual:manual", "Print the manual page."),
    "config": LazyCommand(
        "taintwatch.cli.config:config_group", "Check a configuration; print its schema or an example."
    ),
    "model": LazyCommand("taintwatch.cli.model:model_group", "Prepare and inspect classifiers."),
    "bench": LazyCommand("taintwatch_calibration.cli_bench:bench_group", "Measure how good detection is."),
    "calibrate": LazyCommand(
        "taintwatch_calibration.cli_calibrate:calibrate_group", "Choose thresholds from benign footage."
    ),
    "cmag": LazyCommand(
        "taintwatch_calibration.cli_cmag:cmag_group", "Train and calibrate detection by reconstruction (CMAG)."
    ),
    "craft": LazyCommand("taintwatch_calibration.cli_craft:craft_group", "Craft attacks, printed or digital."),
    "face": LazyCommand("taintwatch_calibration.cli_face:face_group", "Enrol people; train what a face camera runs."),
    "print": LazyCommand("taintwatch_calibration.cli_print:print_group", "Make sheets to print at true size."),
    "trial": LazyCommand(
        "taintwatch_calibration.cli_trial:trial_group", "Record, score and report attacks over distances and angles."
    ),
}


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="taintwatch")
@click.option("--debug", is_flag=True, help="Print tracebacks and debug logs; may stand anywhere on the line.")
def cli(debug: bool) -> None:
    """Watch a camera's classifier for printed attacks: patches, stickers, adversarial glasses."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status.

    `arguments` None: those of the process, which then ends at once even where a thread hangs.

    2 for a wrong call, 78 for a wrong configuration, 130 when interrupted, 1 for anything unforeseen. An error is one
    sentence on standard error; with `--debug`, anywhere on the line, its traceback stands before it.
    """
    status = _run(list(sys.argv[1:] if arguments is None else arguments))
    if arguments is None:
        _leave_if_threads_hang(status)
    return status


def _run(given: list[str]) -> int:
    """Run one command and return the exit status."""
    debug = "--debug" in given
    # Taken out here so that it may stand anywhere and no command needs to declare it; `ctx.obj` tells the command.
    rest = [argument for argument in given if argument != "--debug"]
    try:
        status = cli.main(args=rest, prog_name="taintwatch", standalone_mode=False, obj={"debug": debug})
    except click.ClickException as error:
        return _complain(_usage_sentence(error), error.exit_code, debug)
    except (click.Abort, KeyboardInterrupt):
        return _complain("interrupted", EXIT_INTERRUPTED, debug)
    except TaintwatchError as error:
        return _complain(str(error), error.exit_status, debug)
    except BrokenPipeError:
        return _reader_went_away()
    except Exception as error:
        sentence = f"unexpected {type(error).__name__}: {error}; run with --debug for the traceback"
        return _complain(sentence, EXIT_FAILURE, debug)
    return status if isinstance(status, int) else 0


def _leave_if_threads_hang(status: int) -> None:
    """End the process where a thread was left behind, in a camera's read that does not return.

    The interpreter would end such threads by unwinding whatever C++ they are in, which libraries answer with an abort.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _usage_sentence(error: click.ClickException) -> str:
    """Return click's message as one sentence that says where help is."""
    message = error.format_message()
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return message
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return message  # the help text itself
    return f"{message.rstrip('.')} (see {error.ctx.command_path} --help)"


def _complain(sentence: str, status: int, debug: bool) -> int:
    """Print one line on standard error (after the traceback where it was asked for) and return `status`."""
    if debug:
        traceback.print_exc()
    line = sentence if sentence.startswith("Usage:") else "taintwatch: " + printable(" ".join(sentence.split()))
    click.echo(line, err=True)
    return status


def _reader_went_away() -> int:
    """End quietly when whatever read our output has gone (`taintwatch watch | head`)."""
    # Without this the interpreter flushes standard output at exit, and complains then.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return EXIT_FAILURE


if __name__ == "__main__":
    raise SystemExit(main())
