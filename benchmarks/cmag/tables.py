"""Re-measure CMAG's Tables 3 to 7 (Han et al., 2021) with ART's attacks, and MagNet on the same work.

    python -m benchmarks.cmag.tables --data ../shared/data --work /tmp/cmag --json docs/results/cmag_tables.json

Per data set: a small classifier, the reconstructors, and MagNet's autoencoder are trained on the same training
pictures. The test pictures are halved: thresholds are chosen on one half at a target false-positive rate of 5%,
false alarms counted on the other; attacked are correctly classified pictures of the other half, and only attacks that
succeeded count. All benign test pictures count as benign, those that are classified wrongly included. What was made is
kept in --work, so that a run goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cmag.magnet_autoencoder import MAGNET_STATISTICS, MagnetAutoencoder, magnet_values, train_magnet
from benchmarks.cmag.trial_attacks import ATTACKS
from benchmarks.cmag.trial_data import DATASETS
from benchmarks.cmag.trial_work import TrialWork, save_state
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.cmag.benign_data import BenignData
from taintwatch_calibration.cmag.frames import CmagValues
from taintwatch_calibration.cmag.networks import Reconstructors, Shape
from taintwatch_calibration.cmag.statistics import STATISTICS, CmagGraph, fit_graph
from taintwatch_calibration.cmag.thresholds import choose_limits, cmag_scores
from taintwatch_calibration.cmag.training import TrainingSettings, train_reconstructors
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import denormals_flushed

ACCEPTED = 0.05
COUNTS = {"fgsm": 300, "cw": 150}
NAMES = {"fashion": "Fashion-MNIST", "gtsrb": "GTSRB 32 x 32", "mnist": "MNIST, stretched to the digit's box"}


@dataclass(frozen=True)
class Variant:
    """How the reconstructors are built: the paper's plain ones, or with a change."""

    name: str
    bottleneck: int | None = None
    temperature: float = 0.5


@dataclass(frozen=True)
class TableDetector:
    """A detector: whose values, and which statistics have a share of the false-positive budget."""

    name: str
    variant: str
    statistics: tuple[str, ...]
    by_class: bool = False


VARIANTS = (Variant("plain"), Variant("bottleneck", bottleneck=4), Variant("soft", temperature=4.0))
DETECTORS = (
    TableDetector("cmag-paper", "plain", ("ssim", "l2")),
    TableDetector("cmag-paper-by-class", "plain", ("ssim", "l2"), by_class=True),
    TableDetector("cmag-ssim", "plain", ("ssim",)),
    TableDetector("cmag-l2", "plain", ("l2",)),
    TableDetector("cmag-bottleneck", "bottleneck", ("ssim", "l2")),
    TableDetector("cmag-soft", "soft", ("ssim", "l2")),
    TableDetector("cmag-error", "plain", ("error",)),
    TableDetector("cmag-texture", "plain", ("texture",)),
    TableDetector("cmag-surprise", "plain", ("surprise",)),
    TableDetector("cmag-distance", "plain", ("distance",)),
    TableDetector("cmag-disagreement", "plain", ("disagreement",)),
    TableDetector("cmag-margin", "plain", ("ssim", "l2", "margin")),
    TableDetector("cmag", "plain", ("novelty",)),
    TableDetector("magnet", "magnet", MAGNET_STATISTICS),
)
"""`cmag-paper` is CMAG as published but for the thresholds; `cmag` is what the product judges by."""


def trained_graph(work: TrialWork, variant: Variant, epochs: int, seed: int) -> CmagGraph:
    """Train the reconstructors of one data set, or read them."""
    training, validation = work.benign(work.data.train), work.benign(work.data.validation)
    shape = Shape(
        training.features.shape[1],
        (training.features.shape[2], training.features.shape[3]),
        work.data.classes,
        training.pictures.shape[2],
        training.pictures.shape[1],
        bottleneck=variant.bottleneck,
        temperature=variant.temperature,
    )
    path = work.folder / f"{work.name}.{variant.name}.pt"
    if path.is_file():
        model = Reconstructors(shape)
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        model = train_reconstructors(
            training,
            validation,
            shape,
            TrainingSettings(epochs=epochs, patience=2, seed=seed),
            checkpoint=path.with_suffix(".checkpoint.pt"),
            progress=lambda stage, epoch, loss, held: say(
                f"{work.name} {variant.name}: {stage} epoch {epoch}, loss {loss:.4f}, held out {held:.4f}"
            ),
        )
        save_state(model, path)
    return fit_graph(model.eval(), training, validation)


def trained_magnet(work: TrialWork, epochs: int, seed: int) -> MagnetAutoencoder:
    """Train MagNet's autoencoder of one data set, or read it."""
    path = work.folder / f"{work.name}.magnet.pt"
    if path.is_file():
        model = MagnetAutoencoder(work.data.train.shape[1])
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    model = train_magnet(work.data.train, epochs=epochs, seed=seed)
    save_state(model, path)
    return model


@torch.no_grad()
def graph_values(graph: CmagGraph, data: BenignData) -> tuple[CmagValues, dict[str, float]]:
    """Return the statistics of each picture, and mean SSIM and l2 of FMR, LR and GR (the paper's Tables 6 and 7)."""
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in STATISTICS}
    means: dict[str, list[NDArray[Any]]] = {}
    for start in range(0, len(data), 250):
        rows = slice(start, start + 250)
        features, logits, pictures = (
            torch.from_numpy(np.ascontiguousarray(part[rows])) for part in (data.features, data.logits, data.pictures)
        )
        made = graph(features, logits, pictures)
        for name, values in zip(STATISTICS, made[3:], strict=True):
            columns[name].append(values.numpy())
        for name, picture in zip(("gr", "fmr", "lr"), made[:3], strict=True):
            means.setdefault(f"ssim_{name}", []).append(graph.similarity(picture, pictures).numpy())
            norms = (picture - pictures).flatten(1).norm(dim=1)
            means.setdefault(f"l2_{name}", []).append(norms.numpy())
    statistics = {name: np.concatenate(parts).astype(np.float64) for name, parts in columns.items()}
    labels = data.logits.argmax(axis=1).astype(np.int64)
    return CmagValues(labels, statistics), {
        name: round(float(np.concatenate(parts).mean()), 4) for name, parts in means.items()
    }


def measure_dataset(work: TrialWork, options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of one data set, and what is known of the work."""
    built = [v for v in VARIANTS if v.name in options.variants]
    graphs = {v.name: trained_graph(work, v, options.epochs, options.seed) for v in built}
    magnet = trained_magnet(work, options.magnet_epochs, options.seed)

    def values(pictures: NDArray[np.float32]) -> tuple[dict[str, CmagValues], dict[str, Any]]:
        data = work.benign(pictures)
        found: dict[str, CmagValues] = {"magnet": magnet_values(magnet, work.net, pictures)}
        means = {}
        for name, graph in graphs.items():
            found[name], means[name] = graph_values(graph, data)
        return found, means

    benign, benign_means = values(work.data.test)
    right = benign["plain"].labels == work.data.test_labels
    about: dict[str, Any] = {
        "name": NAMES[work.name],
        "accuracy": round(float(right.mean()), 4),
        "benign": benign_means,
        "attacks": [],
    }
    attacked = []
    for attack in ATTACKS:
        made = work.attacked(attack, COUNTS[attack.kind])
        found, means = values(made.pictures)
        attacked.append((made, found))
        about["attacks"].append(
            {"attack": attack.kind, "strength": attack.strength, "attempts": made.attempts,
             "successes": len(made.pictures), "median_l2": round(made.distance, 3), "means": means}
        )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for detector in (one for one in DETECTORS if one.variant in benign):
        chosen = benign[detector.variant].subset(work.choose)
        limits = choose_limits(chosen, ACCEPTED, detector.statistics, by_class=detector.by_class)
        alarms = cmag_scores(benign[detector.variant].subset(work.held), limits) > 0
        for made, found in attacked:
            hits = cmag_scores(found[detector.variant], limits) > 0
            low, high = wilson_interval(int(hits.sum()), len(hits))
            rows.append(
                {"dataset": work.name, "attack": made.attack.kind, "strength": made.attack.strength,
                 "detector": detector.name, "rate": round(float(hits.mean()), 4), "fpr": round(float(alarms.mean()), 4),
                 "n": len(hits), "low": round(low, 4), "high": round(high, 4),
                 "fpr_right": round(float(alarms[right[work.held]].mean()), 4),
                 "benign": len(alarms), "statistics": list(detector.statistics)}
            )  # fmt: skip
    return rows, about


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line per data set and detector."""
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        print(f"\n{NAMES[dataset]}: detection rate at a false-positive rate of {ACCEPTED:.0%}")
        print(f"{'':26s} held-out FPR " + " ".join(f"{a.kind} {a.strength:g}".rjust(9) for a in ATTACKS))
        for detector in dict.fromkeys(row["detector"] for row in rows):
            mine = [row for row in rows if row["dataset"] == dataset and row["detector"] == detector]
            rates = " ".join(f"{row['rate']:.2f}".rjust(9) for row in mine)
            print(f"{detector:26s} {mine[0]['fpr']:12.3f} {rates}", flush=True)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@denormals_flushed()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the measuring data")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps what is made between runs")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--variants", nargs="+", choices=[v.name for v in VARIANTS], default=["plain"])
    parser.add_argument("--epochs", type=int, default=8, help="of each reconstructor, at most")
    parser.add_argument("--magnet-epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for name in options.datasets:
        work = TrialWork(name, options.data, options.work, seed=options.seed, report=say)
        more, about[name] = measure_dataset(work, options)
        rows += more
        show(more)
        if options.json:  # after each data set: the next may take long
            write(options, about, rows)


def write(options: argparse.Namespace, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    document = {
        **machine(), "target_fpr": ACCEPTED, "seed": options.seed, "epochs": options.epochs,
        "variants": [asdict(v) for v in VARIANTS if v.name in options.variants], "datasets": about, "rows": rows,
    }  # fmt: skip
    write_json(options.json, document)


if __name__ == "__main__":
    main()
