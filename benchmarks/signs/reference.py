"""Learn the bundled model's reference anew, without training it: `python -m benchmarks.signs.reference --help`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks.scripts import run_script
from benchmarks.signs.bundle import benign_frames, bundled_reference
from taintwatch_models.bundled import bundled_path, bundled_radar
from taintwatch_models.detection.reference import write_reference

__all__ = ["command"]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Folder with the GTSRB files.")  # fmt: skip
@click.option("--scenes", type=click.Path(path_type=Path), help="Photographs without signs, a folder or a tar. "
              "Default: objects/imagenette_128.tar beside --data.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Default: the package's own file.")
def command(data: Path, scenes: Path | None, out: Path | None) -> None:
    """Learn what is benign to the bundled recogniser, for the detector `combined`."""
    radar = bundled_radar()
    pictures = benign_frames(data, scenes or data.parent / "objects" / "imagenette_128.tar", radar.info.preprocessing)
    target = out or bundled_path("signs.radar.onnx").with_name("signs.reference.npz")
    reference = bundled_reference(radar, pictures)
    write_reference(reference, target)
    for point in reference.points:
        click.echo(
            f"{point.target_fpr:.1%}: threshold {point.threshold:.2f} ({point.low:.2f} to {point.high:.2f}), "
            f"{point.alarms} of {point.frames} other benign frames, {point.novel_alarms} of {point.novel_frames} novel"
        )
    click.echo(f"written to {target}")


if __name__ == "__main__":
    sys.exit(run_script(command, "reference"))
