"""Rows of CSV on standard output, for spreadsheets and scripts: RFC 4180, one record a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

__all__ = ["csv_row"]


def csv_row(values: Iterable[object]) -> str:
    """Return one record without its end of line; None is an empty field."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(values)
    return row.getvalue()
