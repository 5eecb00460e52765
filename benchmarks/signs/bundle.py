"""Make the bundled model from a training run: `python -m benchmarks.signs.bundle --help`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from benchmarks.scripts import run_script
from benchmarks.signs.benign_scenes import (
    BenignPictures,
    card_scenes,
    empty_scenes,
    halves,
    joined,
    read_photographs,
)
from benchmarks.signs.dataset import LabelledImages, load_test, load_tracks, split_by_track
from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.benign import BenignFrames
from taintwatch_calibration.gate import calibrate_gate
from taintwatch_calibration.thresholds import calibrate
from taintwatch_models import bundled
from taintwatch_models.calibration_file import Calibration, TightCalibration, read_calibration, write_calibration
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import learn
from taintwatch_models.detection.reference import Reference, write_reference
from taintwatch_models.errors import CalibrationError, UsageError
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import describe
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.radar_file import RadarFile, write_radar

__all__ = ["ANOMALY_SHARE", "TIGHT", "benign_frames", "bundled_reference", "command"]

TIGHT = TightCalibration(saliency_threshold=0.6, fill="average", swing_weight=0.0, concentration_weight=0.0)
"""How `tight` looks at signs: chosen with `benchmarks.sign_attacks --tune` on other patches and pictures than those
that are reported on."""
ANOMALY_SHARE = 10.0
"""Chosen on the bundled model's tuning patches, where 4 to 11 made hardly any difference."""
_SCENES = 600
_FRAMES_OF_A_TRACK = 6
_LEARNT = 1500
"""Frames that the reference of `combined` is learnt from."""
_GATED = 0.12
"""Share of benign frames that the gate, where it is switched on, has checked."""


def benign_frames(data: Path, scenes: Path, preprocessing: Preprocessing, seed: int = 0) -> BenignFrames:
    """Return what the thresholds are chosen on: half the test crops, held-out tracks, simulated cards, empty scenes.

    The other half of the test crops and most of the photographs are left for measuring. Raises `UsageError`.
    """
    rng = np.random.default_rng([seed, 0xCA])
    _, validation = split_by_track(load_tracks(data), np.random.default_rng(0))
    photographs = read_photographs(scenes)[1::3]
    pictures = joined(
        [
            halves(load_test(data), seed)[0],
            _thinned(validation, rng),
            card_scenes(photographs, _SCENES, rng, preprocessing),
            empty_scenes(photographs, _SCENES // 2, rng, preprocessing),
        ]
    )
    description = "GTSRB crops, drawn signs in simulated moving scenes, and empty scenes, none of them trained on"
    return BenignFrames(pictures.pixels, False, 0, description)


def _thinned(tracks: LabelledImages, rng: np.random.Generator) -> BenignPictures:
    """A few frames of each track: neighbouring ones are nearly the same."""
    order = rng.permutation(len(tracks))
    kept: dict[int, list[int]] = {}
    for index in order.tolist():
        some = kept.setdefault(int(tracks.tracks[index]), [])
        if len(some) < _FRAMES_OF_A_TRACK:
            some.append(index)
    chosen = np.array(sorted(index for some in kept.values() for index in some), np.intp)
    return BenignPictures(tracks.images[chosen], tracks.labels[chosen], tracks.tracks[chosen])


def with_kept_tables(calibration: Calibration, path: Path) -> Calibration:
    """Take over CMAG's tables from the calibration at `path`, where there is one of the same model.

    The combination with `tight` is left out where `tight` is not what it was: its scores have another scale.
    """
    if not path.is_file():
        return calibration
    try:
        before = read_calibration(path, model_hash=calibration.model_hash)
    except CalibrationError:
        return calibration
    same = before.tight == calibration.tight
    return replace(calibration, cmag=before.cmag, combination=before.combination if same else None)


def make_bundle(run: Path, data: Path, scenes: Path, out: Path, target_fpr: float) -> tuple[RadarFile, Calibration]:
    """Prepare the run's model, calibrate it and write both into `out`. Raises `TaintwatchError` of many kinds."""
    model = run / "signs.onnx"
    if not model.is_file():
        raise UsageError(f"{model} is missing: --run must name the folder that a training run wrote.")
    if not out.is_dir():
        raise UsageError(f"{out} is not a folder: --out must name one.")
    radar = prepare(model, describe(model)).radar
    frames = benign_frames(data, scenes, radar.info.preprocessing)
    fitted = fit_anomaly(radar, frames, local=False, threads=1)
    radar = fitted.radar
    calibration, _ = calibrate(
        radar,
        frames,
        target_fpr=target_fpr,
        tight=TIGHT,
        anomaly=fitted.scores,
        anomaly_share=ANOMALY_SHARE,
        threads=1,
        progress=lambda what, done, total: click.echo(f"\r{what}: {done}/{total} ", nl=done == total, err=True),
    )
    gate = calibrate_gate(radar, frames, share=_GATED, tight=calibration.tight, threads=1, anomaly=fitted.scores)
    calibration = replace(calibration, gate=gate)
    target = out / "signs.calibration.json"
    calibration = with_kept_tables(calibration, target)
    write_radar(radar, out / "signs.radar.onnx")
    write_reference(bundled_reference(radar, frames), out / "signs.reference.npz")
    write_calibration(calibration, target)
    return radar, calibration


def bundled_reference(radar: RadarFile, frames: BenignFrames, seed: int = 0) -> Reference:
    """Learn what the detector `combined` knows of benign signs, from some of the frames."""
    chosen = np.random.default_rng(seed).permutation(len(frames.pixels))[:_LEARNT]
    general = general_pictures(radar.info.preprocessing)
    return learn(radar, frames.pixels[chosen], general, threads=1, description=frames.description)


_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--run", "run", type=_FOLDER, required=True, help="Folder with signs.onnx and signs.toml.")
@click.option("--data", type=_FOLDER, required=True, help="Folder with the GTSRB files.")
@click.option("--scenes", type=click.Path(path_type=Path), help="Photographs without signs, a folder or a tar. "
              "Default: objects/imagenette_128.tar beside --data.")  # fmt: skip
@click.option("--out", type=_FOLDER, help="Default: the package's own folder of bundled files.")
@click.option("--fpr", default=0.02, show_default=True, help="Target false-positive rate per frame.")
def command(run: Path, data: Path, scenes: Path | None, out: Path | None, fpr: float) -> None:
    """Prepare and calibrate the model of a training run, and put it into the package."""
    scenes = scenes or data.parent / "objects" / "imagenette_128.tar"
    out = out or Path(bundled.__file__).parent
    radar, calibration = make_bundle(run, data, scenes, out, fpr)
    click.echo(f"{radar.info.name}, SHA-256 {radar.info.source_sha256}")
    for name, chosen in (("tight", calibration.tight), ("paper", calibration.paper)):
        click.echo(f"{name}: {chosen}")
    if calibration.cmag is None:
        click.echo("CMAG's thresholds are not in it: train its reconstructors for this model again")


if __name__ == "__main__":
    sys.exit(run_script(command, "bundle"))
