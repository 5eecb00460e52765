"""Figures that the sources publish, to stand beside ours."""

from __future__ import annotations

__all__ = ["TABLE_2"]

_ROWS = {
    ("right bottom", 0.2): "37.75/50.33/97.96 29.00/78.38/99.08 27.75/87.93/98.25 6.50/3.85/80.00 6.00/21.05/100.00 "
                           "4.75/12.50/95.83",
    ("right bottom", 0.3): "97.50/81.28/97.95 97.25/99.48/99.74 96.00/100.00/97.94 78.75/58.41/95.83 83.25/98.76/99.07 "
                           "80.75/99.40/97.29",
    ("right bottom", 0.4): "100.00/57.25/91.50 100.00/97.49/97.24 99.50/99.75/97.25 96.00/46.88/86.98 "
                           "98.00/94.39/94.13 98.00/98.98/88.27",
    ("random", 0.2): "58.50/29.91/95.26 38.50/48.21/96.39 42.00/56.49/95.45 15.50/29.91/79.03 12.50/48.21/91.30 "
                     "11.75/56.49/81.63",
    ("random", 0.3): "98.75/58.99/95.19 97.00/87.47/98.47 97.75/88.92/95.10 86.00/58.99/93.88 88.00/87.47/96.36 "
                     "89.75/88.92/95.14",
    ("random", 0.4): "100.00/34.75/88.25 99.75/66.25/95.75 100.00/71.18/- 97.75/34.75/82.10 98.75/66.25/88.92 "
                     "99.25/71.18/80.76",
}  # fmt: skip
"""By place and side: single and multiple at 1, 4, 16 pictures; success, SentiNet's TPR, TaintRadar's TPR, all in %.

In `random` 0.4 single 16 the two last are swapped in print and a digit of TaintRadar's is lost. SentiNet's columns
under multiple repeat those under single.
"""

TABLE_2: dict[tuple[str, float, str, int], dict[str, float | None]] = {
    (place, size, sizes, group): dict(
        zip(
            ("success", "sentinet", "taintradar"),
            (None if v == "-" else float(v) for v in cell.split("/")),
            strict=True,
        )
    )
    for (place, size), row in _ROWS.items()
    for (sizes, group), cell in zip(
        [(sizes, group) for sizes in ("single", "multiple") for group in (1, 4, 16)], row.split(), strict=True
    )
}
"""Table II of TaintRadar (Li et al., 2021) on VGG16, by place, side, `single` or `multiple`, and batch size."""
