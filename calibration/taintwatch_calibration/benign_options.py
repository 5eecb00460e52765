"""The options that commands share which read benign pictures for a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["benign_option", "reading_options", "threads_option"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

benign_option = click.option(
    "--benign", required=True, help="Folder of images, video, or any source, with no attack in it."
)
threads_option = click.option(
    "--threads",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Threads of ONNX Runtime; 0: its choice.",
)
_READING = (
    click.option("--max-frames", default=2000, show_default=True, help="A longer source is thinned evenly."),
    click.option("--preprocessing", help="The model's TOML; default: the one beside it."),
    click.option("--seed", default=0, show_default=True, help="Seed of the split into two halves."),
    threads_option,
)


def reading_options(command: _Command) -> _Command:
    """Add how many frames are read, how the model takes them, how they are split, and on how many threads."""
    for option in reversed(_READING):
        command = option(command)
    return command
