"""`taintwatch calibrate objects`: what benign frames look like to an object detector that is guarded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from taintwatch_calibration.benign_options import threads_option
from taintwatch_calibration.progress import bars, read_with_progress
from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.general import unpack
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image
from taintwatch_models.objects.finder import FinderSettings, ObjectFinder
from taintwatch_models.objects.guard import write_guard
from taintwatch_models.objects.guard_learning import learn_guard
from taintwatch_models.objects.place_appearance import LONGER_SIDE
from taintwatch_models.preprocessing import Preprocessing

__all__ = ["objects"]


@click.command("objects")
@click.option("--model", required=True, help="The object detector, an ONNX file.")
@click.option("--labels", help="Its class names: a .json list or a .txt; default: those in the TOML beside it.")
@click.option("--preprocessing", help="The model's TOML; default: the one beside it.")
@click.option("--decoder", help="Layout of its outputs; default: what they look like.")
@click.option(
    "--benign", required=True, help="Video, folder of images or any source of the site, with no attack in it."
)
@click.option("--general", type=click.Path(path_type=Path, file_okay=False), help="Folder of varied photographs; "
              "default: the rendered pictures that are bundled.")  # fmt: skip
@click.option("--fpr", default=0.002, show_default=True, type=click.FloatRange(1e-6, 0.5), help="Share of benign "
              "frames that may look suspicious.")  # fmt: skip
@click.option("--max-frames", default=400, show_default=True, help="A longer source is thinned evenly.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: MODEL.objects.npz.")
@click.option("--seed", default=0, show_default=True, help="Seed of the choice of channels, and of the posters.")
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print what was learnt as one line of JSON.")
def objects(
    model: str,
    labels: str | None,
    preprocessing: str | None,
    decoder: str | None,
    benign: str,
    general: Path | None,
    fpr: float,
    max_frames: int,
    out: Path | None,
    seed: int,
    threads: int,
    as_json: bool,
) -> None:
    """Learn what BENIGN frames look like to the detector, for `detectors = ["objects"]`.

    No attack is needed. Take frames from several hours: what the camera never showed looks unusual later.
    """
    settings = FinderSettings(
        model, labels=labels, preprocessing=preprocessing, decoder=decoder, device="cpu", threads=threads
    )
    target = out or Path(model).with_suffix(".objects.npz")
    if not target.parent.is_dir():
        raise UsageError(f"{target}: its folder does not exist")
    wanted = _layout(ObjectFinder(settings).preprocessing)
    with bars() as bar:
        frames = read_with_progress(bar, benign, wanted, max_frames)
        pictures = list(frames.pixels if wanted.order == "bgr" else frames.pixels[..., ::-1])
        learning = bar.add_task("learning", total=None)
        reference = learn_guard(
            settings,
            [np.ascontiguousarray(picture) for picture in pictures],
            _general(general),
            target_fpr=fpr,
            seed=seed,
            progress=lambda done, total: bar.update(learning, completed=done, total=total),
        )
    write_guard(reference, target)
    told = {"file": str(target), "frames": len(pictures), "threshold": reference.threshold, "gate": reference.gate}
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(
            f"learnt from {len(pictures)} frames: suspicious above a score of {reference.threshold:.2f}; frames with "
            f"an anomaly above {reference.gate:.2f} are looked at again; written to {target}"
        )


def _layout(inputs: Preprocessing) -> Preprocessing:
    """Return how frames are read: as the detector's input, but no smaller than they are looked at."""
    gain = max(1.0, LONGER_SIDE / max(inputs.size))
    height, width = (round(gain * side) for side in inputs.size)
    return replace(inputs, size=(height, width))


def _general(folder: Path | None) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Return general pictures, blue-green-red. Raises `UsageError`."""
    if folder is None:
        return list(unpack(bundled_path("general.npz")))
    found, reason = [], ""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".jpg", ".png"):
            try:
                found.append(read_image(path))
            except BadFrame as error:
                reason = f" ({error})"
    if len(found) < 60:
        many = f"{len(found)} JPEG and PNG pictures are too few{reason}"
        raise UsageError(f"--general {folder}: {many}; give at least 60")
    return found
