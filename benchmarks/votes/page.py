"""A comparison as Markdown: what was seen, what each kind's best policy does, what correlation does to a formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.votes.outcome import WITHIN

__all__ = ["page"]

Document = Mapping[str, Any]


def page(document: Document, name: str) -> str:
    """Return the page; `name` is the JSON's and the picture's, without a suffix."""
    hours = document["rows"][0]["reporting"]["benign"]["hours"]
    scenes = document["frames"]["attacks"]
    parts = [
        "# Vote policies, measured",
        f"Written by `python -m benchmarks.votes` (docs/votes-in-time.md says how): {document['model']}, detector "
        f"`{document['detector']}` at its threshold {document['threshold']:.3f}, seed {document['options']['seed']}, "
        f"{document['processor']}, {document['date']}. [{name}.json]({name}.json) has every policy.",
        f"{_hours(document, 'choosing'):.2f} camera-hours of benign streams to choose on, {hours:.2f} others to report "
        f"on; {scenes['scenes']} scenes with a patch, in {scenes['successful']} of which it fools at least half of the "
        "frames. The rates below are of the reporting half.",
        f"![False alarms against time to alarm]({name}.png)",
        f"Rule: {document['rule']}",
        f"**Chosen: {document['chosen']}.** Default of the daemon: {document['default']}. {_verdict(document)}",
        _policies(document),
        f"A formula for independent frames would choose {document['chosen_by_formula'] or 'none of them'}.",
        "## Frames",
        _frames(document["frames"]),
        "## Were frames independent",
        _correlation(document["correlation"]),
        "## With a stricter threshold",
        _stricter(document["stricter"]),
    ]
    return "\n\n".join(parts) + "\n"


def _hours(document: Document, half: str) -> float:
    return float(document["rows"][0][half]["benign"]["hours"])


def _verdict(document: Document) -> str:
    if document["chosen"] == document["default"]:
        return "They are the same."
    against = document["against_default"]
    said = "That is more than chance." if against["quieter"] else "That may be chance: no reason to change the default."
    return (
        f"On the reporting half the chosen one raises {against['fewer_a_day']:.1f} false alarms a camera-day fewer "
        f"({_between(against['by_stream'])}, paired over streams). {said}"
    )


def _policies(document: Document) -> str:
    kinds = document["chosen_of_each_kind"].values()
    named = [document["chosen"], document["default"], document["chosen_by_formula"], *kinds]
    wanted = dict.fromkeys(name for name in named if name is not None)
    rows = {row["name"]: row for row in document["rows"]}
    return _table(
        ("policy", "false alarms a camera-day", "Poisson 95%", "95% over streams", "seen", "were frames independent",
         "frames to the alarm: median", "90%", f"within {WITHIN}", "missed"),
        (_policy(rows[name]) for name in wanted),
    )  # fmt: skip


def _policy(row: Document) -> tuple[str, ...]:
    benign, attack = row["reporting"]["benign"], row["reporting"]["attack"]
    expected = row["independent_a_day"]
    return (
        row["name"], f"{benign['a_day']:.1f}", _between(benign["poisson"]), _between(benign["by_stream"]),
        f"{benign['alarms']} in {benign['streams_with_alarms']} of {benign['streams']} streams",
        "" if expected is None else f"{expected:.2g}", *_soon(attack),
    )  # fmt: skip


def _soon(attack: Document) -> tuple[str, ...]:
    return (
        _number(attack["median"]), _number(attack["ninety"]), f"{attack['within']:.1%}",
        f"{attack['missed']} of {attack['attacks'] - attack['already']}",
    )  # fmt: skip


def _frames(frames: Document) -> str:
    names = [name for name in frames if name != "attacks" and frames[name]["frames"]]
    rows = []
    for name in names:
        one = frames[name]
        streams = f"{one['streams_with_any']} of {one['streams']}" if "streams" in one else ""
        rows.append((name, f"{one['share']:.2%}", f"{one['suspicious']} of {one['frames']}", streams))
    return _table(("frames", "suspicious", "", "streams with any"), rows)


def _correlation(found: Document) -> str:
    again = ", ".join(f"{words}: {_share(share)}" for words, share in found["suspicious_again_after"].items())
    rows = [
        (row["name"], f"{row['alarms']} in {row['hours']:.2f} hours", str(row["alarms_shuffled"]),
         "" if row["formula_a_day"] is None else f"{row['formula_a_day']:.2g}",
         f"{row['alarms'] / row['hours'] * 24:.0f}")
        for row in {each["name"]: each for each in found["policies"]}.values()
    ]  # fmt: skip
    said = (
        f"On the choosing half {found['suspicious_share']:.2%} of the benign frames are suspicious. Of the suspicious "
        f"ones so many are suspicious again after {again}."
    )
    heads = ("policy", "alarms", "the same frames shuffled", "formula, a day", "really, a day")
    return f"{said}\n\n{_table(heads, rows)}"


def _stricter(rows: Sequence[Document]) -> str:
    shown = []
    for row in rows:
        for policy in row["reporting"]:
            benign = policy["benign"]
            shown.append((
                f"{row['target_fpr']:.1%}", _share(row["fooled"]["share"]), policy["name"], f"{benign['a_day']:.1f}",
                f"{benign['upper_a_day']:.1f}", *_soon(policy["attack"]),
            ))  # fmt: skip
    heads = ("benign frames left suspicious", "fooled frames seen", "policy", "false alarms a day", "at most (95%)",
             "median", "90%", f"within {WITHIN}", "missed")  # fmt: skip
    return _table(heads, dict.fromkeys(shown))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _between(interval: Sequence[float]) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f}"


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"


def _share(value: float | None) -> str:
    return "none seen" if value is None else f"{value:.1%}"
