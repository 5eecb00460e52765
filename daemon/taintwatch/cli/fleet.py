"""`taintwatch fleet`: cameras on several machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from taintwatch.config.sections import Config

__all__ = ["fleet_group"]

STEP_S = 0.5
STATUS_S = 1.0


@click.group(name="fleet")
def fleet_group() -> None:
    """Watch live cameras on several machines, over Ray. One machine needs `taintwatch run` alone."""


@fleet_group.command(name="run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--log-json", is_flag=True, help="Log as JSON lines.")
def run(file: Path, log_json: bool) -> int:
    """Watch the cameras of FILE on the Ray cluster that it or RAY_ADDRESS names, else on one started here.

    FILE has the sections of a daemon's configuration, and [fleet]. Groups of cameras are placed by CPU, GPU and memory;
    one that is lost starts elsewhere. Stop it with Ctrl-C or SIGTERM. Exit with status 1 where a group was nowhere at
    the end, or did not end cleanly.
    """
    import logging

    from taintwatch.config.load import load_config
    from taintwatch.logs import set_up_logging
    from taintwatch.preflight import refuse_mistakes

    set_up_logging(as_json=log_json, level=logging.INFO)
    config = load_config(file)
    refuse_mistakes(config)
    return _supervise(config)


@fleet_group.command(name="status")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(file: Path, as_json: bool) -> int:
    """Say where each camera of FILE's fleet runs and how it is, the worst first; on the machine of `fleet run`.

    Exit with status 1 where a camera is not running.
    """
    from taintwatch.config.load import load_config
    from taintwatch.fleet.status_file import read_status, status_lines, status_path

    found = read_status(status_path(load_config(file)))
    if as_json:
        click.echo(json.dumps(found))
    else:
        for line in status_lines(found):
            click.echo(line)
    cameras = [camera["state"] for group in found["groups"] for camera in group["cameras"]]
    return 0 if all(state == "running" for state in cameras) else 1


def _supervise(config: Config) -> int:
    import time
    from contextlib import ExitStack

    from taintwatch.fleet.fleet_page import FleetPage
    from taintwatch.fleet.ray_cluster import ray_cluster
    from taintwatch.fleet.status_file import status_path, write_status
    from taintwatch.fleet.supervisor import Supervisor
    from taintwatch.process import stop_on_signals

    path, said = status_path(config), ""
    with ExitStack() as stack:
        supervisor = Supervisor(config, stack.enter_context(ray_cluster(config)))
        stopping = stack.enter_context(stop_on_signals())  # after Ray, which sets handlers of its own
        page = FleetPage(config)
        page.start(stack)
        next_status = 0.0
        while not stopping.is_set() and not supervisor.finished:
            supervisor.step()
            if time.monotonic() >= next_status:
                next_status = time.monotonic() + STATUS_S
                found = supervisor.status()
                write_status(path, found)
                page.update(found)
                said = _say(found, said)
            stopping.wait(STEP_S)
        placed = all(group["node"] is not None for group in supervisor.status()["groups"])
        clean = supervisor.stop(config.limits.stop_s + 10.0)
        path.unlink(missing_ok=True)
    return 0 if clean and placed else 1


def _say(status: dict[str, Any], before: str) -> str:
    """Print a line when the number of cameras that run, or of machines, has changed."""
    from taintwatch.fleet.status_file import status_lines

    line = next(status_lines(status))
    if line != before:
        click.echo(line, err=True)
    return line
