"""What is shipped for Prometheus and Grafana: Prometheus' own tools accept it, and it names metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from taintwatch.cli.service import service_group
from taintwatch.units.templates import MONITORING, templates_folder

FOLDER = templates_folder() / "monitoring"
PROMTOOL = shutil.which("promtool")
OURS = re.compile(r"\b(?:taintwatch|process)_[a-z_]+")
FROM_OUTSIDE = {"taintwatch"}  # a job's name


def documented() -> set[str]:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    names = set(re.findall(r"`((?:taintwatch|process)_[a-z_]+)`", text))
    return names | {f"{name}_{suffix}" for name in names for suffix in ("bucket", "sum", "count")}


def expressions() -> list[str]:
    dashboard: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    found += [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    return found


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_takes_the_configuration_and_the_rules_do_what_they_say() -> None:
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "taintwatch.test.yml"]):
        done = subprocess.run([str(PROMTOOL), *command], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_names_metrics_that_there_are() -> None:
    rules = re.findall(r"expr: (.*)", (FOLDER / "taintwatch.rules.yml").read_text())
    assert len(rules) >= 10
    named = {name for text in [*rules, *expressions()] for name in OURS.findall(text)} - FROM_OUTSIDE
    assert named - documented() == set()


def test_every_panel_asks_something_and_none_lies_on_another() -> None:
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    assert all(panel["targets"] and panel["title"] for panel in panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_files_are_written_where_they_are_wanted_and_over_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(service_group, ["monitoring", str(tmp_path / "here")], standalone_mode=False)
    assert result.exception is None
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == sorted(MONITORING)
    again = CliRunner().invoke(service_group, ["monitoring", str(tmp_path / "here")], standalone_mode=False)
    assert "already" in str(again.exception)
