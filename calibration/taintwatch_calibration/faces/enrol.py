"""Enrolling a person: each photograph is looked at before it is kept, and all are kept or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taintwatch_calibration.faces.capture import Usable, look_at, same_picture
from taintwatch_calibration.faces.people_store import EnrolledPerson, PeopleStore
from taintwatch_models.errors import UsageError
from taintwatch_models.faces.embedding import Embedder
from taintwatch_models.faces.finder import FaceFinder

__all__ = ["FEWEST", "MOST", "Enrolment", "collect", "enrol"]

FEWEST, MOST = 5, 40
SAME_PERSON = 0.6
"""Two people's mean embeddings are less alike than this (cosine; LFW's 143: at most 0.54); halves of one person's
photographs are nearly always more alike (141 of 143 above 0.81)."""
OTHER_PERSON = 0.3
"""A photograph less like the mean of the others than this shows somebody else (99.5% of LFW lie above)."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What came of it."""

    name: str
    kept: int
    refused: dict[str, int]
    """How many photographs could not be used, for each reason."""


def collect(
    pictures: Iterable[NDArray[np.uint8]], find: FaceFinder, size: int
) -> tuple[list[NDArray[np.uint8]], Counter[str]]:
    """Return the aligned faces that can be used, at most `MOST`, and how many pictures were refused for what."""
    kept: list[NDArray[np.uint8]] = []
    refused: Counter[str] = Counter()
    for picture in pictures:
        seen = look_at(picture, find, size)
        if not isinstance(seen, Usable):
            refused[seen] += 1
        elif same_picture(seen.face, kept):
            refused["the same picture again"] += 1
        elif len(kept) < MOST:
            kept.append(seen.face)
        else:
            refused[f"more than {MOST}"] += 1
    return kept, refused


def enrol(
    store: PeopleStore,
    name: str,
    pictures: Iterable[NDArray[np.uint8]],
    find: FaceFinder,
    embed: Embedder,
    *,
    replace: bool = False,
) -> Enrolment:
    """Enrol `name`, or enrol anew with `replace`. Nothing is written unless all is well.

    Raises `UsageError`: too few usable photographs, a name that is taken or impossible, a person who is enrolled
    under another name.
    """
    if store.folder(name).is_dir() and not replace:
        raise UsageError(f"{name!r} is enrolled already; give --replace to enrol anew, or another name")
    kept, refused = collect(pictures, find, embed.size)
    embeddings = embed(np.stack(kept)) if kept else np.empty((0, embed.model.dimensions), np.float32)
    alike = _alike(embeddings)
    if len(alike) < len(kept):
        refused["somebody else"] += len(kept) - len(alike)
    if len(alike) < FEWEST:
        raise UsageError(_too_few(name, len(alike), refused))
    embeddings = embeddings[alike]
    _check_new(store, name, embeddings)
    store.prepare()
    store.bind(embed.sha256, embed.path, embed.declaration)
    store.write(EnrolledPerson(name, np.stack([kept[row] for row in alike]), embeddings))
    return Enrolment(name, len(alike), dict(refused))


def _alike(embeddings: NDArray[np.float32]) -> list[int]:
    """Return the rows that look like the others."""
    if len(embeddings) < 3:
        return list(range(len(embeddings)))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    others = unit.sum(axis=0) - unit
    likeness = (unit * others).sum(axis=1) / np.linalg.norm(others, axis=1)
    return [int(row) for row in np.flatnonzero(likeness >= OTHER_PERSON)]


def _check_new(store: PeopleStore, name: str, embeddings: NDArray[np.float32]) -> None:
    """Raises `UsageError` where the person is enrolled under another name."""
    for other in store.names():
        if other != name and _likeness(embeddings, store.read(other).embeddings) > SAME_PERSON:
            raise UsageError(
                f"{name!r} looks like {other!r}, who is enrolled already: one person under two names would confuse "
                f"the camera; enrol as {other!r} with --replace, or remove {other!r} first"
            )


def _likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Cosine of the mean directions."""
    means = []
    for embeddings in (first, second):
        mean = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    return float(means[0] @ means[1])


def _too_few(name: str, usable: int, refused: Counter[str]) -> str:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in refused.most_common())
    return (
        f"{name!r} was not enrolled: {usable} usable photograph{'' if usable == 1 else 's'}"
        f"{f' (refused: {reasons})' if reasons else ''}; give at least {FEWEST}, 20 to {MOST} are best"
    )
