"""One of pydantic's findings as a sentence for people, never with a secret in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from taintwatch.config.sections import Config
from taintwatch.sources.url import describe_url, url_scheme

__all__ = ["complaint", "in_words"]

# Greedy on purpose: a password may itself hold "/", "?" or "@".
_CREDENTIAL = re.compile(r"://.*@", re.DOTALL)
_NAMED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}
LONGEST = 60


def complaint(problem: Mapping[str, Any]) -> str:
    """Return what is wrong with one key and what would be right, without its place.

    `problem` is one entry of `ValidationError.errors()`. A value is quoted, shortened, with credentials taken out.
    """
    kind, path, value = problem["type"], tuple(problem["loc"]), problem.get("input")
    context = problem.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return "missing; this key must be given"
    if kind == "value_error":
        return str(context.get("error", problem["msg"]))
    if kind == "literal_error":
        return f"{in_words(value)} is none of {context['expected']}".replace(" or ", ", ")
    if kind == "string_pattern_mismatch":
        return f"{in_words(value)} is not a name: 1 to 64 letters, digits, dots, dashes and underscores"
    if kind in _NAMED:
        return f"{in_words(value)} is not {_NAMED[kind]}"
    if kind in ("model_type", "tuple_type", "model_attributes_type", "dict_type"):
        expected = "an array" if kind == "tuple_type" else "a table"
        return f"{in_words(value)} is not {expected}"
    message = problem["msg"]
    return f"{in_words(value)} is not right: {message[:1].lower()}{message[1:]}"


def in_words(value: Any) -> str:
    """Return `value` as it may stand in a message: short, on one line, and without credentials."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "a table"
    if isinstance(value, str) and url_scheme(value) is not None:
        value = describe_url(value)
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python prints
        return "this number"
    text = _CREDENTIAL.sub("://...@", text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _unknown_key(path: tuple[str | int, ...]) -> str:
    """Say that a key is unknown and which one was probably meant."""
    known = _known_keys(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known are {', '.join(known)}"


def _known_keys(table: tuple[str | int, ...]) -> list[str]:
    """Return the keys of the table at this path of the configuration."""
    section: type[BaseModel] = Config
    for part in table:
        if isinstance(part, str):
            section = _section(section.model_fields[part].annotation)
    return list(section.model_fields)


def _section(annotation: Any) -> type[BaseModel]:
    """Return the section class in an annotation such as `ModelSection` or `tuple[CameraSection, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner: type[BaseModel] = annotation.__args__[0]
    return inner
