"""`taintwatch trial report`: a trial as one self-contained HTML page, and the same figures as JSON beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from taintwatch_calibration.html import render
from taintwatch_calibration.trial.charts import COLOURS, heat_map, roc_chart, timeline
from taintwatch_calibration.trial.figures import Alarm, Figures, figures_of
from taintwatch_calibration.trial.scored import ScoredClip, Trial, read_trial
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["report", "report_html", "report_json", "write_report"]

FORMAT = "taintwatch-trial-report/1"
_MOST_EXAMPLES = 18
_SHOWN_TIMELINES = 12
_LEAST_RATE_S = 600.0  # a rate an hour from less footage says nothing


@click.command()
@click.argument("trial", type=click.Path(path_type=Path))
@click.option("--title", help="Default: the folder's name.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; default: the trial's own.")
def report(trial: Path, title: str | None, out: Path | None) -> None:
    """Make report.html, which needs nothing beside it, and report.json of TRIAL (a folder of `trial score`)."""
    folder = out or (trial if trial.is_dir() else trial.parent)
    page = write_report(read_trial(trial), title or folder.resolve().name, folder)
    click.echo(f"{page}: open it in a browser")


def report_html(trial: Trial, title: str, figures: Figures | None = None) -> str:
    """Return the page. Nothing in it is fetched from anywhere."""
    figures = figures or figures_of(trial)
    voting = trial.detectors[0]
    return render(
        "trial.html", title=title, figures=figures, detectors=trial.detectors, voting=voting,
        frames=sum(len(clip.time_s) for clip in trial.clips), model=trial.settings.get("model", ""),
        calibrated=trial.settings.get("calibrated", True), cards=_cards(figures), attacks=_attacks(trial),
        heat_maps=list(_heat_maps(figures, voting)), examples=_examples(trial), roc_chart=roc_chart(figures.rocs),
        rocs=_rocs(figures), alarms=[_alarm_row(a) for a in figures.alarms if a.condition == "attack" or a.raised],
        timelines=list(_timelines(trial)), shown=_SHOWN_TIMELINES, settings=_settings(trial),
        clips=[_clip_row(clip) for clip in trial.clips],
    )  # fmt: skip


def report_json(trial: Trial, title: str, figures: Figures) -> dict[str, Any]:
    """Return the figures, the settings and what each clip was; no picture and no single frame."""
    return {
        "format": FORMAT,
        "title": title,
        "figures": asdict(figures),
        "thresholds": dict(trial.thresholds),
        "settings": dict(trial.settings),
        "attacks": _attacks(trial),
        "clips": [{**asdict(clip.info), "markers_mm": None, "video": Path(clip.video).name, "sha256": clip.sha256,
                   "frames": len(clip.time_s), "rejected": clip.rejected, "poses_from": clip.poses_from}
                  for clip in trial.clips],
    }  # fmt: skip


def write_report(trial: Trial, title: str, folder: Path) -> Path:
    """Write report.html and report.json into `folder`, each whole or not at all. Raises `UsageError`."""
    figures = figures_of(trial)
    page = folder / "report.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        document = json.dumps(report_json(trial, title, figures), indent=1) + "\n"
        write_atomically(page.with_suffix(".json"), document.encode())
        write_atomically(page, report_html(trial, title, figures).encode())
    except OSError as error:
        raise UsageError(f"{folder}: the report cannot be written ({error.strerror or error})") from error
    return page


def _cards(figures: Figures) -> list[dict[str, str]]:
    cards = []
    for words, rate in figures.headline().items():
        figure, detail = "none", "there was no such frame or clip"
        if rate.share is not None:
            figure = f"{rate.share:.1%}"
            detail = f"{rate.count} of {rate.total}; {rate.low:.1%} to {rate.high:.1%}"
        cards.append({"figure": figure, "words": words, "detail": detail})
    if figures.median_alarm_s is not None:
        time_s = f"{figures.median_alarm_s:.2f} s"
        cards.append({"figure": time_s, "words": "median time to the alarm", "detail": "from the first fooled frame"})
    cards.append(
        {"figure": str(figures.false_alarms), "words": "false alarms of the vote", "detail": _footage(figures)}
    )
    return cards


def _footage(figures: Figures) -> str:
    if not figures.benign_s:
        return "no benign footage"
    footage = f"in {figures.benign_s:.0f} s of benign footage"
    if figures.benign_s < _LEAST_RATE_S:
        return f"{footage}; too short for a rate an hour"
    return f"{footage} ({3600 * figures.false_alarms / figures.benign_s:.1f} an hour)"


def _attacks(trial: Trial) -> list[dict[str, Any]]:
    """Return each crafted attack that was recorded: from its recipe, by way of the sheet, to the clips."""
    counts = Counter(clip.info.attack for clip in trial.clips if clip.info.attack is not None)
    scored = trial.settings.get("model_sha256")
    return [
        {
            "kind": attack.kind,
            "target": attack.target,
            "size": "" if attack.size is None else f"{attack.size:.0%} of the picture",
            "recipe": attack.recipe_sha256[:16],
            "model": "the scored model"
            if attack.model_sha256 == scored
            else f"another model ({attack.model_sha256:.8})",
            "clips": count,
        }
        for attack, count in counts.items()
    ]


def _heat_maps(figures: Figures, voting: str) -> Iterable[list[Any]]:
    kinds = (
        ("success", "Attack succeeds", True),
        ("detected", f"{voting} detects it", False),
        ("false_positives", f"{voting} on benign frames", True),
        ("recognised", "Recognised when clean", False),
    )
    for light in sorted({cell.light for cell, _ in figures.by_cell["recognised"]}):
        yield [heat_map(title, figures.by_cell[key], light, bad=bad) for key, title, bad in kinds]


def _examples(trial: Trial) -> list[tuple[str, str]]:
    chosen = _spread([(clip, example) for clip in trial.clips for example in clip.examples[:1]], _MOST_EXAMPLES)
    return [(picture, f"{_words(clip)}, at {time_s:.2f} s") for clip, (time_s, picture) in chosen]


def _rocs(figures: Figures) -> list[dict[str, str]]:
    rows = []
    for roc, colour in zip(figures.rocs, COLOURS, strict=False):
        false, found = ("", "") if roc.at is None else (f"{roc.at[0]:.1%}", f"{roc.at[1]:.1%}")
        area = "" if roc.area is None else f"{roc.area:.3f}"
        rows.append({"detector": roc.detector, "colour": colour, "area": area, "found": found, "false": false})
    return rows


def _alarm_row(alarm: Alarm) -> dict[str, str]:
    stood = "stood before" if alarm.standing else "none"
    return {
        "name": alarm.cell or Path(alarm.video).name,
        "condition": alarm.condition,
        "fooled": "" if alarm.fooled is None else f"{alarm.fooled:.0%}",
        "alarm": "raised" if alarm.raised else stood,
        "after": "" if alarm.alarm_s is None else f"{alarm.alarm_s:.2f} s",
    }


def _timelines(trial: Trial) -> Iterable[tuple[Any, str]]:
    voting = trial.detectors[0]
    for clip in sorted(trial.clips, key=lambda clip: clip.info.condition != "attack"):
        if clip.time_s:
            yield timeline(clip, voting, trial.thresholds[voting]), _words(clip)


def _settings(trial: Trial) -> list[tuple[str, str]]:
    values = {**trial.settings, "thresholds": dict(trial.thresholds)}
    return [(str(key), json.dumps(value)) for key, value in values.items()]


def _clip_row(clip: ScoredClip) -> dict[str, str]:
    return {
        "video": Path(clip.video).name, "condition": clip.info.condition, "frames": str(len(clip.time_s)),
        "poses": clip.poses_from, "made": clip.info.source, "sha256": clip.sha256[:16],
    }  # fmt: skip


def _words(clip: ScoredClip) -> str:
    return f"{clip.info.condition}, {clip.info.cell.words if clip.info.cell else Path(clip.video).name}"


def _spread(items: Sequence[Any], most: int) -> Iterable[Any]:
    """Return `most` items, evenly from the first to the last; attacks come first."""
    ordered = sorted(items, key=lambda pair: ("attack", "control", "clean").index(pair[0].info.condition))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]
