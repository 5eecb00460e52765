"""The region attack on the bundled sign model: what CMAG and `tight` see of it, alone and together, beside squeezing.

    python -m benchmarks.cmag.region --data ../shared/data/signs --json docs/results/cmag_region.json

Each picture's contributing region is changed faintly (`craft region`); only pictures that the model gets right, and
then wrong, count. One part of the pictures chooses all thresholds, another counts false alarms and is attacked.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cmag.patches import frames, row, rows_of, scores_of
from benchmarks.peers.squeezing import FeatureSqueezing
from benchmarks.scripts import run_script
from benchmarks.sign_attacks.pictures import cached_pictures, load_pictures
from benchmarks.signs.benign_scenes import BACKGROUND, BenignPictures
from taintwatch_calibration.anomaly import fit_anomaly
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.craft.materials import differentiable
from taintwatch_calibration.craft.physical import Pictures
from taintwatch_calibration.craft.region import RegionRecipe, region_attack
from taintwatch_calibration.machine import machine
from taintwatch_calibration.rates import area_under_roc, operating_point
from taintwatch_calibration.results import write_json
from taintwatch_models.bundled import bundled_calibration_path, bundled_path, bundled_radar
from taintwatch_models.calibration_file import read_calibration
from taintwatch_models.cmag.file import read_cmag
from taintwatch_models.detection.looks import CombinedRadar
from taintwatch_models.detection.reference import read_reference
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.radar_file import RadarFile

Pixels = NDArray[np.uint8]


@click.command()
@click.option(
    "--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder with the GTSRB files."
)
@click.option("--work", default=Path("build/cmag-region"), show_default=True, type=click.Path(path_type=Path),
              help="Pictures are kept here.")  # fmt: skip
@click.option("--count", default=160, show_default=True, type=click.IntRange(8), help="Signs that are attacked.")
@click.option("--benign", default=800, show_default=True, type=click.IntRange(100), help="Pictures of each part.")
@click.option("--fpr", default=0.02, show_default=True, help="Target false-positive rate.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows here.")
def main(data: Path, work: Path, count: int, benign: int, fpr: float, document: Path | None) -> None:
    """Attack signs in their contributing regions, and judge them by each detector."""
    torch.set_num_threads(1)
    radar = bundled_radar()
    scenes = data.parent / "objects" / "imagenette_128.tar"
    work.mkdir(parents=True, exist_ok=True)
    pictures = cached_pictures(Cache(work), lambda: load_pictures(data, scenes, radar.info.preprocessing))
    choosing, reporting = (_some(part, benign) for part in (pictures.tuning, pictures.reporting))
    hits = _attacked(radar, pictures.reporting, count)
    rows = _judged(radar, choosing, reporting, hits, fpr)
    if document is not None:
        write_json(document, {
            **machine(), "model": radar.info.name, "model_sha256": radar.info.source_sha256, "target_fpr": fpr,
            "attacked": count, "succeed": len(hits), "rows": rows,
        })  # fmt: skip


def _some(part: BenignPictures, count: int) -> Pixels:
    chosen = np.random.default_rng(0).permutation(len(part))[:count]
    return part.pixels[chosen]


def _attacked(radar: RadarFile, part: BenignPictures, count: int) -> Pixels:
    """Return the signs of a part that the attack succeeds on, of so many that the model gets right."""
    preprocessing = radar.info.preprocessing
    model = differentiable(radar)
    signs = part.subset(part.labels != BACKGROUND)
    signs = signs.subset(np.random.default_rng(1).permutation(len(signs))[: 2 * count])
    planes = signs.pixels if preprocessing.order == "rgb" else signs.pixels[..., ::-1]
    shown = torch.from_numpy(np.ascontiguousarray(planes)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        said = model(torch.from_numpy(preprocessing.normalise(signs.pixels))).argmax(1)
    right = torch.nonzero(said == torch.from_numpy(signs.labels))[:count, 0]
    made = region_attack(model, Pictures(shown[right], said[right]), preprocessing, RegionRecipe())
    fooled = (made.pixels[made.success] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    print(f"the region attack succeeds on {len(fooled)} of {len(right)} signs", flush=True)
    return np.ascontiguousarray(fooled if preprocessing.order == "rgb" else fooled[..., ::-1])


def _judged(radar: RadarFile, choosing: Pixels, reporting: Pixels, hits: Pixels, fpr: float) -> list[dict[str, Any]]:
    settings = read_calibration(bundled_calibration_path()).tight
    cmag = read_cmag(bundled_path("signs.cmag.onnx"), radar.info)
    fitted = fit_anomaly(radar, frames(choosing), local=False, threads=1)
    parts = [
        scores_of(pixels, fitted.radar, cmag, settings, own)
        for pixels, own in ((choosing, fitted.scores), (reporting, None), (hits, None))
    ]
    rows = rows_of("region", parts, frames(choosing), fpr)
    for name, score in (("squeezing", FeatureSqueezing(radar, choosing).scores), ("combined", _combined(radar))):
        first, second, hit = (score(pixels) for pixels in (choosing, reporting, hits))
        rows.append(row("region", name, "", operating_point(first, second, hit, fpr), area_under_roc(second, hit)))
    return rows


def _combined(radar: RadarFile) -> Any:
    run = CombinedRadar(radar, read_reference(bundled_path("signs.reference.npz")), SessionSettings(threads=1))

    def scores(pixels: Pixels) -> NDArray[np.float64]:
        inputs = radar.info.preprocessing.normalise(pixels)
        return np.concatenate([run(inputs[i : i + 16])["combined_score"] for i in range(0, len(inputs), 16)])

    return scores


if __name__ == "__main__":
    sys.exit(run_script(main, "cmag.region"))
