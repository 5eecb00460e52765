"""The page's API as OpenAPI 3.1 says it: what may be asked, what comes back, what refuses."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

__all__ = ["document"]

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
MAYBE_WHOLE: Schema = {"type": ["integer", "null"]}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
CSRF = {
    "name": "X-Taintwatch-CSRF", "in": "header", "required": True, "schema": TEXT,
    "description": "`csrf` of /api/about: only who can read that may write.",
}  # fmt: skip
FILTERS = [
    {"name": name, "in": "query", "schema": schema, "description": text}
    for name, schema, text in (
        ("camera", TEXT, "Only this camera's."),
        ("state", {"enum": ["open", "cleared", "interrupted"]}, "Only in this state."),
        ("since", WHOLE, "Raised at or after this moment, in milliseconds since 1970."),
        ("until", WHOLE, "Raised before this moment."),
        ("limit", {"type": "integer", "minimum": 1}, "At most so many, the latest."),
    )
]
ANNOTATION: Schema = {
    "type": "object",
    "properties": {
        "acknowledged_wall_ns": MAYBE_WHOLE,
        "note": TEXT,
        "judgement": {"enum": ["attack", "false alarm", None]},
    },
}
SUMMARY: Schema = {
    "type": "object",
    "properties": {
        "event_id": TEXT, "camera": TEXT, "state": {"enum": ["raised", "updated", "cleared", "interrupted"]},
        "raised_ms": WHOLE, "ended_ms": MAYBE_WHOLE, "label": TEXT, "recovered": {"type": ["string", "null"]},
        "confidence": {"type": ["number", "null"]}, "score": {"type": ["number", "null"]},
        "threshold": {"type": ["number", "null"]}, "detectors": {"type": "array", "items": TEXT},
        "acknowledged_ms": MAYBE_WHOLE, "judgement": {"enum": ["attack", "false alarm", None]}, "note": TEXT,
        "files": {"type": "array", "items": {"enum": ["clip", "frame", "overlay", "scores"]}},
    },
}  # fmt: skip
ALERT: Schema = {
    "allOf": [
        {"$ref": "#/components/schemas/Summary"},
        {
            "type": "object",
            "properties": {"records": {"type": "array", "items": OBJECT}},
        },
    ]
}


def document() -> dict[str, Any]:
    """Return the description; JSON-ready."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, text, more in _calls():
        paths.setdefault(path, {})[method] = _operation(path, text, **more)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Taintwatch", "version": version("taintwatch"),
            "description": "What the page asks of the daemon. Times end in `_ms` (milliseconds since 1970) or `_ns`.",
        },
        "security": [{"token": []}, {"session": []}, {}],
        "paths": paths,
        "components": {
            "schemas": {"Alert": ALERT, "Annotation": ANNOTATION, "Summary": SUMMARY, "Problem": _object(problem=TEXT)},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Of web.token_file, where there is one."},
                "session": {"type": "apiKey", "in": "cookie", "name": "taintwatch_session"},
            },
        },
    }  # fmt: skip


def _calls() -> list[tuple[str, str, str, dict[str, Any]]]:
    annotation = {"answer": _named("Annotation")}
    acknowledged = _object(acknowledged=FLAG)
    return [
        ("get", "/api/about", "Site, model, cameras, detectors, vote, and the token that writing calls want.", {}),
        ("get", "/api/config", "The configuration without credentials.", {}),
        ("get", "/api/calibration", "What the thresholds come from, and the alarm rates then and now.", {}),
        ("get", "/api/cameras", "Every camera that the history knows, of all sites and daemons.",
         {"answer": {"type": "array", "items": OBJECT}}),
        ("get", "/api/trials", "The trial reports in the folder `web.trials`.", {"answer": {"type": "array"}}),
        ("get", "/api/openapi.json", "This description.", {}),
        ("get", "/api/alerts", "Summaries of alerts, newest first, 500 at most.",
         {"query": FILTERS, "answer": {"type": "array", "items": _named("Summary")}}),
        ("get", "/api/alerts/{event_id}", "One alert: its summary, its records as published, which files there are.",
         {"answer": _named("Alert")}),
        ("get", "/alerts/{event_id}/thumbnail", "The alert's picture, small: for lists.", {"media": ("image/jpeg",)}),
        ("get", "/alerts/{event_id}/{kind}", "A picture, the clip or the scores of an alert.",
         {"media": ("image/jpeg", "video/mp4", "application/json")}),
        ("get", "/export.zip", "The alerts with their evidence and notes, 1000 at most.",
         {"query": FILTERS, "media": ("application/zip",)}),
        ("get", "/api/review", "What people dismissed, and which cameras are snoozed.",
         {"answer": _object(dismissals={"type": "array", "items": OBJECT}, snoozes=OBJECT)}),
        ("get", "/dismissals/{event_id}", "The frame of a dismissal.", {"media": ("image/jpeg",)}),
        ("post", "/api/alerts/{event_id}/acknowledge", "Say that somebody knows of an alert, or take it back.",
         annotation | {"body": acknowledged}),
        ("post", "/api/alerts/{event_id}/judgement", "Say what an alert was. A false alarm is dismissed.",
         annotation | {"body": _object(judgement={"enum": ["attack", "false alarm", None]})}),
        ("post", "/api/alerts/{event_id}/note", "Set an alert's note.",
         annotation | {"body": _object(note={"type": "string", "maxLength": 4000})}),
        ("post", "/api/acknowledge", "Acknowledge several alerts, 500 at most; `missing` are those that are gone.",
         {"body": _object(event_ids={"type": "array", "items": TEXT, "maxItems": 500}, acknowledged=FLAG),
          "answer": _object(acknowledged=WHOLE, missing={"type": "array", "items": TEXT})}),
        ("post", "/api/dismissals/{event_id}/undo", "Take a dismissal back.", {"body": OBJECT, "answer": OBJECT}),
        ("post", "/api/cameras/{camera}/refit", "Learn a camera again of frames that do not look suspicious, or stop.",
         {"body": _object(wanted=FLAG), "answer": _object(wanted=FLAG)}),
        ("post", "/api/cameras/{camera}/snooze", "Let a camera's alerts notify nobody for so long; 0 wakes it.",
         {"body": _object(minutes={"type": "number", "minimum": 0, "maximum": 1440}),
          "answer": _object(until_ms=MAYBE_WHOLE)}),
    ]  # fmt: skip


def _operation(
    path: str,
    text: str,
    *,
    query: list[dict[str, Any]] | None = None,
    body: Schema | None = None,
    answer: Schema | None = None,
    media: tuple[str, ...] = (),
) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
    parameters += (query or []) + ([] if body is None else [CSRF])
    content: dict[str, Any] = {kind: {} for kind in media} or {"application/json": {"schema": answer or OBJECT}}
    problem = {"application/json": {"schema": _named("Problem")}}
    operation: dict[str, Any] = {
        "summary": text,
        "parameters": parameters,
        "responses": {
            "200": {"description": "It is so.", "content": content},
            "400": {"description": "What was asked makes no sense; `problem` says why.", "content": problem},
            "401": {"description": "The token is missing, or is not it."},
            "403": {"description": "It came from another site, or without the value that writing wants."},
            "404": {"description": "There is no such thing.", "content": problem},
            "503": {"description": "It cannot be done now; try again.", "content": problem},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
