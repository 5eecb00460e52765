"""`taintwatch trial`: record attacks over distances, angles and lights, score the clips, report."""

from __future__ import annotations

import click

from taintwatch.cli.lazy import LazyCommand, LazyGroup

__all__ = ["trial_group"]

COMMANDS = {
    "simulate": LazyCommand(
        "taintwatch_calibration.trial.cli_simulate:simulate", "Simulate clips of printed sheets, without a camera."
    ),
    "fov": LazyCommand("taintwatch_calibration.trial.fov:fov", "Measure the camera's field of view."),
    "record": LazyCommand("taintwatch_calibration.trial.record:record", "Record the matrix with a camera, guided."),
    "stills": LazyCommand("taintwatch_calibration.trial.stills:stills", "Take pictures to craft on out of clips."),
    "score": LazyCommand("taintwatch_calibration.trial.cli_score:score", "Judge clips: the attack and the detectors."),
    "report": LazyCommand("taintwatch_calibration.trial.report:report", "Make one HTML page of scored clips."),
    "grid": LazyCommand(
        "taintwatch_calibration.cli_grid:grid", "Digital patches over batch sizes, sizes and places: a table."
    ),
}


@click.group(name="trial", cls=LazyGroup, lazy_commands=COMMANDS)
def trial_group() -> None:
    """Simulate or record attacks over distances, angles and lights; score the clips; report."""
