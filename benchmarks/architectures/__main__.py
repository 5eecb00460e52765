"""Which exported classifiers are prepared as they are, and whether what is prepared is right.

    python -m benchmarks.architectures --json docs/results/architectures.json

Networks have random weights and small pictures; batch norms are set on pictures before the export. Each export is
prepared; its logits are compared with the file's own on ONNX Runtime, its masks with those of float64 autograd on the
same last maps, and `tight` is timed against the file's forward. A run goes on where an earlier one stopped, and
measures anew what was measured with other code: each row says with which. Families beside torchvision's are measured
where their packages are installed: `pip install 'taintwatch[architectures]'`. Exporting takes most of the time:
`--exports FOLDER` keeps the files for the next run.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.architectures.cases import cases
from benchmarks.architectures.measured_code import code_digest
from benchmarks.architectures.rows import PICTURES, Row, measure, summary, table
from taintwatch_calibration.machine import machine
from taintwatch_calibration.results import write_json

_PACKAGES = ("onnx", "torchvision", "timm", "transformers", "ultralytics", "keras", "tf2onnx", "tensorflow-cpu")


def main() -> None:
    """Measure what is not in the file yet, and write it after each export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("architectures.json"))
    parser.add_argument("--only", default="", help="measure cases whose 'family model exporter' has this expression")
    parser.add_argument("--again", action="store_true", help="measure anew what was not right")
    parser.add_argument("--exports", type=Path, help="keep the exported files here, and read what is here already")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no case after so long")
    parser.add_argument("--table", action="store_true", help="print the Markdown table of what is in the file, only")
    options = parser.parse_args()
    rows = [Row(**row) for row in json.loads(options.json.read_text())["rows"]] if options.json.is_file() else []
    if options.table:
        print(table(rows))
        return
    torch.set_num_threads(1)
    current = [row for row in rows if row.code == code_digest()]
    done = {row.key for row in current if row.outcome == "right" or not options.again}
    waiting = [case for case in cases() if case.key not in done and re.search(options.only, " ".join(case.key))]
    begun = time.monotonic()
    for place, case in enumerate(waiting):
        if time.monotonic() - begun > options.seconds:
            print(f"{len(waiting) - place} cases left; run again to go on")
            break
        with tempfile.TemporaryDirectory() as folder:
            row = measure(case, Path(folder) if options.exports is None else options.exports / "-".join(case.key))
        rows = [*(other for other in rows if other.key != row.key), row]
        print(f"[{place + 1}/{len(waiting)}]", *row.key, row.outcome, row.logits_error, row.mask_error, flush=True)
        _write(options.json, rows)
    stale = [row for row in rows if row.code != code_digest()]
    print(f"{len(rows) - len(stale)} rows measured with this code, {len(stale)} with other code")


def _write(path: Path, rows: Sequence[Row]) -> None:
    document = machine()
    for package in _PACKAGES:
        try:
            document["versions"][package] = version(package)
        except PackageNotFoundError:
            continue
    document |= {
        "code": code_digest(),
        "pictures": PICTURES,
        "summary": summary(rows),
        "rows": [asdict(row) for row in rows],
    }
    write_json(path, document)


if __name__ == "__main__":
    main()
