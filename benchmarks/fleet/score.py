"""Whether each scripted attack is in the history exactly once, and whether the broker has all that the history has."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.fleet.cameras import Attack
from taintwatch.evidence.reader import StoredAlert

__all__ = ["Score", "score", "stream_keys"]

EARLY_S, LATE_S = 1.0, 25.0  # an alert of an attack is raised between so long before its begin and behind its end


@dataclass(frozen=True, slots=True)
class Score:
    """What became of the attacks. JSON-ready."""

    attacks: int
    recorded_once: int
    """Attacks with exactly one alert, those left out that were interrupted and then raised anew elsewhere."""
    continued: int
    """Of these, how many were: the loss of a machine ended the first alert as interrupted."""
    cut_short: int
    """Of these, how many were interrupted so late that the attack was over when its camera was back."""
    missed: tuple[str, ...]
    twice: tuple[str, ...]
    unexplained: tuple[str, ...]
    """Alerts that no scripted attack explains."""


def score(attacks: Sequence[Attack], alerts: Sequence[StoredAlert]) -> Score:
    """Match alerts to attacks by camera and time."""
    whole, cut = Counter[Attack](), Counter[Attack]()
    unexplained = []
    by_camera: dict[str, list[Attack]] = {}
    for attack in attacks:
        by_camera.setdefault(attack.camera, []).append(attack)
    for alert in alerts:
        raised_s = alert.raised_wall_ns / 1e9
        own = [a for a in by_camera.get(alert.camera, ()) if a.start_s - EARLY_S <= raised_s <= a.end_s + LATE_S]
        if not own:
            unexplained.append(alert.event_id)
            continue
        (cut if alert.state == "interrupted" else whole)[own[0]] += 1
    return Score(
        attacks=len(attacks),
        recorded_once=sum(_once(whole[attack], cut[attack]) for attack in attacks),
        continued=sum(whole[attack] == 1 and cut[attack] > 0 for attack in attacks),
        cut_short=sum(whole[attack] == 0 and cut[attack] == 1 for attack in attacks),
        missed=tuple(_describe(attack) for attack in attacks if whole[attack] + cut[attack] == 0),
        twice=tuple(_describe(a) for a in attacks if whole[a] + cut[a] > 0 and not _once(whole[a], cut[a])),
        unexplained=tuple(unexplained),
    )


def _once(whole: int, cut: int) -> bool:
    return whole == 1 or (whole == 0 and cut == 1)


def stream_keys(url: str) -> list[tuple[str, str, int]]:
    """Return event, start and sequence of every message that the broker's stream holds."""
    import nats

    async def read() -> list[tuple[str, str, int]]:
        client = await nats.connect(url)
        stream = client.jetstream()
        state = (await stream.stream_info("TAINTWATCH")).state
        consumer = await stream.pull_subscribe("taintwatch.v1.*.*.alert", stream="TAINTWATCH")
        found: list[tuple[str, str, int]] = []
        while len(found) < state.messages:
            for message in await consumer.fetch(min(500, state.messages - len(found)), timeout=30):
                said = json.loads(message.data)
                found.append((said["event_id"], said["instance"], said["sequence"]))
                await message.ack()
        await client.close()
        return found

    return asyncio.run(read())


def _describe(attack: Attack) -> str:
    return f"{attack.camera} at {attack.start_s:.0f}"
