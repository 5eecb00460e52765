"""The description of the API: it has every call that there is, and no other, and says of each what is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import jsonschema

from taintwatch.web.app import Context, application_of
from taintwatch.web.live import LiveState
from taintwatch.web.openapi import document
from tests.alert_fakes import an_alert
from tests.web_scene import ask, serving, web_config

NOT_FOR_PROGRAMS = {"/", "/login", "/static/{name}", "/stream", "/trials/{name}/{path}"}


def routes() -> set[tuple[str, str]]:
    """Every call that the application has, as (method, path)."""
    found = set()
    for route in application_of(cast(Context, MagicMock()), None).routes:  # nothing is asked
        path = str(getattr(route, "path", "")).replace(":path", "")
        methods = getattr(route, "methods", None) or {"GET"}
        found |= {(method.lower(), path) for method in methods if method != "HEAD"}
    return found


def test_every_call_is_described_and_every_description_is_a_call() -> None:
    described = {(method, path) for path, each in document()["paths"].items() for method in each}
    assert described == {(method, path) for method, path in routes() if path not in NOT_FOR_PROGRAMS}


def test_references_lead_somewhere_and_writing_calls_want_the_pages_own_value() -> None:
    told = document()
    for reference in set(_references(told)):
        assert reference.removeprefix("#/components/schemas/") in told["components"]["schemas"]
    for path in told["paths"].values():
        if "post" in path:
            assert any(each["name"] == "X-Taintwatch-CSRF" for each in path["post"]["parameters"])


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [each for part in value.values() for each in _references(part)]
    return [each for part in value for each in _references(part)] if isinstance(value, list) else []


def test_what_comes_back_is_as_it_is_described(tmp_path: Path) -> None:
    live = LiveState()
    live.alert(an_alert("door"))
    with serving(web_config(), live) as server:
        told = ask(server, "/api/openapi.json").json()
        alerts, alert = ask(server, "/api/alerts").json(), ask(server, "/api/alerts/e1").json()
        review = ask(server, "/api/review").json()
    schemas = told["components"]
    for path, answer in (("/api/alerts", alerts), ("/api/alerts/{event_id}", alert), ("/api/review", review)):
        schema = told["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer, json.loads(json.dumps({**schema, "components": schemas})))
    assert set(schemas["schemas"]["Summary"]["properties"]) == set(alerts[0])
