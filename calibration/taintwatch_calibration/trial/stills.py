"""`taintwatch trial stills`: pictures of an object out of its clips, to craft an attack on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch.sources.source import read_through
from taintwatch.sources.video import VideoSource
from taintwatch_calibration.trial.clips import find_videos, read_clip
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["stills"]


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--every", default=3, show_default=True, type=click.IntRange(1), help="Take one picture of so many.")
@click.option("--truth", type=click.IntRange(0), help="Class number of the object where a clip does not say it.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the pictures.")
def stills(videos: tuple[Path, ...], every: int, truth: int | None, out: Path) -> None:
    """Take pictures without an attack out of VIDEOS (files or folders) and list them in labels.csv.

    That is what `taintwatch craft` takes as --images. Clips of a control are left out.
    """
    rows: list[tuple[str, int]] = []
    for video in find_videos(videos):
        info = read_clip(video)
        if info is not None and info.condition == "control":
            continue
        label = info.truth if info is not None and isinstance(info.truth, int) else truth
        if label is None:
            raise UsageError(f"{video}: which class it shows is not known; give its number with --truth")
        for index, grab in enumerate(read_through(VideoSource(video))):
            if index % every == 0 and not (info is not None and info.attacked(grab.media_s or 0.0)):
                rows.append((_keep(out, f"{video.stem}-{index:05d}.png", grab.image), label))
    if not rows:
        raise UsageError("there is no picture without an attack in these clips; record the object alone, too")
    text = io.StringIO()
    csv.writer(text).writerows([("file", "class_index"), *rows])
    write_atomically(out / "labels.csv", text.getvalue().encode())
    click.echo(f"{out}: {len(rows)} pictures and labels.csv; craft on them with `taintwatch craft ... --images {out}`")


def _keep(out: Path, name: str, image: NDArray[np.uint8]) -> str:
    _, png = cv2.imencode(".png", image)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / name, png.tobytes())
    except OSError as error:
        raise UsageError(f"{out}: pictures cannot be kept there ({error.strerror or error})") from None
    return name
