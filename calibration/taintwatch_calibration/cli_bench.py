"""`taintwatch bench`: how good detection is on a model of the user's own."""

from __future__ import annotations

import click

from taintwatch.cli.lazy import LazyCommand, LazyGroup

__all__ = ["bench_group"]

COMMANDS = {
    "detection": LazyCommand(
        "taintwatch_calibration.bench.cli_detection:detection", "Models, attacks and detectors side by side."
    ),
}


@click.group(name="bench", cls=LazyGroup, lazy_commands=COMMANDS)
def bench_group() -> None:
    """Measure detection on your own model."""
