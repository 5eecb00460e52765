"""Measure the default detector on all networks: `python -m benchmarks.detection --help`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import zoo
from benchmarks.detection.attacks import AttackedPictures, shown_patches, transferred_patches
from benchmarks.detection.footage import read_clips
from benchmarks.detection.measure import (
    Counts,
    cached,
    measure_adaptive,
    measure_detection,
    measure_footage,
    measure_presentations,
)
from benchmarks.detection.networks import LITE, Network, load_network, network_names
from benchmarks.detection.scorers import CombinedScorer, PeerScorer, Scorer, TightScorer
from benchmarks.detection.summary import merged_attacks, page, summary_of
from benchmarks.makers.library import Patch, patches_of
from benchmarks.peers import PEERS
from benchmarks.scripts import run_script
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json, write_text
from taintwatch_calibration.torch_tuning import keep_freed_memory
from taintwatch_models import detection
from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.appearance import APPEARANCE_FILE
from taintwatch_models.detection.closeup import CLOSEUP_FILE
from taintwatch_models.errors import ModelError, UsageError

__all__ = ["command"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_TRANSFERRED = ("adam", "ours")
_DEFAULT_RATE = 0.001
_PARTS = ("detection", "footage", "presentations", "adaptive")


@click.command()
@click.option("--data", required=True, type=_FOLDER, help="The measuring data.")
@click.option("--network", "names", multiple=True, help="Measure only these networks; default: all.")
@click.option("--beside", multiple=True, help="Measure another detector too: tight, or one of the literature.")
@click.option("--part", "parts", multiple=True, type=click.Choice(_PARTS), default=_PARTS, help="Measure only these.")
@click.option("--stored-patches", is_flag=True, help="Craft no patch that is not there yet.")
@click.option(
    "--stored-cells",
    is_flag=True,
    help="Report what was measured already, with whatever code, and measure nothing else.",
)
@click.option("--quick", is_flag=True, help="Measure a tenth of everything.")
@click.option("--device", default="cpu", show_default=True, help="Where adaptive attackers craft.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="CPU threads of an inference.")
@click.option("--work", default="build/bench", show_default=True, type=_FOLDER, help="Cache of what is made.")
@click.option("--json", "document", type=_FILE, help="Write the summary and all cells here.")
@click.option("--markdown", type=_FILE, help="Write the page here.")
def command(
    data: Path,
    names: tuple[str, ...],
    beside: tuple[str, ...],
    parts: tuple[str, ...],
    stored_patches: bool,
    stored_cells: bool,
    quick: bool,
    device: str,
    threads: int,
    work: Path,
    document: Path | None,
    markdown: Path | None,
) -> None:
    """Measure detection: attacks of several makers, false alarms, novelty, presentations, adaptive attackers.

    What is trained, crafted or measured is stored in --work and not done again, unless the detector has changed.
    """
    unknown = [name for name in names if name not in network_names()]
    if unknown:
        raise UsageError(f"there is no network '{unknown[0]}'; there are {', '.join(network_names())}")
    missing = [name for name in beside if name not in PEERS and name != "tight"]
    if missing:
        raise UsageError(f"there is no detector '{missing[0]}' to compare with; there are tight, {', '.join(PEERS)}")
    torch.set_num_threads(threads)
    keep_freed_memory()
    counts = Counts(70, 20, 30, 10, 10, 60, 20) if quick else Counts()
    run = _Run(data, work, counts, device, threads, craft=not stored_patches, stored_cells=stored_cells)
    stored = run.stored if stored_cells else lambda name, parts: parts
    networks: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    for name in names or network_names():
        try:
            networks.append(run.measure(name, stored(name, parts)))
        except ModelError as error:
            click.echo(f"{name} is left out: {error}", err=True)
            refused.append({"network": name, "reason": str(error)})
            continue
        others += [run.beside(name, other) for other in beside]
    if "detection" not in parts:
        return
    result: dict[str, Any] = {**machine(), "counts": dict(zip(Counts.__slots__, astuple(counts), strict=True))}
    result |= {"attacks": merged_attacks(networks), "networks": networks, "others": others, "refused": refused}
    result["measured_with_older_code"] = sorted(set(run.older or []))
    result = {"summary": summary_of(result), **result}
    slim = {**result, "networks": [_without_attacks(each) for each in networks], "others": []}
    if document is not None:
        write_json(document, slim | {"others": [_without_attacks(each) for each in others]})
    if markdown is not None:
        write_text(markdown, page(result, _shown_command()))
    for key, value in result["summary"].items():
        click.echo(f"{key}: {value}")


def _without_attacks(network: dict[str, Any]) -> dict[str, Any]:
    """The document holds the attacks once, merged over the patches of a maker."""
    return {**network, "cells": [cell for cell in network["cells"] if cell["kind"] != "attack"]}


class _Run:
    """One run: where things are, and how much is measured."""

    def __init__(
        self,
        data: Path,
        work: Path,
        counts: Counts,
        device: str,
        threads: int,
        *,
        craft: bool,
        stored_cells: bool = False,
    ) -> None:
        self._data, self._work, self._counts, self._device, self._threads = data, work, counts, device, threads
        self._started, self._craft = time.monotonic(), craft
        self.older: list[str] | None = [] if stored_cells else None
        """Cells that other code measured and that are taken as they are."""
        self._code = _code_of(Path(str(detection.__file__)).parent)

    def stored(self, name: str, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the parts that were measured of a network."""
        names = {"detection": "combined"}
        return tuple(
            part for part in parts if (self._work / "cells" / f"{name}_{names.get(part, part)}.json").is_file()
        )

    def measure(self, name: str, parts: tuple[str, ...]) -> dict[str, Any]:
        """Return everything that is measured of a network."""
        network = self._load(name)
        stored = self._work / "references" / f"{name}_{self._code}.npz"
        scorer = CombinedScorer(network.radar, threads=self._threads, stored=stored)
        thresholds: dict[float, float] = {}

        def fitted() -> CombinedScorer:
            if not thresholds:
                from taintwatch_models.detection.general import general_pictures

                thresholds.update(scorer.fit(general_pictures(network.radar.info.preprocessing), network.site))
            return scorer

        record: dict[str, Any] = {"network": name, "cells": []}
        if "detection" in parts:
            record = self._cached(network, "combined", lambda: self._detection(network, scorer))
        if "footage" in parts:
            found = self._cached(network, "footage", lambda: self._footage(network))
            record["cells"] = [*record["cells"], *found]
        if "presentations" in parts:
            pictures = network.held_out[: self._counts.presentations]
            record["presentations"] = self._cached(
                network, "presentations",
                lambda: measure_presentations(network, fitted(), pictures, self._attacked(network), _DEFAULT_RATE),
            )  # fmt: skip
        if "adaptive" in parts:
            record["adaptive"] = self._cached(
                network, "adaptive",
                lambda: measure_adaptive(
                    network, fitted(), thresholds, self._counts, self._device,
                    self._reporter(name),
                ),
            )  # fmt: skip
        return record

    def beside(self, name: str, other: str) -> dict[str, Any]:
        """Return what another detector makes of the same pictures and patches."""
        network = self._load(name)
        scorer: Scorer
        if other == "tight":
            scorer = TightScorer(network.radar, threads=self._threads)
        else:
            scorer = PeerScorer(other, PEERS[other], network.radar, threads=self._threads)
        found: dict[str, Any] = self._cached(network, other, lambda: self._detection(network, scorer))
        return found

    def _load(self, name: str) -> Network:
        return load_network(name, self._data, self._work, report=self._reporter(name))

    def _detection(self, network: Network, scorer: Scorer) -> dict[str, Any]:
        report = self._reporter(network.name)
        return measure_detection(network, scorer, self._shown(network), self._data, self._counts, report)

    def _footage(self, network: Network) -> list[dict[str, Any]]:
        scorer = CombinedScorer(network.radar, threads=self._threads)
        clips = read_clips(self._data, network.radar.info.preprocessing, self._counts.frames)
        return measure_footage(network, scorer, clips, _DEFAULT_RATE, self._reporter(network.name))

    def _shown(self, network: Network) -> list[AttackedPictures]:
        own = list(shown_patches(network, self._patches(network)))
        return own + list(transferred_patches(network, self._foreign(network)))

    def _attacked(self, network: Network) -> NDArray[np.uint8]:
        """Some of the pictures that patches fool the network on, evenly over patches and sizes."""
        found = np.concatenate([each.successes[: self._counts.successes] for each in self._shown(network)])
        rows = np.linspace(0, len(found) - 1, min(self._counts.attacked, len(found))).round().astype(int)
        return np.asarray(found[rows], np.uint8)

    def _patches(self, network: Network) -> dict[str, Patch]:
        report = self._reporter(network.name)
        return patches_of(
            network.name,
            network.radar,
            lambda: self._crafting(network),
            network.targets,
            self._work / "patches",
            report,
            craft=self._craft,
            device=self._device,
        )

    def _foreign(self, network: Network) -> list[Patch]:
        """The first patches of two makers of the next network of the same classes that the product can prepare."""
        names = [other for other in network_names() if _dataset(other) == network.dataset]
        place = names.index(network.name)
        for name in [*names[place + 1 :], *names[:place]]:
            try:
                found = self._patches(self._load(name))
            except ModelError:
                continue
            first = {patch.maker: patch for patch in reversed(list(found.values()))}
            if first:
                return [first[maker] for maker in _TRANSFERRED if maker in first]
        return []

    def _crafting(self, network: Network) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Pictures to craft on that the network gets right: of its training, or of what the detector learns from."""
        if network.dataset == "imagenet":
            pixels = network.site
            return pixels, network.labels_of(pixels)
        pixels, labels, _ = zoo.training_pictures(
            "signs_vgg" if network.dataset == "signs" else "objects_14", self._data
        )
        rows = np.random.default_rng(5).permutation(len(pixels))[:300]
        right = rows[network.labels_of(pixels[rows]) == labels[rows]]
        return pixels[right], labels[right]

    def _cached(self, network: Network, what: str, make: Callable[[], Any]) -> Any:
        identity = (network.radar.info.source_sha256, what, astuple(self._counts), self._code)
        return cached(self._work / "cells" / f"{network.name}_{what}.json", identity, make, self.older)

    def _reporter(self, name: str) -> Callable[[str], None]:
        def report(line: str) -> None:
            click.echo(f"{time.monotonic() - self._started:6.0f} s {name}: {line}", err=True)

        return report


def _shown_command() -> str:
    arguments = " ".join(sys.argv[1:]).replace(" --json", " \\\n    --json")
    return f"python -m benchmarks.detection {arguments}"


def _dataset(name: str) -> str:
    if name in ("mobilenet_v2", LITE):
        return "imagenet"
    return "signs" if name == "bundled" or name.startswith("signs") else "objects"


def _code_of(folder: Path) -> str:
    """The detector's own source: a cell that an older one measured is measured again."""
    import hashlib

    digest = hashlib.sha256()
    for path in (*sorted(folder.glob("*.py")), bundled_path(APPEARANCE_FILE), bundled_path(CLOSEUP_FILE)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(run_script(command, "detection"))
