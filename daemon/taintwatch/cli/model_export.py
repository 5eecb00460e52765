"""`taintwatch model export`: what a run opens, for a server that runs it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

__all__ = ["export_command"]


@click.command("export")
@click.argument("model", required=False)
@click.option(
    "--triton",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Write a Triton model repository to this folder; models that are there stay.",
)
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="Take model and detectors from this configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export_command(model: str | None, folder: Path, file: Path | None, as_json: bool) -> None:
    """Export the graphs that a run of MODEL opens (the bundled one, where none is named) to a Triton server.

    Each look is a model of its own, named by its content: a run with `[model] server` asks for exactly these. The
    calibration's thresholds are in them, so export again after calibrating. They are compared with the local run first.
    """
    from taintwatch.assembly import model_settings
    from taintwatch.config.load import load_config
    from taintwatch_models.triton.export import export_repository

    flags: dict[tuple[str | int, ...], tuple[str, Any]] = {} if model is None else {("model", "path"): ("MODEL", model)}
    settings = model_settings(load_config(file, flags))
    done = export_repository(replace(settings, gate_random_share=None, batches=(1,)), folder)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    for one in done.models:
        click.echo(f"{one.name}  {', '.join(one.inputs)} -> {', '.join(one.outputs)}  {one.bytes / 1e6:.1f} MB")
    click.echo(f"scores equal the local run's within {done.difference:.1e}, {done.frames} pictures")
    click.echo(f'serve it: tritonserver --model-repository={folder}; then [model] server = "triton://HOST:8001"')
