"""Train the bundled networks that say whether a place looks like an optimised pattern.

Patterns are crafted on networks of the zoo that the detection bench takes no patches from, and stored in WORK: a run
that was stopped goes on. `python -m benchmarks.detection` measures what the network is worth.
"""

from __future__ import annotations

import hashlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from benchmarks import zoo
from benchmarks.appearance.closeups import BUSY, Closeups
from benchmarks.appearance.network import CLOSEUP, FIRST_LOOK, WHOLE_PICTURE, AppearanceNet, on_scale, to_onnx, train
from benchmarks.appearance.networks import LARGE, NETWORKS, load_pattern_network
from benchmarks.appearance.patterns import craft_patterns, rounds
from benchmarks.appearance.scenes import Material, Scenes
from benchmarks.makers.onnx_torch import OnnxModule
from benchmarks.scripts import run_script
from taintwatch_models.bundled import bundled_path
from taintwatch_models.detection.appearance import APPEARANCE_FILE
from taintwatch_models.detection.closeup import CLOSEUP_FILE, CLOSEUP_SIDE
from taintwatch_models.detection.general import unpack
from taintwatch_models.objects.place_appearance import PICTURE_FILE
from taintwatch_models.storage import write_atomically

_SHARES = (0.55, 0.25, 0.2)
_SIGNS = 3000
_OF_LARGE, _APART = 0.3, 0.3
_FILES = {"first-look": APPEARANCE_FILE, "close-up": CLOSEUP_FILE, "whole-picture": PICTURE_FILE}

Report = Callable[[str], None]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of measuring data.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Keep networks and patterns here.")
@click.option("--rounds", "count", type=click.IntRange(1), default=20, show_default=True,
              help="Batches of 16 patterns crafted on each network.")  # fmt: skip
@click.option("--against", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Network of an earlier run (ONNX): train on patterns that hide from it, too.")  # fmt: skip
@click.option("--hidden", type=click.IntRange(1), default=6, show_default=True,
              help="Batches of these on each network.")  # fmt: skip
@click.option(
    "--of",
    "kind",
    type=click.Choice(["first-look", "close-up", "whole-picture"]),
    default="first-look",
    show_default=True,
    help="Which network: of the first look, of the second, or of an object detector's pictures.",
)
@click.option("--picks", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Network (ONNX) that picks the close-ups. Default: the bundled one of whole pictures.")  # fmt: skip
@click.option("--network", "only", multiple=True, help="Craft on this network alone, and do not train.")
@click.option("--steps", type=click.IntRange(50), default=2800, show_default=True, help="Batches of 48 scenes.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write the network here (ONNX).")
def command(
    data: Path,
    work: Path,
    count: int,
    against: Path | None,
    hidden: int,
    kind: str,
    picks: Path | None,
    only: tuple[str, ...],
    steps: int,
    seed: int,
    threads: int,
    output: Path | None,
) -> None:
    """Train a bundled network that says whether a place looks like an optimised pattern."""
    torch.set_num_threads(threads)
    (work / "patterns").mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    def report(line: str) -> None:
        click.echo(f"{time.monotonic() - started:6.0f} s {line}", err=True)

    maker = _Maker(data, work, seed, report)
    names = only or NETWORKS
    patterns = maker.patterns(names, count)
    if against is not None:
        patterns = np.concatenate([patterns, maker.patterns(names, hidden, against)])
    if only:
        return
    if kind != "whole-picture":
        patterns = np.concatenate([patterns, maker.patterns([LARGE], max(1, round(_OF_LARGE * count)))])
    report(f"{len(patterns)} patterns; training for {steps} steps")
    material = Material(_benign(data, seed), _SHARES, patterns)
    torch.manual_seed(seed)

    def heard(step: int, loss: float) -> None:
        report(f"step {step} of {steps}, loss {loss:.4f}")

    target = output or work / _FILES[kind]
    if kind == "close-up":
        closeups = Closeups(material, (picks or bundled_path(PICTURE_FILE)).read_bytes(), seed)
        made = to_onnx(train(closeups, AppearanceNet(CLOSEUP), steps, heard, apart=_APART), CLOSEUP_SIDE)
    else:
        first = kind == "first-look"
        scenes = Scenes(material, seed, busy=BUSY if first else 0.0)
        net = AppearanceNet(FIRST_LOOK if first else WHOLE_PICTURE)
        made = to_onnx(on_scale(train(scenes, net, steps, heard), scenes))
    write_atomically(target, made.SerializeToString())
    report(f"wrote {target}")


@dataclass(frozen=True, slots=True)
class _Maker:
    """Crafts patterns, or takes them from the store as far as they are there."""

    data: Path
    work: Path
    seed: int
    report: Report

    def patterns(self, names: Sequence[str], count: int, against: Path | None = None) -> NDArray[np.uint8]:
        """Return `count` batches of each network. `against`: the network that they hide from too."""
        return np.concatenate([self._of(name, count, against) for name in names])

    def _of(self, name: str, count: int, against: Path | None) -> NDArray[np.uint8]:
        radar, pictures = load_pattern_network(name, self.data, self.work / "zoo", self.report)
        kept = f"{name}_{self.seed}"
        known: OnnxModule | None = None
        if against is not None:
            content = against.read_bytes()
            kept += f"_hidden_{hashlib.sha256(content).hexdigest()[:8]}"
            known = OnnxModule(onnx.load_from_string(content))
        found = []
        for index, kind in enumerate(rounds(count)):
            path = self.work / "patterns" / f"{kept}_{index}.npz"
            if not path.is_file():
                made = craft_patterns(radar, pictures, kind, self.seed * 1000 + index, known)
                packed = io.BytesIO()
                np.savez_compressed(packed, patterns=made)
                write_atomically(path, packed.getvalue())
                self.report(f"{kept}: {index + 1} of {count}, {kind.name}")
            with np.load(path, allow_pickle=False) as stored:
                found.append(stored["patterns"])
        return np.concatenate(found)


def _benign(data: Path, seed: int) -> list[NDArray[np.uint8]]:
    """Training photographs of objects and of signs, and the rendered general pictures; RGB."""
    objects = zoo.training_pictures("objects_14", data)[0]
    signs = zoo.training_pictures("signs_vgg", data)[0]
    some = np.random.default_rng(seed).permutation(len(signs))[:_SIGNS]
    rendered = [picture[:, :, ::-1] for picture in unpack(bundled_path("general.npz"))]
    return [objects, signs[some], np.stack(rendered)]


if __name__ == "__main__":
    sys.exit(run_script(command, "appearance"))
