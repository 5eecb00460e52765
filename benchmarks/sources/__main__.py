"""Watch every kind of input and print the table of docs/sources.md.

    python -m benchmarks.sources [--json docs/results/sources.json] [--markdown TABLE.md] [--only WORDS]

Exits with 1 where one row is not as it should be. Needs ffmpeg and avifenc (libavif-bin).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.sources.files import file_cases
from benchmarks.sources.input_case import Outcome, judge
from benchmarks.sources.streams import stream_cases
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import markdown_table, write_json
from taintwatch_models.storage import write_atomically

__all__ = ["main"]

HEADS = ("input", "kind", "frames", "judged", "bad", "skipped", "alerts", "colours", "what is said")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a Markdown table."""
    return markdown_table(HEADS, [_row(outcome) for outcome in outcomes])


def _row(outcome: Outcome) -> list[str]:
    expected = "" if outcome.frames_expected is None else str(outcome.frames_expected)
    colour = "" if outcome.colour is None else f"{outcome.colour:.1f}"
    said = textwrap.shorten(outcome.said, 160, placeholder=" ...").replace("|", "\\|")
    least = "" if outcome.frames_expected is not None else " or more"
    alerts = f"{outcome.alerts} of {outcome.alerts_expected}{least}"
    name = outcome.name
    if outcome.kind in ("container", "name"):  # a bar ends a cell even within backquotes, to some readers of Markdown
        name = f"<code>{name.replace('|', '&#124;')}</code>" if "|" in name else f"`{name}`"
    counts = (str(outcome.judged), str(outcome.bad), str(outcome.skipped))
    return [name, outcome.kind, expected, *counts, alerts, colour, said]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args(arguments)
    cases = [case for case in (*file_cases(), *stream_cases()) if options.only in f"{case.kind}: {case.name}"]
    outcomes = []
    for number, case in enumerate(cases, 1):
        with tempfile.TemporaryDirectory() as folder:
            outcome = judge(case, Path(folder))
        outcomes.append(outcome)
        verdict = "; ".join(outcome.problems) or "as it should be"
        print(f"{number}/{len(cases)} {case.kind}: {case.name}: {verdict}", file=sys.stderr, flush=True)
    document = {"machine": machine(), "rows": [asdict(outcome) for outcome in outcomes]}
    if options.json is not None:
        write_json(options.json, document)
    if options.markdown is not None:
        write_atomically(options.markdown, (table(outcomes) + "\n").encode())
    else:
        print(table(outcomes))
    return int(any(outcome.problems for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
