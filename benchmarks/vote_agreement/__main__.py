"""Compare what the vote asks suspicious frames to agree in: `python -m benchmarks.vote_agreement --help`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.detection.measure import cached
from benchmarks.detection.networks import load_network
from benchmarks.makers.library import Patch, patches_of
from benchmarks.scripts import run_script
from benchmarks.vote_agreement.replay import (
    AGREEMENTS,
    POLICIES,
    Outcome,
    attack_outcome,
    benign_alerts,
    flickering,
)
from benchmarks.vote_agreement.streams import FPS, RATES, judge_video, videos_of
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json
from taintwatch_calibration.torch_tuning import keep_freed_memory
from taintwatch_models import detection
from taintwatch_models.errors import UsageError

__all__ = ["command", "compare"]

NETWORK = "mobilenet_v2"
FLICKERS = 2
"""Ways in which each scene flickers."""
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("vote_agreement")
@click.option("--data", required=True, type=_FOLDER, help="The measuring data.")
@click.option("--stored-patches", is_flag=True, help="Craft no patch that is not there yet.")
@click.option("--work", default="build/bench", show_default=True, type=_FOLDER, help="Cache of what is made.")
@click.option("--json", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write the result here.")
def command(data: Path, stored_patches: bool, work: Path, document: Path | None) -> None:
    """Compare votes that ask suspicious frames to agree in label, region, either or nothing.

    The default detector learns the first half of real footage; the second raises false alarms. Patches are held and
    carried in it, now seen and now hidden. What is judged is stored in --work and not judged again.
    """
    keep_freed_memory()
    network = load_network(NETWORK, data, work)
    report = lambda line: click.echo(line, err=True)  # noqa: E731
    patches = patches_of(
        NETWORK, network.radar, lambda: (network.site, network.labels_of(network.site)), network.targets,
        work / "patches", report, craft=not stored_patches,
    )  # fmt: skip
    if not patches:
        raise UsageError(f"there is no patch in {work / 'patches'}; leave --stored-patches out")
    videos = videos_of(data)
    if not videos:
        raise UsageError(f"{data} holds no footage: give the measuring data's folder with --data")
    identity = (network.radar.info.source_sha256, _code(), _digest(patches))
    judged = {
        name: cached(
            work / "vote_agreement" / f"{name}.json", identity, partial(judge_video, network, patches, path, report)
        )
        for name, path in videos.items()
    }
    result = compare(judged)
    for row in result["rows"]:
        click.echo(" ".join(f"{key} {value}" for key, value in row.items()))
    if document is not None:
        write_json(document, {**machine(), "network": NETWORK, "patches": sorted(patches), **result})


def compare(videos: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Replay what was judged of each video through every policy and agreement. JSON-ready."""
    rows = [_row(videos, rate, name, agreement) for rate in RATES for name in POLICIES for agreement in AGREEMENTS]
    seconds = sum(len(video["benign"]) for video in videos.values()) / FPS
    suspicious = {
        f"{rate:g}": sum(
            one["score"] > video["thresholds"][f"{rate:g}"] for video in videos.values() for one in video["benign"]
        )
        for rate in RATES
    }
    frames = sum(len(video["benign"]) for video in videos.values())
    return {
        "videos": list(videos), "benign_s": round(seconds, 1), "benign_frames": frames,
        "suspicious_benign_frames": suspicious, "flickers": FLICKERS, "fps": FPS, "rows": rows,
    }  # fmt: skip


def _row(videos: Mapping[str, Mapping[str, Any]], rate: float, name: str, agreement: str) -> dict[str, Any]:
    alerts, outcomes = 0, list[Outcome]()
    for video in videos.values():
        threshold = video["thresholds"][f"{rate:g}"]
        alerts += benign_alerts(video["benign"], threshold, POLICIES[name], agreement)
        outcomes += _attacks(video, threshold, POLICIES[name], agreement)
    seconds = sum(len(video["benign"]) for video in videos.values()) / FPS
    return {
        "target_fpr": rate, "policy": name, "agree_in": agreement, "benign_alerts": alerts,
        "benign_alerts_a_day": round(alerts * 86_400 / seconds, 1), **_summary(outcomes),
    }  # fmt: skip


def _attacks(
    video: Mapping[str, Any], threshold: float, policy: Mapping[str, Any], agreement: str
) -> Iterable[Outcome]:
    for number, scene in enumerate(video["scenes"]):
        for flicker in range(FLICKERS):
            judged, fooled = flickering(scene, video["benign"], number * FLICKERS + flicker)
            if fooled is not None:
                yield attack_outcome(judged, fooled, threshold, policy, agreement)


def _summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    told = [outcome for outcome in outcomes if not outcome.standing]
    delays = [outcome.delay_s for outcome in told if outcome.delay_s is not None]
    found = [outcome.alerts for outcome in told if outcome.alerts]
    return {
        "attacks": len(outcomes),
        "alert_stood_before": len(outcomes) - len(told),
        "missed": len(told) - len(delays),
        "alerts_per_attack": round(float(np.mean(found)), 2) if found else None,
        "with_several_alerts": sum(count > 1 for count in found),
        "median_delay_s": round(float(np.median(delays)), 2) if delays else None,
        "p90_delay_s": round(float(np.quantile(delays, 0.9)), 2) if delays else None,
    }


def _code() -> str:
    digest = hashlib.sha256()
    folders = (Path(str(detection.__file__)).parent, Path(__file__).parent)
    for path in (*sorted(folders[0].glob("*.py")), folders[1] / "streams.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _digest(patches: Mapping[str, Patch]) -> str:
    return hashlib.sha256(b"".join(patches[name].pixels.tobytes() for name in sorted(patches))).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(run_script(command, "vote_agreement"))
