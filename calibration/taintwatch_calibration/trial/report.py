"""A trial as one self-contained HTML page, and the same figures as JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from taintwatch_calibration.trial.charts import COLOURS, heat_map, roc_chart, timeline
from taintwatch_calibration.trial.figures import Alarm, Figures, Rate, figures_of
from taintwatch_calibration.trial.scored import ScoredClip, Trial
from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = ["report_html", "report_json", "write_report"]

FORMAT = "taintwatch-trial-report/1"
_MOST_EXAMPLES = 18
_SHOWN_TIMELINES = 12
_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:#1b1f24;background:#f4f5f7;margin:0}
main{max-width:1120px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 10px}p{max-width:75ch;margin:6px 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:18px 0}
.card{background:#fff;border:1px solid #d8dce2;border-radius:8px;padding:12px 14px}
.card b{display:block;font-size:25px;line-height:1.2}.card small{color:#555e6b;display:block}
.maps{display:flex;flex-wrap:wrap;gap:14px;margin:0 0 18px}
.heat{border-collapse:separate;border-spacing:2px;background:#fff;border:1px solid #d8dce2;border-radius:8px;
padding:8px;flex:1 1 245px}
.heat caption{font-weight:600;text-align:left;padding:4px 2px 6px}.heat th{font-weight:500;padding:4px 6px;color:#444}
.heat td{min-width:54px;padding:5px 6px;text-align:center;border-radius:4px}.heat td small{display:block;font-size:11px}
.heat td.none{color:#5c6470;background:#eef0f3;font-size:12px}
.shots{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:14px}
figure{margin:0;background:#fff;border:1px solid #d8dce2;border-radius:8px;overflow:hidden}
figure img{width:100%;display:block}figcaption{padding:8px 10px;font-size:13px;color:#3c4450;overflow-wrap:anywhere}
.lines{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:12px}svg{width:100%;display:block}
.roc{max-width:360px;font-size:11px}.flex{display:flex;flex-wrap:wrap;gap:28px;align-items:flex-start}
table.plain{border-collapse:collapse;background:#fff;border:1px solid #d8dce2;font-size:13.5px}
.plain th,.plain td{padding:5px 10px;border-bottom:1px solid #e4e7eb;text-align:left;overflow-wrap:anywhere}
.plain th{white-space:nowrap}.scroll{overflow-x:auto}
.key i{display:inline-block;width:14px;height:10px;margin:0 5px 0 14px}
details{margin-top:12px}summary{cursor:pointer;font-weight:600}code{font-size:12px;overflow-wrap:anywhere}
@media(max-width:520px){.lines{grid-template-columns:1fr}main{padding:16px 12px}}
"""


def report_html(trial: Trial, title: str, figures: Figures | None = None) -> str:
    """Return the page. Nothing in it is fetched from anywhere."""
    figures = figures or figures_of(trial)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(trial.clips)} clips, {sum(len(clip.time_s) for clip in trial.clips)} frames; "
        f"model {escape(str(trial.settings.get('model', '')))}; "
        f"detectors {escape(', '.join(trial.detectors))}, of which <b>{escape(trial.detectors[0])}</b> votes.</p>",
        _cards(figures, trial),
        _maps(figures, trial),
        _examples(trial),
        _roc(figures),
        _alarms(figures),
        _timelines(trial),
        _settings(trial),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = f"<body><main>{''.join(parts)}</main></body>"
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head>{body}</html>\n'


def report_json(trial: Trial, title: str, figures: Figures) -> dict[str, Any]:
    """Return the figures, the settings and what each clip was; no picture and no single frame."""
    return {
        "format": FORMAT,
        "title": title,
        "figures": asdict(figures),
        "thresholds": dict(trial.thresholds),
        "settings": dict(trial.settings),
        "clips": [{**asdict(clip.info), **_clip_row(clip)} for clip in trial.clips],
    }


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


def _clip_row(clip: ScoredClip) -> dict[str, Any]:
    return {
        "video": Path(clip.video).name, "sha256": clip.sha256, "frames": len(clip.time_s),
        "rejected": clip.rejected, "poses_from": clip.poses_from, "markers_mm": None,
    }  # fmt: skip


def _cards(figures: Figures, trial: Trial) -> str:
    cards = "".join(_card(words, rate) for words, rate in figures.headline().items())
    if figures.median_alarm_s is not None:
        time_s = f"{figures.median_alarm_s:.2f} s"
        cards += _plain_card(time_s, "median time to the alarm", "from the first fooled frame")
    hours = figures.benign_s / 3600
    per_hour = f"{figures.false_alarms / hours:.3g} an hour" if hours else "no benign footage"
    footage = f"in {figures.benign_s:.0f} s of benign footage ({per_hour})"
    cards += _plain_card(str(figures.false_alarms), "false alarms of the vote", footage)
    note = (
        "<p>Shares have 95% Wilson intervals. Frames of one clip are alike, so that intervals over frames are narrower "
        "than what another day, printer or hand would give.</p>"
    )
    if not trial.settings.get("calibrated", True):
        note += "<p><b>The model was not calibrated:</b> the thresholds are rough defaults.</p>"
    return f'<div class="cards">{cards}</div>{note}'


def _card(words: str, rate: Rate) -> str:
    if rate.share is None:
        return _plain_card("none", words, "there was no such frame or clip")
    interval = f"{rate.count} of {rate.total}; {rate.low:.1%} to {rate.high:.1%}"
    return _plain_card(f"{rate.share:.1%}", words, interval)


def _plain_card(figure: str, words: str, detail: str) -> str:
    return f'<div class="card"><b>{figure}</b>{escape(words)}<small>{escape(detail)}</small></div>'


def _maps(figures: Figures, trial: Trial) -> str:
    lights = sorted({cell.light for cell, _ in figures.by_cell["recognised"]})
    voting = trial.detectors[0]
    kinds = (
        ("success", "Attack succeeds", True),
        ("found", f"{voting} finds it", False),
        ("false", f"{voting} on benign frames", True),
        ("recognised", "Recognised when clean", False),
    )
    body = ""
    for light in lights:
        tables = "".join(heat_map(title, figures.by_cell[key], light, bad=bad) for key, title, bad in kinds)
        body += f'<div class="maps">{tables}</div>'
    known = figures.poses
    return (
        "<h2>By distance and angle</h2><p>Each frame counts where its pose was found, not where it was planned "
        f"({known.count} of {known.total} frames have a pose). <em>Finds it</em> counts frames in which the attack "
        f"succeeds.</p>{body}"
    )


def _examples(trial: Trial) -> str:
    chosen = _spread([(clip, example) for clip in trial.clips for example in clip.examples[:1]], _MOST_EXAMPLES)
    figures = ""
    for clip, (time_s, picture) in chosen:
        place = clip.info.cell.words if clip.info.cell is not None else Path(clip.video).name
        words = f"{clip.info.condition}, {place}, at {time_s:.2f} s"
        figures += (
            f'<figure><img src="{picture}" alt="{escape(words)}"><figcaption>{escape(words)}</figcaption></figure>'
        )
    return f'<h2>Frames</h2><p>Red outline: the region that the label rests on.</p><div class="shots">{figures}</div>'


def _roc(figures: Figures) -> str:
    rows = ""
    for roc, colour in zip(figures.rocs, COLOURS, strict=False):
        area = "" if roc.area is None else f"{roc.area:.3f}"
        false, found = ("", "") if roc.at is None else (f"{roc.at[0]:.1%}", f"{roc.at[1]:.1%}")
        name = f'<td style="color:{colour}">&#9632; {escape(roc.detector)}</td>'
        rows += f"<tr>{name}<td>{area}</td><td>{found}</td><td>{false}</td></tr>"
    table = f'<table class="plain"><tr><th>detector</th><th>area</th><th>found</th><th>false</th></tr>{rows}</table>'
    return (
        "<h2>Frames of successful attacks against benign frames</h2>"
        f'<p>The dot is the calibrated threshold.</p><div class="flex">{roc_chart(figures.rocs)}{table}</div>'
    )


def _alarms(figures: Figures) -> str:
    rows = "".join(_alarm_row(alarm) for alarm in figures.alarms if alarm.condition == "attack" or alarm.raised)
    head = "<tr><th>clip</th><th>what</th><th>fooled</th><th>alarm</th><th>after</th></tr>"
    return (
        "<h2>Time to the alarm</h2><p>Clips with an attack, and benign ones that raised an alarm. The time runs from "
        f'the first frame that was fooled.</p><div class="scroll"><table class="plain">{head}{rows}</table></div>'
    )


def _alarm_row(alarm: Alarm) -> str:
    fooled = "" if alarm.fooled is None else f"{alarm.fooled:.0%}"
    after = "" if alarm.alarm_s is None else f"{alarm.alarm_s:.2f} s"
    name = alarm.cell or Path(alarm.video).name
    cells = (escape(name), alarm.condition, fooled, "raised" if alarm.raised else "none", after)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _timelines(trial: Trial) -> str:
    voting = trial.detectors[0]
    drawn = []
    for clip in sorted(trial.clips, key=lambda clip: clip.info.condition != "attack"):
        if clip.time_s:
            words = f"{clip.info.condition}, {clip.info.cell.words if clip.info.cell else Path(clip.video).name}"
            picture = timeline(clip, voting, trial.thresholds[voting])
            drawn.append(f"<figure>{picture}<figcaption>{escape(words)}</figcaption></figure>")
    key = (
        '<p class="key"><i style="background:#f6e3c5"></i>attack in the picture<i style="background:#b22222"></i>'
        'wrong label<i style="background:#333"></i>alarm; the line is the score, dashed its threshold</p>'
    )
    more = drawn[_SHOWN_TIMELINES:]
    rest = (
        f'<details><summary>{len(more)} more</summary><div class="lines">{"".join(more)}</div></details>'
        if more
        else ""
    )
    return (
        f'<h2>Over time ({escape(voting)})</h2>{key}<div class="lines">{"".join(drawn[:_SHOWN_TIMELINES])}</div>{rest}'
    )


def _settings(trial: Trial) -> str:
    rows = "".join(
        f"<tr><th>{escape(str(key))}</th><td><code>{escape(json.dumps(value))}</code></td></tr>"
        for key, value in {**trial.settings, "thresholds": dict(trial.thresholds)}.items()
    )
    clips = "".join(
        f"<tr><td>{escape(Path(clip.video).name)}</td><td>{clip.info.condition}</td><td>{len(clip.time_s)}</td>"
        f"<td>{clip.poses_from}</td><td>{escape(clip.info.source)}</td><td><code>{clip.sha256[:16]}</code></td></tr>"
        for clip in trial.clips
    )
    head = "<tr><th>video</th><th>what</th><th>frames</th><th>poses</th><th>made</th><th>SHA-256</th></tr>"
    return (
        f'<h2>Settings</h2><div class="scroll"><table class="plain">{rows}</table></div>'
        f"<details><summary>{len(trial.clips)} clips</summary>"
        f'<div class="scroll"><table class="plain">{head}{clips}</table></div></details>'
    )


def _spread(items: Sequence[Any], most: int) -> Iterable[Any]:
    """Return `most` items, evenly from the first to the last; attacks come first."""
    ordered = sorted(items, key=lambda pair: ("attack", "control", "clean").index(pair[0].info.condition))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]
