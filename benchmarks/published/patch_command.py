"""What the commands that craft on a `PatchBench` share: their options, and the document that they write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.published.patch_bench import PatchBench
from taintwatch_calibration.craft.engine import Schedule
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json

__all__ = ["PatchRun", "patch_command"]


@dataclass(frozen=True, slots=True)
class PatchRun:
    """One run of such a command: the bench, and what was asked for."""

    bench: PatchBench
    size: float
    iterations: int
    seed: int
    document: Path | None

    @property
    def schedule(self) -> Schedule:
        """Adam at 0.03, falling."""
        return Schedule(self.iterations, 0.03, "adam", seed=self.seed)

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows with the machine, the model and the settings, where a file was named."""
        if self.document is not None:
            asked = {"size": self.size, "iterations": self.iterations, "seed": self.seed}
            write_json(self.document, {**machine(), **self.bench.about(), **asked, "rows": rows})


def patch_command(*, size: float, iterations: int) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function of a `PatchRun` and its own options; `size` and `iterations` are the defaults."""
    options = (
        click.option("--model", required=True, help="ONNX file."),
        click.option("--images", required=True, type=click.Path(path_type=Path), help="Folder of labelled pictures."),
        click.option("--target", required=True, help="The label that the patches show, by name or number."),
        click.option("--count", default=40, show_default=True, help="Pictures to attack."),
        click.option("--size", default=size, show_default=True, help="Side of the patches, of the picture's."),
        click.option("--iterations", default=iterations, show_default=True, help="Steps of each patch."),
        click.option("--seed", default=0, show_default=True, help="Seed of the pictures and the patches."),
        click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows."),
    )

    def decorate(function: Callable[..., None]) -> click.Command:
        def command(
            model: str, images: Path, target: str, count: int, size: float, iterations: int, seed: int,
            document: Path | None, **own: Any,
        ) -> None:  # fmt: skip
            torch.set_num_threads(1)
            bench = PatchBench(model, images, target, count, seed)
            function(PatchRun(bench, size, iterations, seed, document), **own)

        command.__doc__ = function.__doc__
        command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        for option in reversed(options):
            command = option(command)
        return click.command()(command)

    return decorate
