"""`taintwatch bench`: how good detection is, measured side by side."""

from __future__ import annotations

import click

from taintwatch.cli.lazy import LazyCommand, LazyGroup

__all__ = ["bench_group"]

COMMANDS = {
    "detection": LazyCommand(
        "taintwatch_calibration.bench.cli_detection:detection", "Models, attacks and detectors side by side."
    ),
    "train": LazyCommand("taintwatch_calibration.bench.cli_train:train", "Train the networks that it measures on."),
    "votes": LazyCommand(
        "taintwatch_calibration.bench.cli_votes:votes", "Vote policies: false alarms and time to alarm."
    ),
}


@click.group(name="bench", cls=LazyGroup, lazy_commands=COMMANDS)
def bench_group() -> None:
    """Measure detection: models, attacks, detectors, votes over time."""
