"""Test pictures of the zoo's data as a folder of PNGs with labels.csv, for the benches that read one.

python -m benchmarks.published.pictures signs_vgg --count 240 --out build/published/signs
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks import zoo
from benchmarks.scripts import run_script
from taintwatch_calibration.results import write_text
from taintwatch_models.storage import write_atomically

__all__ = ["main"]


@click.command()
@click.argument("network")
@click.option("--data", default="../shared/data", show_default=True, type=click.Path(path_type=Path, file_okay=False),
              help="The measuring data.")  # fmt: skip
@click.option("--count", default=240, show_default=True, type=click.IntRange(1), help="Pictures, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draw.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write.")
def main(network: str, data: Path, count: int, seed: int, out: Path) -> None:
    """Write test pictures as the zoo's NETWORK sees them, none of which it was trained on."""
    pixels, labels, _ = zoo.pictures(network, data)
    rows = np.random.default_rng(seed).permutation(len(pixels))[:count]
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(("file", "class_index"))
    out.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        name = f"{number:04d}.png"
        _, png = cv2.imencode(".png", cv2.cvtColor(pixels[row], cv2.COLOR_RGB2BGR))
        write_atomically(out / name, png.tobytes())
        lines.writerow((name, int(labels[row])))
    write_text(out / "labels.csv", table.getvalue())
    click.echo(f"{len(rows)} pictures in {out}")


if __name__ == "__main__":
    sys.exit(run_script(main, "published.pictures"))
