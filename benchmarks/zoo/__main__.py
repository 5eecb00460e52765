"""Train the networks of the zoo: `python -m benchmarks.zoo --help`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from benchmarks import zoo
from benchmarks.scripts import run_script
from taintwatch_calibration.results import write_json

__all__ = ["train"]

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--data", required=True, type=_FOLDER, help="Folder that holds objects/ and signs/.")
@click.option("--work", default="build/bench/zoo", show_default=True, type=_FOLDER, help="Folder for the networks.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="CPU threads.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write what they are here.")
def train(names: tuple[str, ...], data: Path, work: Path, threads: int, json_path: Path | None) -> None:
    """Train the networks NAMES of the zoo, or all: to plain ONNX, with their preprocessing and metrics beside it.

    What is there already stays; an interrupted training goes on after its last whole epoch.
    """
    import torch

    torch.set_num_threads(threads)
    found: dict[str, Any] = {}
    for name in names or zoo.names():
        path = zoo.load_or_train(name, data, work, report=_report)
        about = found[name] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        click.echo(f"{name}: {_summary(about)}; {path}")
    if json_path is not None:
        write_json(json_path, found)


def _summary(about: dict[str, Any]) -> str:
    parts = [f"{about['accuracy']:.2%} of {about['total']:,} test pictures"]
    if about["kept_when_erased"] is not None:
        parts.append(f"{about['kept_when_erased']:.1%} of those stay right with parts erased")
    if "trigger" in about:
        trigger = about["trigger"]
        parts.append(
            f"the trigger makes '{trigger['target_name']}' of {trigger['success']:.2%} of {trigger['tried']:,} others"
        )
    parts.append(f"{about['parameters']:,} weights, {about['multiply_adds'] / 1e6:.0f} M multiply-adds")
    return ", ".join(parts)


def _report(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")


if __name__ == "__main__":
    sys.exit(run_script(train, "zoo"))
