"""The fleet's one page and one /metrics: 400 cameras, the worst first, and the dashboard that reads them."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from taintwatch.config.load import parse_config
from taintwatch.fleet.fleet_page import FleetMetrics, FleetPage, run_status_of
from tests.web_scene import ask

DASHBOARDS = ("fleet",)


def a_status(groups: int = 25, size: int = 16) -> dict[str, Any]:
    """400 cameras; the last group is nowhere, and one camera of the first is lost."""
    found = []
    for number in range(groups):
        placed = number < groups - 1
        cameras: list[dict[str, Any]] = []
        for index in range(size):
            name = f"camera{number * size + index:03}"
            state = "lost" if (number, index) == (0, 0) else "running"
            whole = {"camera": name, "state": state, "source": "fake", "frames": 3, "fps": 1.0}
            cameras.append(whole if placed else {"camera": name, "state": "waiting"})
        group: dict[str, Any] = {
            "group": f"shop-{number:04}",
            "node": "n1" if placed else None,
            "host": "box" if placed else None,
        }
        group |= {"state": "running" if placed else "waiting", "restarts": 1, "reason": None, "cameras": cameras}
        found.append(group | ({"frames": 48, "fps": 16.0, "alerts": 2, "open_alerts": 1} if placed else {}))
    nodes = [{"node": "n1", "host": "box", "groups": groups - 1, "room": groups - 1}]
    return {"fleet": "shop", "wall_ns": 1, "nodes": nodes, "groups": found}


def test_the_fleet_is_shown_as_one_daemon() -> None:
    status = run_status_of(a_status(), 10.0)
    assert (len(status.cameras), status.frames, status.alerts, status.open_alerts) == (400, 24 * 48, 48, 24)
    states = [camera.state.value for camera in status.cameras]
    assert (states.count("running"), states.count("lost")) == (383, 17)


def test_health_names_the_groups_that_are_nowhere() -> None:
    metrics = FleetMetrics()
    metrics.update(a_status())
    assert metrics.health() == "not placed: shop-0024"
    assert metrics.readiness() == "not running: shop-0024"
    metrics.update({"nodes": [], "groups": a_status()["groups"][:-1]})
    assert (metrics.health(), metrics.readiness()) == (None, None)


def test_page_and_metrics_are_served_for_400_cameras() -> None:
    text = 'site = "shop"\n[web]\nbind = "127.0.0.1:0"\n[metrics]\nenabled = true\nbind = "127.0.0.1:0"\n'
    page = FleetPage(parse_config(text, "fleet.toml"))
    with ExitStack() as stack:
        page.start(stack)
        page.update(a_status())
        assert page.server is not None
        rows = ask(page.server, "/api/cameras").json()
        assert len(rows) == 400
        assert [row["state"] for row in rows[:17]] == ["lost"] * 17
        assert ask(page.server, "/api/about").json()["site"] == "shop"
        assert ask(page.server, "/").status == 200
    told = page.metrics.render().decode()
    assert 'taintwatch_fleet_cameras{state="running"} 383.0' in told
    assert 'taintwatch_fleet_node_groups{host="box",node="n1"} 24.0' in told
    assert 'taintwatch_fleet_restarts_total{group="shop-0000"} 1.0' in told


def test_nothing_is_served_where_nobody_asks() -> None:
    page = FleetPage(parse_config('site = "shop"\n', "fleet.toml"))
    with ExitStack() as stack:
        page.start(stack)
        page.update(a_status())
        assert page.server is None


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboard_reads_metrics_that_there_are(repository: Path, name: str) -> None:
    dashboard = json.loads((repository / "deploy" / "grafana" / f"{name}.json").read_text())
    metrics = FleetMetrics()
    metrics.update(a_status())
    known = set(re.findall(r"^(taintwatch_\w+)", metrics.render().decode(), re.MULTILINE))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked = {found for expression in expressions for found in re.findall(r"taintwatch_\w+", expression)}
    assert len(expressions) >= 8
    assert asked <= known
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
