"""`taintwatch calibrate learn`: what is benign at a site, from its own frames and general pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from taintwatch.alarm_rates import wilson_interval
from taintwatch.references import store
from taintwatch.sources.factory import open_source
from taintwatch_calibration.benign_options import threads_option
from taintwatch_calibration.live_frames import LiveFrames, Seconds, camera_to_learn, planned_frames, watch_benign
from taintwatch_calibration.progress import bars, read_with_progress
from taintwatch_models.detection.general import RENDERED, general_pictures
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.reference import Reference, write_reference
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import load_radar_file
from taintwatch_models.model_files import ModelSettings, reference_path

__all__ = ["learn_command"]

_ENOUGH = 300
_LOUD = 3.0
"""How many times the target rate later footage may exceed before it is a warning."""


@click.command("learn")
@click.option("--model", help="ONNX file, plain or prepared; default: the bundled sign model.")
@click.option("--benign", help="Folder of images, video, or any source, with no attack in it.")
@click.option("--from", "camera", help="In place of BENIGN, watch this camera: any source, or with --config a name.")
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(0, min_open=True),
              help="With --from: how long.")  # fmt: skip
@click.option("--every", default="1s", show_default=True, type=Seconds(), help="With --from: between two frames.")
@click.option("--config", type=click.Path(path_type=Path), help="With --from: a daemon's configuration; "
              "its camera of that name is learnt for its model, and kept in its state folder.")  # fmt: skip
@click.option("--general", type=click.Path(path_type=Path, file_okay=False), help="Folder of a few hundred varied "
              "photographs; default: the rendered pictures that come with taintwatch.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Default: <model>.reference.npz beside the model.")
@click.option("--max-frames", default=600, show_default=True, help="A longer source is thinned evenly.")
@click.option("--preprocessing", help="The model's TOML; default: the one beside it.")
@click.option("--labels", help="Class names: a JSON list or a text file.")
@click.option("--seed", default=0, show_default=True, help="Of the folds and the novel frames.")
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print what was learnt as one line of JSON.")
def learn_command(
    model: str | None,
    benign: str | None,
    camera: str | None,
    minutes: float,
    every: float,
    config: Path | None,
    general: Path | None,
    out: Path | None,
    max_frames: int,
    preprocessing: str | None,
    labels: str | None,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Learn what is benign from BENIGN frames, for the detector `combined`.

    Chooses the thresholds for target false-positive rates of 2% and 0.1% a frame, above what is merely new: posters,
    light, blur and noise are made from the benign frames. Give several hundred frames; of footage, the last fifth is
    held out and measured. With --from a camera is watched, and what was kept of it said: keep attacks away meanwhile.
    """
    if (benign is None) == (camera is None) or (config is not None and (camera is None or model is not None)):
        raise UsageError("give --benign or --from, one of them; --config goes with --from, and names the model itself")
    if model is None and out is None and config is None:
        raise UsageError("the bundled model's own reference is not overwritten; say where yours goes with --out")
    known = None if config is None or camera is None else camera_to_learn(config, camera)
    settings = known.settings if known else ModelSettings(path=model, preprocessing=preprocessing, labels=labels)
    radar = load_radar_file(settings)
    target = out or (known.reference(radar.info.source_sha256) if known else reference_path(settings))
    if known is None and not target.parent.is_dir():
        raise UsageError(f"{target}: its folder does not exist")
    watched: LiveFrames | None = None
    with bars() as bar:
        if camera is not None:
            task = bar.add_task("watching", total=planned_frames(minutes, every))
            source = known.source if known else open_source(camera)
            watched = watch_benign(source, radar.info.preprocessing, minutes, every, _counter(bar.update, task))
            bar.console.print(watched.sentence(), highlight=False)
        frames = (
            watched.frames if watched else read_with_progress(bar, str(benign), radar.info.preprocessing, max_frames)
        )
        pictures = general_pictures(radar.info.preprocessing, general)
        task = bar.add_task("learning", total=None)
        reference = learn(
            radar,
            frames.pixels,
            pictures,
            footage=frames.footage,
            description=frames.description,
            general_description=RENDERED if general is None else str(general),
            seed=seed,
            threads=threads,
            progress=_bar(bar.update, task),
        )
    store(target, lambda path: write_reference(reference, path))
    if as_json:
        counted = {"read": watched.read, "early": watched.early, "lost": watched.lost} if watched else {}
        click.echo(json.dumps({"file": str(target), **counted, **summary(reference)}))
    else:
        _show(Console(), reference, target, frames.bad)


def _counter(update: Callable[..., None], task: TaskID) -> Callable[[int], None]:
    return lambda kept: update(task, completed=kept)


def _bar(update: Callable[..., None], task: TaskID) -> Callable[[int, int], None]:
    return lambda done, total: update(task, completed=done, total=total)


def summary(reference: Reference) -> dict[str, Any]:
    """Return what was learnt, JSON-ready."""
    return {
        "model_hash": reference.model_hash,
        **asdict(reference.about),
        "gate": reference.gate,
        "points": [asdict(point) for point in reference.points],
        "warnings": warnings(reference),
    }


def warnings(reference: Reference) -> list[str]:
    """Return what the user should know before trusting it, one sentence each."""
    about, found = reference.about, []
    if about.site_frames < _ENOUGH:
        found.append(
            f"{about.site_frames} benign frames are few: the thresholds are that uncertain (see their intervals); "
            f"give at least {_ENOUGH}"
        )
    for point in reference.points:
        low, _ = wilson_interval(point.alarms, point.frames)
        if about.footage and low > _LOUD * point.target_fpr:
            found.append(
                f"{point.alarms} of the {point.frames} last frames exceed the threshold for {point.target_fpr:.1%}: "
                "what came later differs from what was learnt; learn from longer footage, at several times of day"
            )
    return found


def _show(console: Console, reference: Reference, target: Path, bad: int) -> None:
    about = reference.about
    skipped = f" ({bad} unreadable ones skipped)" if bad else ""
    console.print(
        f"{about.site_frames} benign frames of {about.site}{skipped}, {about.general_frames} general pictures "
        f"({about.general})"
    )
    on = "the last fifth" if about.footage else "frames that did not choose it"
    table = Table("target FPR", "threshold", "95% interval", f"false positives on {on}", "on novel frames")
    for point in reference.points:
        table.add_row(
            f"{point.target_fpr:.1%}", f"{point.threshold:.2f}", f"{point.low:.2f} to {point.high:.2f}",
            _rate(point.alarms, point.frames), _rate(point.novel_alarms, point.novel_frames),
        )  # fmt: skip
    console.print(table)
    for warning in warnings(reference):
        console.print(f"warning: {warning}", style="yellow")
    console.print(f"written to {target}")


def _rate(alarms: int, frames: int) -> str:
    low, high = wilson_interval(alarms, frames)
    share = alarms / frames if frames else 0.0
    return f"{share:.2%} ({alarms} of {frames}; {low:.2%} to {high:.2%})"
