"""`taintwatch calibrate refit`: ask a running daemon to learn a camera again."""

from __future__ import annotations

import os
from pathlib import Path

import click

from taintwatch.assembly import learnable_cameras
from taintwatch.config.load import load_config
from taintwatch.config.sections import Config
from taintwatch.evidence.audit import AuditLog
from taintwatch.references import state_folder
from taintwatch.refits import Refits
from taintwatch_models.errors import UsageError

__all__ = ["refit"]


@click.command("refit")
@click.argument("camera")
@click.option("--config", required=True, type=click.Path(path_type=Path), help="The daemon's configuration.")
@click.option("--stop", is_flag=True, help="Take it back: what was learnt before stays.")
def refit(camera: str, config: Path, stop: bool) -> None:
    """Have a running daemon learn CAMERA again, from its next frames that do not look suspicious.

    Until that is done, the camera is judged by what was learnt before. Where too much looks suspicious, it is given up
    and the log says so. Keep attacks away meanwhile.
    """
    loaded = load_config(config)
    known = learnable_cameras(loaded)
    if camera not in known:
        raise UsageError(
            f"{config}: the daemon learns no camera {camera!r} ({', '.join(known) or 'it learns none'}); "
            "`taintwatch calibrate learn` makes the reference of a model"
        )
    refits, by = Refits(state_folder(loaded)), f"command line, user {os.getuid()}"
    if stop and not refits.drop(camera):
        raise UsageError(f"nobody asked for {camera} to be learnt again")
    if not stop:
        refits.ask(camera, by)
    _audit(loaded).write("refit_withdrawn" if stop else "refit_asked", by, camera=camera)
    minutes = f"{loaded.learn.minutes:g} minutes"
    click.echo(f"{camera}  {'judged by what was learnt before' if stop else f'learnt again, of the next {minutes}'}")


def _audit(config: Config) -> AuditLog:
    folder, key = config.evidence.folder, config.evidence.signing_key
    return AuditLog.of(None if folder is None else Path(folder), None if key is None else Path(key))
