"""CMAG with each of the paper's choices in place of ours, alone and together; MagNet and Defense-GAN beside it.

    python -m benchmarks.cmag.ablation --data ../shared/data --work DIR --json docs/results/cmag_variants.json

The data, the classifiers and ART's attacks are those of `benchmarks.cmag.tables`, smaller: every setting is trained on
the same pictures for the same epochs. A setting judges by `ssim` and `l2` of GR's picture, either of them, as the
paper does. Thresholds: on 1,000 benign test pictures at a target of 5%, false alarms on 1,000 others; `extreme` takes
the most extreme value of the training pictures. What was made is kept in --work, and what --json has of the same
options is not measured again, so that a run goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cmag.ablation_training import Setting, train_setting
from benchmarks.cmag.magnet_autoencoder import MAGNET_STATISTICS, magnet_values
from benchmarks.cmag.tables import ACCEPTED, NAMES, say, trained_magnet
from benchmarks.cmag.trial_attacks import ATTACKS
from benchmarks.cmag.trial_data import DATASETS
from benchmarks.cmag.trial_work import Attacked, TrialWork, save_state
from benchmarks.peers.defense_gan import generator, project, train_generator
from benchmarks.scripts import run_script
from taintwatch.alarm_rates import wilson_interval
from taintwatch_calibration.cmag.frames import CmagValues
from taintwatch_calibration.cmag.thresholds import choose_limits, cmag_scores
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import markdown_table, write_json, write_text
from taintwatch_calibration.torch_tuning import denormals_flushed

__all__ = ["NET_EPOCHS", "SETTINGS", "Judged", "main", "rates"]

_PUBLISHED = {"error": "sum", "window": "whole", "temperature": 0.001, "epochs": 10, "batch": 128}
SETTINGS = (
    Setting("ours"),
    Setting("squared error: a sum", error="sum"),
    Setting("SSIM: one window", window="whole"),
    Setting("T = 1/1000", temperature=0.001),
    Setting("twice the epochs", epochs=10),
    Setting("batch of a 32nd", batch=128),
    Setting("thresholds: extreme", thresholds="extreme"),
    Setting("GR from the mean of FMR and LR", join="mean"),
    Setting("all as published", thresholds="extreme", **_PUBLISHED),  # type: ignore[arg-type]
    Setting("all as published, at our rate", **_PUBLISHED),  # type: ignore[arg-type]
)
"""The paper's 2,000 of 60,000 pictures a step are a 30th: here 128 of 4,096."""
NET_EPOCHS = {"fashion": 4, "gtsrb": 4, "mnist": 2}
"""Of the classifiers."""
_PAIR = ("ssim", "l2")

ValuesOf = Callable[[NDArray[np.float32]], CmagValues]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The pictures that every detector sees, (N, channels, side, side) in [0, 1] each."""

    training: NDArray[np.float32]
    choose: NDArray[np.float32]
    held: NDArray[np.float32]
    attacked: tuple[Attacked, ...]

    def fewer(self, benign: int) -> Judged:
        """Return the same with at most so many benign pictures in each part."""
        return Judged(self.training[:benign], self.choose[:benign], self.held[:benign], self.attacked)


def rates(
    values_of: ValuesOf, judged: Judged, combinations: Sequence[Sequence[str]], rule: str = "quantile"
) -> list[dict[str, Any]]:
    """Return for each combination of statistics the held-out false alarms and what is seen of each attack."""
    reference, held = values_of(judged.training if rule == "extreme" else judged.choose), values_of(judged.held)
    attacked = [values_of(made.pictures) if len(made.pictures) else None for made in judged.attacked]
    rows = []
    for statistics in combinations:
        limits = choose_limits(reference, ACCEPTED, statistics, rule=rule)

        def counted(values: CmagValues | None, limits: Any = limits) -> dict[str, Any]:
            if values is None:
                return {"rate": None, "n": 0, "interval": None}
            hits, total = int((cmag_scores(values, limits) > 0).sum()), len(values.labels)
            return {"rate": round(hits / total, 4), "n": total, "interval": wilson_interval(hits, total)}

        rows.append(
            {"statistics": list(statistics), "fpr": counted(held), "attacks": [counted(part) for part in attacked]}
        )
    return rows


def trained_gan(work: TrialWork, steps: int, seed: int) -> torch.nn.Module:
    """Train Defense-GAN's generator of one data set, or read it."""
    path = work.folder / f"{work.name}.generator-{steps}.pt"
    network = generator(*work.data.train.shape[1:3]).requires_grad_(False)
    if path.is_file():
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval()
    network = train_generator(
        work.data.train, steps=steps, seed=seed,
        report=lambda step, real, made: say(f"{work.name}: generator {step} of {steps}, logits {real:.2f}, {made:.2f}"),
    )  # fmt: skip
    save_state(network, path)
    return network


class _Trial:
    """One data set: its pictures, attacks, and the rows of each detector."""

    def __init__(self, work: TrialWork, options: Mapping[str, Any]) -> None:
        counts, benign = {"fgsm": options["fgsm"], "cw": options["cw"]}, options["benign"]
        attacked = tuple(work.attacked(attack, counts[attack.kind]) for attack in ATTACKS)
        self._work, self._options = work, options
        self._judged = Judged(
            work.data.train[: options["training"]], work.data.test[work.choose[:benign]],
            work.data.test[work.held[:benign]], attacked,
        )  # fmt: skip

    def about(self) -> dict[str, Any]:
        """Return what is known of the classifier and of the attacks."""
        work, held = self._work, self._judged.held
        right = work.benign(held).logits.argmax(1) == work.data.test_labels[work.held[: len(held)]]
        return {"name": NAMES[work.name], "accuracy": round(float(right.mean()), 4),
                "net_epochs": NET_EPOCHS[work.name],
                "attacks": [_about(made) for made in self._judged.attacked]}  # fmt: skip

    def setting(self, setting: Setting) -> list[dict[str, Any]]:
        """Train a setting; return its rows for both statistics and for each alone."""
        work, judged = self._work, self._judged
        training = work.benign(judged.training)
        trained = train_setting(setting, training, work.folder / f"{work.name}.stages", self._options["seed"], say)
        found = rates(lambda pictures: trained.values(work.benign(pictures))[0], judged, (_PAIR, ("ssim",), ("l2",)),
                      setting.thresholds)  # fmt: skip
        means = {"benign": trained.values(work.benign(judged.held))[1]}
        return [{"dataset": work.name, "detector": setting.name, **row, "means": means} for row in found]

    def peer(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a peer."""
        found = _peer_rows(name, self._work, self._judged, self._options)
        return [{"dataset": self._work.name, "detector": name, **row} for row in found]


def _about(made: Attacked) -> dict[str, Any]:
    distance = round(made.distance, 3) if len(made.pictures) else None
    return {"attack": made.attack.kind, "strength": made.attack.strength, "attempts": made.attempts,
            "successes": len(made.pictures), "median_l2": distance}  # fmt: skip


def _peer_rows(name: str, work: TrialWork, judged: Judged, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    if name == "MagNet":
        model = trained_magnet(work, 5, options["seed"])
        return rates(lambda pictures: magnet_values(model, work.net, pictures), judged, (MAGNET_STATISTICS,))
    network = trained_gan(work, options["gan_steps"], options["seed"])

    def distances(pictures: NDArray[np.float32]) -> CmagValues:
        _, found = project(
            network, torch.from_numpy(pictures), iterations=options["gan_iterations"], restarts=options["gan_restarts"]
        )
        return CmagValues(np.zeros(len(found), np.int64), {"l2": found.numpy().astype(np.float64)})

    return rates(distances, judged.fewer(options["gan_benign"]), (("l2",),))


def _say_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        seen = " ".join(_share(part) for part in row["attacks"])
        say(f"{row['dataset']}: {row['detector']}: {seen}, {row['fpr']['rate']:.1%} of benign")


def markdown_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the data sets' tables: a line for each detector, with the two statistics of the paper."""
    parts = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        mine = [row for row in rows if row["dataset"] == dataset
                and ("means" not in row or row["statistics"] == list(_PAIR))]  # fmt: skip
        counts = [part["n"] for part in mine[0]["attacks"]]
        heads = ["", *(f"{attack.kind} {attack.strength:g} ({n})" for attack, n in zip(ATTACKS, counts, strict=True)),
                 "held-out FPR", "benign SSIM: GR, FMR, LR"]  # fmt: skip
        lines = [
            [row["detector"], *(_share(part) for part in row["attacks"]),
             f"{row['fpr']['rate']:.1%} of {row['fpr']['n']}", _means(row)]
            for row in mine
        ]  # fmt: skip
        parts.append(f"**{NAMES[dataset]}**\n\n{markdown_table(heads, lines)}")
    return "\n".join(parts)


def _share(part: Mapping[str, Any]) -> str:
    return "-" if part["rate"] is None else f"{part['rate']:.2f}"


def _means(row: Mapping[str, Any]) -> str:
    if "means" not in row:
        return ""
    return ", ".join(f"{row['means']['benign'][f'ssim_{name}']:.2f}" for name in ("gr", "fmr", "lr"))


_WHOLE = click.IntRange(1)


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="The measuring data.")
@click.option("--work", required=True, type=click.Path(path_type=Path, file_okay=False), help="Keeps what is made.")
@click.option("--dataset", "datasets", multiple=True, type=click.Choice(DATASETS), help="Only this; repeat.")
@click.option("--setting", "only", multiple=True, type=click.Choice([s.name for s in SETTINGS]), help="Only this.")
@click.option("--peer", "peers", multiple=True, default=("MagNet", "Defense-GAN"), show_default=True,
              type=click.Choice(["MagNet", "Defense-GAN", "none"]), help="Beside CMAG; repeat.")  # fmt: skip
@click.option("--training", default=4096, show_default=True, type=_WHOLE, help="Pictures that train the settings.")
@click.option("--benign", default=1000, show_default=True, type=_WHOLE, help="To choose on, and as many to check.")
@click.option("--fgsm", default=200, show_default=True, type=_WHOLE, help="Pictures that FGSM attacks.")
@click.option("--cw", default=60, show_default=True, type=_WHOLE, help="Pictures that C&W attacks.")
@click.option("--gan-steps", default=2000, show_default=True, type=_WHOLE, help="Of the generator's training.")
@click.option("--gan-iterations", default=100, show_default=True, type=_WHOLE, help="L; the paper's is 200.")
@click.option("--gan-restarts", default=4, show_default=True, type=_WHOLE, help="R; the paper's is 10.")
@click.option("--gan-benign", default=200, show_default=True, type=_WHOLE, help="Benign pictures for Defense-GAN.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows here.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the tables here.")
@denormals_flushed()
def main(
    data: Path, work: Path, datasets: tuple[str, ...], only: tuple[str, ...], peers: tuple[str, ...],
    document: Path | None, markdown: Path | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Train every setting and peer, and show what each sees of the same attacks."""
    torch.set_num_threads(1)
    asked = {"target_fpr": ACCEPTED, "seed": seed, **options}
    about, rows = _stored(document, asked)
    settings = {setting.name: setting for setting in SETTINGS if not only or setting.name in only}
    for dataset in datasets or DATASETS:
        done = {row["detector"] for row in rows if row["dataset"] == dataset}
        wanted = [name for name in (*settings, *(name for name in peers if name != "none")) if name not in done]
        if not wanted:
            continue
        network = TrialWork(dataset, data, work, epochs=NET_EPOCHS[dataset], seed=seed, report=say)
        trial = _Trial(network, {**options, "seed": seed})
        about[dataset] = trial.about()
        for name in wanted:
            more = trial.setting(settings[name]) if name in settings else trial.peer(name)
            _say_rows(more[:1])
            rows += more
            if document is not None:  # after each detector: the next may take long
                write_json(document, {**machine(), **asked, "settings": [asdict(setting) for setting in SETTINGS],
                                      "datasets": about, "rows": rows})  # fmt: skip
    if markdown is not None:
        write_text(markdown, markdown_of(rows))


def _stored(document: Path | None, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the data sets and rows that a file has of a run that asked for the same."""
    if document is None or not document.is_file():
        return {}, []
    found = json.loads(document.read_text(encoding="utf-8"))
    same = all(found.get(key) == value for key, value in json.loads(json.dumps(asked)).items())
    return (found["datasets"], found["rows"]) if same else ({}, [])


if __name__ == "__main__":
    sys.exit(run_script(main, "cmag.ablation"))
