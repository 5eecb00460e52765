"""Figures are written twice, the same each time, and each that is drawn again has its JSON and is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from benchmarks.figures import _DRAWN, _RESULTS, new_figure, save


def test_a_figure_is_svg_and_png_and_the_same_file_each_time(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        figure, axes = new_figure(figsize=(2, 1))
        axes.plot([1, 2], [3, 4])
        save(figure, tmp_path / f"{name}.json")
        written.append([(tmp_path / f"{name}{suffix}").read_bytes() for suffix in (".svg", ".png")])
    assert written[0] == written[1]


@pytest.mark.parametrize("name", _DRAWN)
def test_each_figure_lies_beside_its_json(name: str) -> None:
    for suffix in (".json", ".svg", ".png"):
        assert (_RESULTS / name).with_suffix(suffix).is_file()
